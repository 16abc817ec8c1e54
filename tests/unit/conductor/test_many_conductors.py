"""Several conductors on one store, as processes: what one places the others see, and no host is promised twice."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from nova0.controller.db.compute_tables import ClaimRow, FaultRow, HostRow, InstanceRow
from nova0.controller.db.operation_tables import FactRow, OperationRow
from nova0.objects.states import VmState

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = Path(__file__).with_name("one_conductor.py")
ROOM = {"lab0": 3, "lab1": 4, "lab2": 5, "lab3": 8}  # servers of 512 MiB
ASKED, CONDUCTORS = 60, 4


@pytest.mark.slow
@pytest.mark.covers("S160")
def test_conductors_that_place_at_once_fill_the_hosts_and_no_more(cloud):
    for name, servers in ROOM.items():
        cloud.host(name, memory_mb=512 * servers, vcpus=64)
    cloud.crash()  # its own controller; the store stays
    assert len(ROOM) == cloud.store.read(lambda: HostRow.select().count())
    uuids = [cloud.boot() for _ in range(ASKED)]
    before = cloud.store.commit_mark()
    words = [sys.executable, str(PROGRAM), str(cloud.store.path)]
    started = [
        subprocess.Popen([*words, str(number), ",".join(ROOM)], stdin=-1, stdout=-1, stderr=-1, text=True, cwd=ROOT,
                         env={"PYTHONPATH": str(ROOT)})
        for number in range(CONDUCTORS)
    ]  # fmt: skip
    try:
        for process in started:
            assert process.stdout.readline() == "READY\n", process.communicate(timeout=30)[1]
        for process in started:
            process.stdin.write("go\n")
            process.stdin.flush()
        ended = [process.communicate(timeout=200) for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert all(process.returncode == 0 for process in started), [errors[-2000:] for _, errors in ended]
    said = [json.loads(said.splitlines()[-1]) for said, _ in ended]
    books = [book for book, _ in said]

    def found():
        servers = Counter(row.vm_state for row in InstanceRow.select().where(InstanceRow.uuid.in_(uuids)))
        claims = {row.instance_uuid: row.host for row in ClaimRow.select()}
        used = {row.host: (row.memory_mb_used, row.servers) for row in HostRow.select()}
        owners = {row.owner for row in OperationRow.select()}
        mark = FactRow.get(FactRow.name == "commit_mark").value
        return servers, claims, used, owners, [row.message for row in FaultRow.select()], mark

    servers, claims, used, owners, faults, mark = cloud.store.read(found)
    assert servers == {VmState.ACTIVE: sum(ROOM.values()), VmState.ERROR: ASKED - sum(ROOM.values())}
    assert Counter(claims.values()) == ROOM
    assert used == {host: (512 * servers, servers) for host, servers in ROOM.items()}
    assert len(faults) == ASKED - sum(ROOM.values()) and all("No valid host" in fault for fault in faults)
    held = [(uuid, host) for book in books for host, here in book.items() for uuid in here]
    assert sorted(held) == sorted(claims.items())  # every server on one host, once, where its claim is
    assert mark == before + sum(commits for _, commits in said)  # by which hosts tell an older store
    assert len(owners) > 1  # more than one conductor placed servers
