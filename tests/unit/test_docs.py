"""Documents agree with the code: every command, option and agent is documented, every link leads somewhere."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]
pages = runpy.run_path(str(REPO / "scripts/pages"))["pages"]
parts = runpy.run_path(str(REPO / "scripts/parts"))


@pytest.mark.covers("S050")
def test_generated_pages_and_the_sample_configuration_are_up_to_date():
    done = subprocess.run(
        [sys.executable, "scripts/pages", "--check"], cwd=REPO, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_every_command_has_its_page():
    from nova0.cli.main import discover

    text = (REPO / "docs/commands.md").read_text()
    for words in discover():
        assert f"## nova0 {' '.join(words)}\n" in text


def test_every_option_declared_in_the_source_is_documented():
    text = (REPO / "docs/options.md").read_text()
    declared = {
        name
        for path in [*REPO.glob("nova0/**/*.py"), *REPO.glob("agents/*.py")]
        for name in re.findall(r'cfg\.(?!Deprecated)\w*Opt\(\s*"(\w+)"', path.read_text())
    }
    assert len(declared) > 20
    assert {name for name in declared if f"`{name}`" not in text} == set()


def test_every_option_explains_itself():
    for path in [*REPO.glob("nova0/**/*.py"), *REPO.glob("agents/*.py")]:
        for option in re.findall(r"cfg\.(?!Deprecated)\w*Opt\((?:[^()]|\([^()]*\))*\)", path.read_text()):
            assert "help=" in option, f"{path}: {option[:60]}"


@pytest.mark.parametrize(
    "page",
    [REPO / "README.md", REPO / "SPECIFICATION.md", *sorted(REPO.glob("docs/**/*.md"))],
    ids=lambda path: path.name,
)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_parts_and_their_page_agree_and_each_test_carries_its_mark():
    done = subprocess.run([sys.executable, "scripts/parts", "--check"], cwd=REPO, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_part_whose_test_does_not_exist_is_found():
    wrong = {
        "S001": {"name": "n", "works": "w", "state": "works", "tests": ["tests/unit/test_docs.py::test_nothing"]},
        "S002": {"name": "n", "works": "w", "state": "done"},
        "S050": {
            "name": "n",
            "works": "w",
            "state": "works",
            "tests": ["tests/unit/test_docs.py::test_generated_pages_and_the_sample_configuration_are_up_to_date"],
        },
        "S051": {
            "name": "n",
            "works": "w",
            "state": "works",
            "tests": ["tests/unit/test_docs.py::test_generated_pages_and_the_sample_configuration_are_up_to_date"],
        },
    }
    found = "\n".join(parts["faults"](wrong))
    assert "S001" in found and "no such test" in found
    assert "S002: state 'done'" in found
    assert "S050" not in found
    assert "S051" in found and "covers('S051')" in found


def test_every_mark_names_a_part_by_its_id():
    for path in REPO.glob("tests/**/*.py"):
        for arguments in re.findall(r"mark\.covers\(([^)]*)\)", path.read_text()):
            for part_id in re.findall(r'"([^"]*)"', arguments):
                assert re.fullmatch(r"S\d{3}", part_id), f"{path}: {part_id}"


def test_specification_names_tests_that_exist():
    for test in re.findall(r"`(tests/[^`]+)`", (REPO / "SPECIFICATION.md").read_text()):
        file, _, name = test.partition("::")
        assert f"def {name}(" in (REPO / file).read_text(), test
