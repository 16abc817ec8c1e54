"""The controller's store is lost: `nova0 up` says so and makes no new cloud until it is told to."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.faults.processes import free_port


@pytest.fixture
def nova0(tmp_path):
    options = {
        **os.environ,
        "HOME": str(tmp_path),
        "NOVA0_STATE_PATH": str(tmp_path / "state"),
        "NOVA0_MESH__MDNS": "false",
        "NOVA0_MESH__LISTEN": "127.0.0.1",
        "NOVA0_MESH__ADVERTISE": "127.0.0.1",
        "NOVA0_MESH__DOOR_PORT": str(free_port()),
    }

    def run(*words):
        command = [sys.executable, "-m", "nova0.cli.main", *words]
        return subprocess.run(
            command, env=options, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120
        )

    yield run
    run("down")


@pytest.mark.slow
def test_up_refuses_a_lost_store_until_it_is_told_to_begin_anew(nova0, tmp_path):
    """threat: an emptied store becomes a new cloud."""
    up = ("up", "--fake", "--daemon", "--no-seed", "--port", str(free_port()))
    assert nova0(*up).returncode == 0
    nova0("down")
    store = tmp_path / "state/store.sqlite"
    old = store.read_bytes()
    store.write_bytes(b"")
    refused = nova0(*up)
    assert refused.returncode == 1 and "Traceback" not in refused.stderr
    for word in (str(store), "docs/backup.md", "nova0 up --new-store"):
        assert word in refused.stderr
    looked = {row["subject"]: row for row in json.loads(nova0("doctor", "--fake", "--json").stdout)}
    assert looked["store"]["level"] == "blocks" and "is empty" in looked["store"]["found"]
    store.write_bytes(old[: len(old) // 2])
    assert "is damaged" in nova0(*up).stderr
    assert "--yes" in nova0(*up, "--new-store").stderr, "asked, without a terminal"
    anew = nova0(*up, "--new-store", "--yes")
    assert anew.returncode == 0 and "set aside" in anew.stdout
    assert "nova0 adopt" in nova0("agents").stdout, "the host has worked for another store"
    nova0("down")
    assert nova0(*up).returncode == 0, "the word counts once, and is not needed again"
    looked = {row["subject"]: row for row in json.loads(nova0("doctor", "--fake", "--json").stdout)}
    assert looked["store"]["level"] == looked["clock and store"]["level"] == looked["records"]["level"] == "ok"
