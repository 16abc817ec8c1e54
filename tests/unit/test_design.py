"""The mesh's contract is held by tests: each claim of nova0/mesh/DESIGN.md bears an id, and each id a test.

A claim ends in [C1], before its stop; its test bears @pytest.mark.design("C1").
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

REPO = Path(__file__).parents[2]
CLAIM = re.compile(r"\[([A-Z]{1,2}\d{1,3})\](?!\()")


def claims() -> list[str]:
    return CLAIM.findall((REPO / "nova0/mesh/DESIGN.md").read_text())


def held_in(source: str) -> set[str]:
    """Ids that tests of a file bear: functions named test_..., their classes, and parameters' marks."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.design":
            found |= {argument.value for argument in node.args if isinstance(argument, ast.Constant)}
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("test_"):
            for mark in node.decorator_list:
                assert "mark.design" not in ast.unparse(mark), f"{node.name} is no test"
    return found


def test_no_id_stands_for_two_claims():
    assert [name for name, count in Counter(claims()).items() if count > 1] == []


def test_every_claim_has_its_test_and_every_mark_its_claim():
    held = set().union(*(held_in(path.read_text()) for path in REPO.glob("tests/**/test_*.py")))
    assert set(claims()) - held == set(), "claimed in DESIGN.md, but no test bears the id"
    assert held - set(claims()) == set(), "borne by a test, but nothing in DESIGN.md claims it"


def test_what_blocks_and_what_is_guaranteed_is_nothing_but_claims():
    text = (REPO / "nova0/mesh/DESIGN.md").read_text()
    section = text.partition("\n## What blocks, ")[2].partition("\n## ")[0]
    bullets = re.findall(r"^- (.*(?:\n  .*)*)", section, re.M)
    assert len(bullets) > 20
    without = [bullet for bullet in bullets if not re.search(r"\[[A-Z]{1,2}\d+\][.;:]?$", bullet)]
    assert without == [], "each ends in the id of its claim"


def test_marks_are_found_where_pytest_finds_them():
    source = (
        "import pytest\n"
        "ROWS = [pytest.param(1, marks=pytest.mark.design('C1'))]\n"
        "@pytest.mark.parametrize('row', ROWS)\n"
        "@pytest.mark.design('C2', 'K1')\n"
        "def test_one(row): ...\n"
    )
    assert held_in(source) == {"C1", "C2", "K1"}
