"""What a user tells a server in confidence leaves the store's files with the server, to the last byte."""

from __future__ import annotations

import sqlite3
import subprocess
import sys

import gevent
import pytest

from nova0.controller.db import migrations
from nova0.controller.db.store import Store
from nova0.objects.errors import DriverError
from nova0.objects.states import VmState

PASSWORD, DATA = "Marked-passw0rd-%s", "TWFya2VkIHVzZXIgZGF0YQ-%s"
LONG = "eA" * 6000  # over several pages


def lies_in(cloud, text):
    """Names of the store's files in which the text is."""
    folder = cloud.store.path.parent
    return [file.name for file in folder.glob("store.sqlite*") if text.encode() in file.read_bytes()]


def boot(cloud, mark="1", tail=""):
    return cloud.boot(admin_password=PASSWORD % mark, user_data=DATA % mark + tail, config_drive=True)


@pytest.mark.slow
@pytest.mark.covers("S178")
def test_a_password_goes_when_its_guest_was_made_and_user_data_with_the_server(cloud):
    host = cloud.host("lab1")
    prepared = []
    host.script["prepare"] = lambda uuid: prepared.append(cloud.row(uuid).admin_password)
    uuid = boot(cloud, tail=LONG)
    assert cloud.settled(uuid).vm_state == VmState.ACTIVE
    assert prepared == [PASSWORD % "1"]
    cloud.until(lambda: not lies_in(cloud, PASSWORD % "1"))
    assert lies_in(cloud, DATA % "1"), "its host still serves it to the guest"
    cloud.ask("delete", uuid)
    cloud.until(lambda: cloud.row(uuid).deleted_at)
    cloud.until(lambda: not lies_in(cloud, DATA % "1"))
    assert not lies_in(cloud, LONG[:200])


def test_a_boot_that_failed_and_one_that_was_deleted_meanwhile_keep_no_password(cloud):
    host = cloud.host("lab1")

    def no(uuid):
        raise DriverError("lab1: no disk")

    host.script["prepare"] = no
    failed = boot(cloud, "2")
    assert cloud.settled(failed).vm_state == VmState.ERROR
    assert cloud.row(failed).admin_password is None
    waiting = boot(cloud, "3")
    cloud.ask("delete", waiting)
    cloud.ask("delete", failed)
    for uuid in (failed, waiting):
        cloud.until(lambda uuid=uuid: cloud.row(uuid).deleted_at)
    for mark in ("2", "3"):
        cloud.until(lambda mark=mark: not lies_in(cloud, PASSWORD % mark) and not lies_in(cloud, DATA % mark))


@pytest.mark.slow
def test_of_many_servers_none_leaves_a_byte(cloud):
    cloud.host("lab1", memory_mb=1 << 20, vcpus=1000)
    uuids = [boot(cloud, f"many{n}", tail="x" * (n * 137 % 5000)) for n in range(40)]
    for uuid in uuids:
        cloud.settled(uuid)
    for uuid in uuids:
        cloud.ask("delete", uuid)
    cloud.until(lambda: all(cloud.row(uuid).deleted_at for uuid in uuids), 30)
    cloud.until(lambda: not lies_in(cloud, (DATA % "many")) and not lies_in(cloud, (PASSWORD % "many")))


def test_a_store_of_an_earlier_version_forgets_at_its_first_start(tmp_path):
    path = tmp_path / "old.sqlite"
    old = sqlite3.connect(path)
    old.execute("PRAGMA journal_mode = wal")
    for _, file in migrations.numbered()[:2]:
        old.executescript(file.read_text())
    old.execute("PRAGMA user_version = 2")
    columns = {
        "uuid": "u1", "generation": 1, "name": "s", "hostname": "s", "project_id": "p", "user_id": "u",
        "vm_state": "deleted", "power_state": 0, "flavor": "{}", "config_drive": 1, "metadata": "{}",
        "system_metadata": "{}", "tags": "[]", "scheduler_hints": "{}", "security_groups": "[]",
        "block_devices": "[]", "disk_config": "AUTO", "launch_index": 0, "reservation_id": "r", "progress": 0,
        "root_device_name": "/dev/vda", "created_at": 1.0, "deleted_at": 2.0,
        "admin_password": PASSWORD % "old", "user_data": DATA % "old" + LONG,
    }  # fmt: skip
    for uuid in ("u1", "u2"):
        values = columns | {"uuid": uuid}
        names, places = ", ".join(values), ", ".join("?" * len(values))
        old.execute(f"INSERT INTO instance ({names}) VALUES ({places})", list(values.values()))
    old.execute("DELETE FROM instance WHERE uuid = 'u2'")  # what an earlier version deleted lies in free pages
    old.commit()
    old.close()
    assert (PASSWORD % "old").encode() in path.read_bytes()
    program = """
import sys
from pathlib import Path
from nova0.controller.db import migrations
from nova0.controller.db.store import Store
Store(Path(sys.argv[1])).close()
"""
    subprocess.run([sys.executable, "-c", program, str(path)], check=True, timeout=60)
    files = b"".join(file.read_bytes() for file in tmp_path.glob("old.sqlite*"))
    assert b"Marked-passw0rd" not in files and (DATA % "old").encode() not in files and LONG[:200].encode() not in files


def test_what_a_killed_controller_left_in_the_journal_goes_at_the_next_start(tmp_path):
    path = tmp_path / "store.sqlite"
    program = """
import os, signal, sys
from pathlib import Path
from nova0.controller.db import migrations
from nova0.controller.db.store import Store
from nova0.controller.db.operation_tables import OutboxRow
store = Store(Path(sys.argv[1]))
store.write(lambda: OutboxRow.create(event_type="Marked-to-go", payload={}) and None)
store.write(lambda: OutboxRow.delete().execute())
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", program, str(path)], timeout=60)
    assert b"Marked-to-go" in (tmp_path / "store.sqlite-wal").read_bytes()
    store = Store(path)
    with gevent.Timeout(30):
        while any(b"Marked-to-go" in file.read_bytes() for file in tmp_path.iterdir()):
            gevent.sleep(0.05)
    store.close()
