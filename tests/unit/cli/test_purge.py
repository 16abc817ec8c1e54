"""`nova0 manage db purge`: says what goes, asks, removes it, and leaves the rest."""

from __future__ import annotations

import json
import time

import pytest

from nova0.cli import main
from nova0.controller.db.image_tables import ImageRow
from nova0.controller.db.store import Store

DAY_S = 86_400


@pytest.fixture
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("NOVA0_STATE_PATH", str(tmp_path))
    store = Store(tmp_path / "store.sqlite")

    def fill():
        for days in (1, 40, 100):
            moment = time.time() - days * DAY_S
            ImageRow.create(id=f"i{days}", status="deleted", deleted_at=moment, name="x" * 100_000)

    store.write(fill)
    store.close()
    return tmp_path


def images(state):
    store = Store(state / "store.sqlite")
    try:
        return store.read(lambda: sorted(row.id for row in ImageRow.select(ImageRow.id)))
    finally:
        store.close()


def test_it_says_what_would_go_and_removes_nothing_unasked(state, capsys):
    assert main.main(["manage", "db", "purge", "--dry-run"]) == 0
    assert "UTC: 1 images" in capsys.readouterr().out
    assert main.main(["manage", "db", "purge"]) == 2, "nobody can be asked here"
    assert "--yes" in capsys.readouterr().err
    assert images(state) == ["i1", "i100", "i40"]


@pytest.mark.slow
def test_it_removes_what_is_older_and_the_file_shrinks(state, capsys):
    before = (state / "store.sqlite").stat().st_size
    assert main.main(["manage", "db", "purge", "--days", "30", "--yes", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["removed"] == {"images": 2} and told["rows"]["images"] == 2
    assert told["bytes"]["after"] < told["bytes"]["before"] == before
    assert images(state) == ["i1"]
    assert main.main(["manage", "db", "purge", "--yes"]) == 0
    assert "nothing" in capsys.readouterr().out


def test_what_makes_no_sense_is_refused_with_the_remedy(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("NOVA0_STATE_PATH", str(tmp_path))
    assert main.main(["manage", "db", "purge", "--yes"]) == 1
    assert "run this on a controller" in capsys.readouterr().err
    for days in ("-1", "36501"):
        assert main.main(["manage", "db", "purge", "--days", days]) == 2
        assert f"--days {days}" in capsys.readouterr().err
    assert not (tmp_path / "store.sqlite").exists()
