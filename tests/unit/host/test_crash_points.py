"""The host process ends as by a power cut at each named point; the next start is whole and true."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nova0.objects.errors import Stale
from nova0.objects.states import PowerState
from tests.unit.host.lab import a_view, an_instance

RUNNING, SHUTDOWN = PowerState.RUNNING, PowerState.SHUTDOWN
ROOT = Path(__file__).parents[3]


def die_at(point, directory, uuid, *steps):
    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.host.doomed_host", str(directory), uuid, *steps],
        cwd=ROOT,
        env=os.environ | {"NOVA0_CRASH_AT": point},
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL, f"{point} was not reached: {done.stdout} {done.stderr}"


@pytest.mark.parametrize(
    ("point", "steps", "state", "leased"),
    [
        ("host.prepare.defined", ["prepare"], SHUTDOWN, False),
        ("host.start.leave_granted", ["prepare", "start"], SHUTDOWN, False),
        ("host.start.started", ["prepare", "start"], RUNNING, True),
    ],
)
def test_what_was_begun_is_found_and_can_be_gone_on_with(lab, point, steps, state, leased):
    server = an_instance()
    die_at(point, lab.directory, server.uuid, *steps)
    lab.conductor.placed, lab.conductor.views = [server], [a_view(server)]
    lab.host()
    found = lab.compute().inspect(server.uuid)
    assert (found.power_state, found.leased, found.generation) == (state, leased, 1)
    lab.compute().prepare(server, [a_view(server)])
    assert lab.compute().start(server.uuid, 1).power_state == RUNNING
    assert len(lab.machines["lab1"].driver.found()) == 1


@pytest.mark.parametrize("point", ["host.delete.tombstoned", "host.delete.removed"])
def test_a_delete_is_whole_after_the_next_start_without_any_word(lab, point):
    server = an_instance()
    die_at(point, lab.directory, server.uuid, "prepare", "start", "delete")
    machine = lab.host()
    assert {kind: found for kind, found in machine.guests.inventory().items() if found} == {}
    with pytest.raises(Stale):
        lab.compute().start(server.uuid, 1)
    lab.compute().delete(server.uuid, 2)
