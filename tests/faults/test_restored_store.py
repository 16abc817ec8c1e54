"""The store is put back from a backup while guests run on: nothing made since is lost or deleted by mistake."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from tests.faults.processes import Cloud, until


@pytest.fixture
def cloud(tmp_path):
    made = Cloud(tmp_path, hosts=1)
    try:
        yield made.start()
    finally:
        made.stop()


def back_up(cloud, to):
    with (
        closing(sqlite3.connect(cloud.folder / "ctl" / "store.sqlite")) as store,
        closing(sqlite3.connect(to)) as copy,
    ):
        store.backup(copy)


def put_back(cloud, copy):
    cloud.controller.end()
    for path in (cloud.folder / "ctl").glob("store.sqlite*"):
        path.unlink()
    copy.rename(cloud.folder / "ctl" / "store.sqlite")
    cloud.controller.start()
    until(lambda: cloud.up() == ["lab1"], 40, "the host is back at the controller")


def nova0(cloud, *words):
    """As an operator on the controller would."""
    return subprocess.run(
        [sys.executable, "-m", "nova0.cli.main", *words],
        env={**os.environ, "NOVA0_STATE_PATH": str(cloud.folder / "ctl"), "NOVA0_HOST": "ctl"},
        capture_output=True,
        text=True,
        timeout=60,
    )


def agents(cloud):
    return {row["node"]: row for row in json.loads(nova0(cloud, "agents", "--json").stdout)}


@pytest.mark.slow
@pytest.mark.design("R1", "R6")
def test_after_a_restore_hosts_delete_nothing_until_the_store_is_adopted(cloud, tmp_path):
    """threat: a restored store, or a second one, has live servers destroyed."""
    kept = cloud.boot("kept")
    assert cloud.rested(kept)["status"] == "ACTIVE"
    back_up(cloud, tmp_path / "backup.sqlite")
    later = cloud.boot("made-after-the-backup")
    assert cloud.rested(later)["status"] == "ACTIVE"
    put_back(cloud, tmp_path / "backup.sqlite")

    assert cloud.server(later) is None and set(cloud.servers()) == {kept}, "listing works, of what the store knows"
    until(lambda: "nova0 adopt" in agents(cloud)["lab1/host"]["detail"], 40, "`nova0 agents` says what is wrong")
    assert cloud.delete(kept), "taken by the API, whose hosts refuse it"
    found = until(lambda: s if (s := cloud.server(kept))["status"] == "ERROR" else None, 40, "the delete is refused")
    assert "nova0 adopt" in found["fault"]["details"] + found["fault"]["message"]
    assert cloud.guests() == {"lab1": sorted([kept, later])}

    done = nova0(cloud, "adopt", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["taken"] == ["lab1/host"], done.stderr
    assert not agents(cloud)["lab1/host"]["detail"]
    assert cloud.delete(kept)
    until(lambda: cloud.server(kept) is None, 40, "deleted")
    until(lambda: cloud.guests() == {"lab1": [later]}, 40, "what the store never knew is left alone")
