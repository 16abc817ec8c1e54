"""Import circles: none, between modules, at import time (imports inside functions and for types don't count).

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


def imported_at_import(path: Path, known: set[str]) -> set[str]:
    """Modules of ours that importing this file imports directly."""
    found: set[str] = set()
    waiting: list[ast.stmt] = list(ast.parse(path.read_text()).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & known
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = {f"{node.module}.{alias.name}" for alias in node.names} & known
            found |= whole
            if len(whole) < len(node.names) and node.module in known:
                found.add(node.module)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            waiting += node.orelse
        elif isinstance(node, ast.If | ast.Try | ast.With):
            waiting += node.body + getattr(node, "orelse", [])
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
    graph = {module_name(path): imported_at_import(path, names) - {module_name(path)} for path in files}
    assert circles(graph) == []


def test_a_circle_would_be_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == [["a", "b", "c", "a"]]


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
