"""What a claim costs does not grow with the servers that are on the host already: counted, not timed."""

from __future__ import annotations

import pytest

from nova0.controller.conductor import claims
from nova0.controller.db.base_table import DATABASE, new_id
from nova0.controller.db.compute_tables import ClaimRow, HostRow
from nova0.controller.scheduler.host_view import Taken
from nova0.objects.flavor import Flavor
from tests.unit.conductor.conftest import ScriptedHost

ROOM = 4000
SMALL = Taken(vcpus=1, memory_mb=1, disk_gb=0, resources={"CUSTOM_SLOT": 1})
LIMITS = dict.fromkeys(("vcpus", "memory_mb", "disk_gb"), float(ROOM))


class Slots(ScriptedHost):
    def host_state(self):
        state = super().host_state()
        state.resources = {"CUSTOM_SLOT": ROOM}
        return state


def counted(store, work):
    """(SQL statements, instructions of SQLite's machine) that `work` takes inside a transaction of the store. Its
    instructions are per row read, so a table that is walked shows."""
    statements, instructions = [], [0]

    def closure():
        connection = DATABASE.connection()

        def step():
            instructions[0] += 1
            return 0

        connection.set_trace_callback(statements.append)
        connection.set_progress_handler(step, 1)
        try:
            work()
        finally:
            connection.set_trace_callback(None)
            connection.set_progress_handler(None, 0)

    store.write(closure)
    return len(statements), instructions[0]


def costs(store):
    """Of a claim, of the same asked again, and of giving it back."""
    uuid = new_id()
    return [
        counted(store, lambda: claims.claim(uuid, "lab1", SMALL, LIMITS)),
        counted(store, lambda: claims.claim(uuid, "lab1", SMALL, LIMITS)),
        counted(store, lambda: claims.free(uuid)),
    ]


@pytest.mark.covers("S160")
def test_a_claim_takes_as_many_statements_and_rows_with_a_thousand_servers_as_with_one(cloud):
    Slots(cloud.net, "lab1", memory_mb=ROOM, vcpus=ROOM).join()
    cloud.host("lab2", memory_mb=ROOM, vcpus=ROOM)

    def fill(number):
        for _ in range(number):
            claims.claim(new_id(), "lab1", SMALL, LIMITS)

    cloud.store.write(lambda: fill(1))
    alone = costs(cloud.store)
    cloud.store.write(lambda: fill(999))
    crowded = costs(cloud.store)
    assert cloud.store.read(lambda: HostRow.get(HostRow.host == "lab1").servers) == 1000
    assert [statements for statements, _ in alone] == [4, 1, 4] and alone == crowded
    walked = counted(cloud.store, lambda: list(ClaimRow.select().where(ClaimRow.host == "lab1")))
    assert walked[1] > 1000 > crowded[0][1]  # so that what is counted shows a table that is walked


@pytest.mark.covers("S160")
def test_placing_a_server_reads_no_host_anew_however_many_servers_it_has(cloud):
    """The view of a host is deducted from in memory; its claims are read when it reports or refuses, not for a boot."""
    cloud.host("lab1", memory_mb=512 * ROOM, vcpus=ROOM)
    one = cloud.settled(cloud.boot())
    book = cloud.controller.scheduler.book
    reads, servers = book.reads, len(book.view("lab1").servers)
    flavor = Flavor(flavor_id="1", name="m1.tiny", vcpus=1, memory_mb=512, root_gb=0)
    for _ in range(20):
        cloud.settled(cloud.boot(flavor))
    assert one.host == "lab1" and len(book.view("lab1").servers) == servers + 20
    assert book.reads == reads
