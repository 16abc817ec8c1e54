"""Wheel, sdist and editable checkout into an empty environment: a `nova0` that works from any folder."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]
MODULE_OF = {  # distribution -> module, where they differ
    "pyzmq": "zmq", "pyyaml": "yaml", "argon2-cffi": "argon2", "oslo.config": "oslo_config",
    "libvirt-python": "libvirt", "ruamel.yaml": "ruamel",
    "google-re2": "re2",
}  # fmt: skip


def run(*words, **more) -> str:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=600, **more)
    assert done.returncode == 0, f"{words}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def declared(*extras: str) -> set[str]:
    """Modules that setup.py asks for."""
    call = next(
        node for node in ast.walk(ast.parse((REPO / "setup.py").read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "setup"
    )  # fmt: skip
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    wanted = ast.literal_eval(keywords["install_requires"])
    for extra in extras:
        wanted += ast.literal_eval(keywords["extras_require"])[extra]
    names = [re.split(r"[<>=!\[ ]", requirement)[0].lower() for requirement in wanted]
    return {MODULE_OF.get(name, name.replace("-", "_")) for name in names}


@pytest.mark.covers("S022")
def test_what_is_imported_is_declared_and_what_is_declared_is_imported():
    imported = set()
    for path in [*REPO.glob("nova0/**/*.py"), *REPO.glob("agents/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.partition(".")[0])
    foreign = imported - set(sys.stdlib_module_names) - {"nova0"}
    with_gevent = {"greenlet"}
    extras = ("libvirt", "large", "plot")
    assert foreign - declared(*extras) - with_gevent == set()
    assert declared(*extras) - foreign == set()


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A wheel and an sdist made from a copy of the tree, so that nothing is written into it."""
    folder = tmp_path_factory.mktemp("built")
    copy = folder / "copy"
    copy.mkdir()
    names = ["setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "CHANGELOG.md", "SPECIFICATION.md"]
    names += ["nova0", "agents", "conf", "docs", "scripts", "tests"]
    run("cp", "-r", *[REPO / name for name in names if (REPO / name).exists()], copy)
    run(sys.executable, "setup.py", "-q", "sdist", "-d", folder, cwd=copy)
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, next(folder.glob("nova0-*.tar.gz")))
    return folder


@pytest.mark.slow
def test_the_wheel_holds_agents_and_data_and_no_tests(built):
    names = zipfile.ZipFile(next(built.glob("*.whl"))).namelist()
    for wanted in (
        "nova0/agents/compute.py",
        "nova0/cli/commands/up.py",
        "nova0/controller/db/migrations/0001_first.sql",
        "nova0/host/image/tiny/guest/init.sh",
    ):
        assert wanted in names, wanted
    assert not [name for name in names if name.startswith(("tests/", "agents/"))]


@pytest.mark.slow
@pytest.mark.covers("S019", "S022")
@pytest.mark.parametrize("form", ["wheel", "sdist", "editable"])
def test_an_empty_environment_gets_a_nova0_that_works_from_any_folder(built, form, tmp_path):
    python = tmp_path / "venv/bin/python"
    run(sys.executable, "-m", "venv", tmp_path / "venv")
    if form == "editable":
        copy = tmp_path / "checkout"
        run("cp", "-r", built / "copy", copy)
        what = ["-e", str(copy)]
    else:
        what = [str(next(built.glob("*.whl" if form == "wheel" else "*.tar.gz")))]
    run(python, "-m", "pip", "install", "-q", *what)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    nova0 = tmp_path / "venv/bin/nova0"
    assert "launch" in run(nova0, "--help", cwd=elsewhere)
    assert "not installed" in run(nova0, "version", cwd=elsewhere)  # libvirt is an extra
    assert "compute_driver" in run(nova0, "config", "show", cwd=elsewhere)
    assert "prepare" in run(nova0, "agents", "describe", "compute", cwd=elsewhere)
    found = run(
        python, "-c",
        "from importlib.metadata import entry_points as e; print(*[type(a.load()).__name__ + a.name "
        "for a in e(group='nova0.agents')])",
        cwd=elsewhere,
    )  # fmt: skip
    assert "compute" in found and "conductor" in found
    assert "No broken requirements" in run(python, "-m", "pip", "check", cwd=elsewhere)
