"""scripts/bench scale: a short run of it, what it says to bad input, what is left in SPECIFICATION.md."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts" / "bench.d"


def run(*words, **more):
    script = str(SCRIPTS / "scale.py")
    return subprocess.run([sys.executable, script, *words], capture_output=True, text=True, timeout=280, **more)


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--phases", "steady,sleep"], "no phase 'sleep'"), (["--agents", "few"], "are numbers")],
)
def test_bad_input_gets_one_clear_line(words, said):
    ended = run(*words)
    assert ended.returncode == 2 and said in ended.stderr.splitlines()[-1]


@pytest.mark.slow
def test_a_short_run_says_something_of_each_promise_and_leaves_nothing(tmp_path):
    before = (ROOT / "SPECIFICATION.md").read_bytes()
    words = ["--agents", "12", "--seconds", "1", "--kills", "2", "--load", "0"]
    ended = run(*words, env={"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path), "HOME": str(tmp_path)})
    assert ended.returncode in (0, 1), ended.stderr  # whether goals are met says nothing on a busy machine
    for said in ("all agents beating", 'false "down"', "a killed agent", "a new agent answers", "all agents back"):
        assert said in ended.stdout, ended.stdout
    assert "every phase ends" not in ended.stdout
    assert list(tmp_path.glob("nova0-scale-*")) == []
    assert (ROOT / "SPECIFICATION.md").read_bytes() == before


@pytest.fixture(scope="module")
def specification():
    spec = importlib.util.spec_from_file_location("specification", SCRIPTS / "specification" / "__init__.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_block_is_written_between_its_own_markers_only(specification, tmp_path):
    path = tmp_path / "S.md"
    text = "# S\n<!-- bench: begin -->\nold\n<!-- bench: end -->\n<!-- bench rpc: begin -->\n<!-- bench rpc: end -->\n"
    path.write_text(text)
    specification.write_block("bench", r"one \1 two", path)
    assert path.read_text() == text.replace("old", r"one \1 two")
    assert specification.read_block("bench", path) == "one \\1 two\n"
    with pytest.raises(SystemExit, match="no markers <!-- bench cost: begin"):
        specification.write_block("bench cost", "x", path)


@pytest.mark.parametrize("name", ["bench", "bench rpc", "bench streams", "bench scale", "bench scheduler"])
def test_each_measurement_has_its_place(specification, name):
    assert specification.read_block(name)
