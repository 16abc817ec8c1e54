"""Import circles: none between modules, imports inside functions and for types only included.

The layers themselves are held by import-linter in scripts/lint.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]


def module_name(path: Path) -> str:
    parts = path.relative_to(REPO).with_suffix("").parts
    parts = ("nova0", *parts) if parts[0] == "agents" else parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path, known: set[str]) -> set[str]:
    """Modules of ours that this file names: to run, inside a function, or for types only."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & known
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = {f"{node.module}.{alias.name}" for alias in node.names} & known
            found |= whole
            if len(whole) < len(node.names) and node.module in known:
                found.add(node.module)
    return found


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Every circle found by walking in depth, one for each edge that closes one."""
    found, done, path = [], set(), []

    def walk(name: str) -> None:
        if name in path:
            found.append([*path[path.index(name) :], name])
            return
        if name in done:
            return
        path.append(name)
        for other in sorted(graph.get(name, ())):
            walk(other)
        path.pop()
        done.add(name)

    for name in sorted(graph):
        walk(name)
    return found


def test_no_modules_import_each_other_in_a_circle():
    files = [*REPO.glob("nova0/**/*.py"), *REPO.glob("agents/*.py")]
    names = {module_name(path) for path in files}
    graph = {module_name(path): imported(path, names) - {module_name(path)} for path in files}
    assert [" -> ".join(circle) for circle in circles(graph)] == []


def test_a_circle_would_be_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == [["a", "b", "c", "a"]]


def test_an_import_counts_wherever_it_stands(tmp_path):
    file = tmp_path / "one.py"
    file.write_text(
        "from a import b\n"
        "if TYPE_CHECKING:\n    from c import Kind\n"
        "def late():\n    import d.e\n"
        "class Lazy:\n    def more(self):\n        from f import g, Other\n"
    )
    assert imported(file, {"a.b", "c", "d.e", "f", "f.g", "h"}) == {"a.b", "c", "d.e", "f", "f.g"}


@pytest.mark.parametrize(
    ("bundle", "never"),
    [
        ("nova0.agents.controller_bundle", ["nova0.host", "libvirt"]),
        ("nova0.agents.host_bundle", ["nova0.controller", "peewee"]),
    ],
)
def test_a_process_loads_nothing_of_the_other_wing(bundle, never):
    script = f"import {bundle}, sys; print([m for m in {never!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr[-500:]
