"""The parts list is true to the tests: each id once, a known state, tests that exist and say so, and a page like it."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]
scripts_parts = runpy.run_path(str(REPO / "scripts/parts"))
parts = scripts_parts["read"]()
marks = {path: scripts_parts["marks"](path) for path in sorted(REPO.glob("tests/**/test_*.py"))}


def test_every_id_stands_once_and_in_order():
    ids = re.findall(r"^\[(.*)\]$", (REPO / "docs/parts.toml").read_text(), re.M)
    assert ids == sorted(set(ids)) == list(parts)
    assert [part_id for part_id in ids if not re.fullmatch(r"S\d{3}", part_id)] == []


@pytest.mark.parametrize("part_id", parts)
def test_a_part_has_a_state_and_tests_that_carry_its_mark(part_id):
    part = parts[part_id]
    assert scripts_parts["faults"]({part_id: part}) == []
    assert set(part) <= {"name", "works", "state", "note", "tests"}
    assert part["state"] == "works" or part.get("note"), "what is missing is said in a note"
    assert len(part.get("tests", [])) == len(set(part.get("tests", [])))


def test_every_mark_names_a_part():
    unknown = {
        f"{path.relative_to(REPO)}::{name}: {part_id}"
        for path, found in marks.items()
        for name, ids in found.items()
        for part_id in ids - set(parts)
    }
    assert unknown == set(), "give it a row in docs/parts.toml"


def test_what_is_named_is_what_pytest_would_run():
    named = {test for part in parts.values() for test in part.get("tests", [])}
    assert len(named) > 100
    for test in named:
        assert re.fullmatch(r"tests/(\w+/)*test_\w+\.py(::Test\w+)?(::test_\w+)?", test), test


def test_the_page_is_the_generated_one():
    assert (REPO / "docs/parts.md").read_text() == scripts_parts["page"](parts), "run scripts/parts"


def test_marks_are_found_in_files_classes_and_parameters(tmp_path):
    file = tmp_path / "test_it.py"
    file.write_text(
        "import pytest\n"
        "pytestmark = [pytest.mark.slow, pytest.mark.covers('S001')]\n"
        "ROWS = [pytest.param(1, marks=pytest.mark.covers('S002'))]\n"
        "@pytest.mark.parametrize('row', ROWS)\n"
        "def test_one(row): ...\n"
        "@pytest.mark.covers('S003', 'S004')\n"
        "class TestTwo:\n"
        "    def test_three(self): ...\n"
        "def helper(): ...\n"
    )
    assert scripts_parts["marks"](file) == {
        "test_one": {"S001", "S002"},
        "TestTwo": {"S001", "S003", "S004"},
        "TestTwo::test_three": {"S001", "S003", "S004"},
    }
