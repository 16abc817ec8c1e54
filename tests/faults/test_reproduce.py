"""Each known attack and accident of scripts/reproduce, tried on this nova0."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
ATTACKS = sorted(path.stem for path in (REPO / "scripts/reproduce.d").glob("*.py") if path.stem != "world")


def reproduce(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "scripts/reproduce", *words], cwd=REPO, capture_output=True, text=True)


def test_each_attack_says_what_it_tries_and_what_it_did():
    listed = reproduce("--list")
    assert listed.returncode == 0, listed.stderr
    told = dict(line.split(maxsplit=1) for line in listed.stdout.splitlines())
    assert sorted(told) == ATTACKS


def test_a_name_that_is_none_is_refused():
    answer = reproduce("no_such_attack")
    assert answer.returncode == 2
    assert "no attack 'no_such_attack'" in answer.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ATTACKS)
def test_it_holds(name):
    answer = reproduce("--json", name)
    told = json.loads(answer.stdout)
    if told["held"] is None:
        pytest.skip(told["now"])
    assert told["held"], told["now"]
