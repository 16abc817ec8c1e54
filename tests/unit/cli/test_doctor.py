"""The doctor: what it sees of a machine, and that each fault comes with a remedy."""

from __future__ import annotations

import json
import socket
import tempfile
import time
from pathlib import Path

import msgspec
import pytest

from nova0.cli.checks import (
    BLOCKS,
    OK,
    WARNING,
    Look,
    confinement,
    guests,
    links,
    membership,
    packages,
    records,
    room,
    store,
)
from nova0.cli.main import main
from nova0.controller.db import facts, witness
from nova0.controller.db.store import Store
from nova0.controller.db.witness import Witness
from nova0.mesh import identity, rotation
from nova0.mesh.certificate import Trust
from nova0.mesh.identity import create_cluster
from nova0.mesh.tombstones import Tombstones, put_out


def of(findings, subject):
    return next(finding for finding in findings if finding.subject == subject)


def test_every_fault_has_a_remedy(tmp_path):
    look = Look(tmp_path / "state", root=tmp_path, path=str(tmp_path))
    (tmp_path / "proc").mkdir()
    findings = [*packages.check(look), *links.check(look), *room.check(look)]
    for finding in findings:
        assert finding.level in (OK, WARNING, BLOCKS)
        assert finding.level == OK or finding.remedy, finding


def test_a_root_key_on_the_machine_is_advised_against(tmp_path):
    look = Look(tmp_path)
    assert membership.check(look) == []
    create_cluster(tmp_path / "mesh", "lab1")
    advised = of(membership.check(look), "root key")
    assert advised.level == WARNING and "shred" in advised.remedy
    me = identity.load(tmp_path / "mesh")
    rotation.rotate_root(
        tmp_path / "mesh",
        tmp_path / "mesh/root.key",
        tmp_path / "second.key",
        lambda trust: {"took": me.adopt(msgspec.msgpack.decode(trust, type=Trust))},
    )
    found = of(membership.check(look), "root key")
    assert found.level == WARNING and "of an earlier root, of no use" in found.found
    (tmp_path / "mesh" / "root.key").unlink()
    found = of(membership.check(look), "root key")
    assert found.level == OK and "version 2 counts" in found.found


def test_keys_made_on_another_machine_block(tmp_path):
    look = Look(tmp_path, root=tmp_path)
    create_cluster(tmp_path / "mesh", "lab1")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/machine-id").write_text("two")
    assert of(membership.check(look), "machine").level == OK
    (tmp_path / "mesh" / "machine").write_text(json.dumps({"dmi_uuid": "", "machine_id": "one"}))
    found = of(membership.check(look), "machine")
    assert found.level == BLOCKS and "one before, two now" in found.found and "nova0 node rekey" in found.remedy


def test_a_machine_that_was_put_out_is_told_so_and_how_it_comes_back(tmp_path):
    create_cluster(tmp_path / "mesh", "lab1")
    me = identity.load(tmp_path / "mesh")
    key, node_id = me.certificate.key, me.certificate.node_id
    stone = put_out(me.signer(), me.cluster, key, "lab1", "stolen", "lab0", node_id=node_id)
    assert not any(finding.subject == "membership" for finding in membership.check(Look(tmp_path)))
    Tombstones(me).merge([stone])
    found = of(membership.check(Look(tmp_path)), "membership")
    assert (found.level, found.found) == (BLOCKS, "lab1 was put out of the cluster by lab0: stolen")
    assert "nova0 join -" in found.remedy


def test_missing_programs_block_and_name_their_package(tmp_path):
    findings = packages.check(Look(tmp_path, path=str(tmp_path)))
    assert of(findings, "dnsmasq").level == BLOCKS and "dnsmasq-base" in of(findings, "dnsmasq").remedy


def test_the_fake_driver_wants_no_packages(tmp_path):
    assert all(finding.level == OK for finding in packages.check(Look(tmp_path, path=str(tmp_path), fake=True)))


def test_a_taken_port_blocks_unless_it_is_ours(tmp_path):
    (tmp_path / "proc").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        look = Look(tmp_path, root=tmp_path, port=port)
        assert of(room.check(look), "API port").level == BLOCKS
        look.running = True
        assert all(finding.subject != "API port" for finding in room.check(look))


@pytest.mark.parametrize(("setting", "level"), [("1", WARNING), ("0", OK), (None, OK)])
def test_br_netfilter_is_seen(tmp_path, setting, level):
    if setting is not None:
        path = tmp_path / "proc/sys/net/bridge/bridge-nf-call-iptables"
        path.parent.mkdir(parents=True)
        path.write_text(setting + "\n")
    assert of(links.check(Look(tmp_path, root=tmp_path)), "br_netfilter").level == level


def test_a_full_disk_blocks(monkeypatch, tmp_path):
    import shutil
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 10**6))
    finding = room.disk(tmp_path)
    assert finding.level == BLOCKS and "state_path" in finding.remedy


def test_the_command_exits_1_only_when_something_blocks(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("NOVA0_STATE_PATH", str(tmp_path))
    code = main(["doctor", "--fake", "--json"])
    findings = json.loads(capsys.readouterr().out)
    assert code == int(any(finding["level"] == BLOCKS for finding in findings))
    assert {"disk", "clock", "multicast"} <= {finding["subject"] for finding in findings}
    assert list(Path(tmp_path).iterdir()) == []  # it changed nothing


def test_guests_kept_in_doubt_are_told(tmp_path):
    look, folder = Look(tmp_path), tmp_path / "instances-records"
    assert guests.check(look) == []
    folder.mkdir()
    seen = {"a": {"kept": True}, "b": {"kept": True}, "c": {"kept": False}}
    (folder / "disowned").write_text(json.dumps(seen))
    found = of(guests.check(look), "guests")
    assert found.level == WARNING and found.found.startswith("2 guests") and "nova0 guests release" in found.remedy
    (folder / "disowned").write_text("[")
    assert guests.check(look) == []


def a_guest(root, pid, uid, screen, group="/machine/qemu-1-instance-00000001.libvirt-qemu"):
    process = root / f"proc/{pid}"
    process.mkdir(parents=True)
    words = ["qemu-system-x86_64", "-name", f"guest=instance-{pid:08x},debug-threads=on", "-vnc", screen, ""]
    (process / "cmdline").write_text("\0".join(words))
    (process / "status").write_text(f"Name:\tqemu\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n")
    (process / "cgroup").write_text(f"4:memory:{group}\n")


def test_guests_that_nothing_holds_in_are_told(tmp_path):
    root, state = tmp_path / "machine", tmp_path / "state"
    look = Look(state, root=root)
    for name in ("cpu", "memory"):
        (root / "sys/fs/cgroup" / name).mkdir(parents=True)
        (root / "sys/fs/cgroup" / name / "cgroup.procs").touch()
    a_guest(root, 10, 64055, "unix:/x/vnc")
    assert [finding.level for finding in confinement.check(look)] == [OK]
    a_guest(root, 11, 0, "127.0.0.1:0,audiodev=audio1", group="/")
    (root / "sys/fs/cgroup/memory/cgroup.procs").unlink()
    found = {finding.subject: finding for finding in confinement.check(look)}
    assert all(finding.level == WARNING and finding.remedy for finding in found.values())
    assert set(found) == {"guests' user", "screens", "bounds", "control groups"}
    assert found["guests' user"].found.startswith("1 guests run as root")
    assert "memory" in found["control groups"].found
    assert confinement.check(Look(state, root=root, fake=True)) == []


def test_what_other_users_can_read_of_guests_is_told():
    with tempfile.TemporaryDirectory(dir="/tmp") as made:
        state = Path(made)
        state.chmod(0o711)
        folder = state / "instances/one"
        folder.mkdir(parents=True)
        disk = folder / "disk.qcow2"
        disk.touch(mode=0o600)
        look = Look(state, root=state / "nowhere")
        subjects = lambda: {finding.subject for finding in confinement.check(look)}  # noqa: E731
        assert "guests' files" not in subjects()
        disk.chmod(0o644)
        assert "guests' files" in subjects()
        sockets = state / "libvirt/run"
        sockets.mkdir(parents=True)
        (sockets / "libvirt-sock-ro").touch()
        (sockets / "libvirt-sock-ro").chmod(0o777)
        assert "libvirt's socket" in subjects()
        (state / "libvirt").chmod(0o700)
        assert "libvirt's socket" not in subjects()


def a_store(state_path):
    store_ = Store(witness.store_of(state_path))
    opened = store_.write(lambda: facts.opened("aa"))
    witness.write(state_path, Witness(opened.store_id, "aa", opened.boot, store_.commit_mark()))
    store_.close()


def test_the_store_is_looked_through_and_held_against_its_witness(tmp_path):
    look = Look(tmp_path)
    assert store.check(look) == [], "no controller was ever here"
    a_store(tmp_path)
    assert [finding.level for finding in store.check(look)] == [OK] * 3
    path = witness.store_of(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + bytes(4096) + whole[8192:])
    damaged = of(store.check(look), "store")
    assert damaged.level == BLOCKS and "is damaged" in damaged.found and "docs/backup.md" in damaged.remedy
    path.write_bytes(b"")
    assert of(store.check(look), "store").level == BLOCKS and "is empty" in of(store.check(look), "store").found
    path.unlink()
    a_store(tmp_path / "other")
    witness.store_of(tmp_path / "other").rename(path)
    other = of(store.check(look), "store")
    assert other.level == BLOCKS and "worked with another" in other.found and "--this-store" in other.remedy


def test_a_clock_that_was_moved_since_the_store_was_open_is_shown(tmp_path, monkeypatch):
    a_store(tmp_path)
    assert of(store.check(Look(tmp_path)), "clock and store").level == OK
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 86400)
    moved = of(store.check(Look(tmp_path)), "clock and store")
    assert moved.level == WARNING and "ahead by 86400 s" in moved.found and moved.remedy


def test_records_that_cannot_be_read_are_named(tmp_path):
    look = Look(tmp_path)
    assert records.check(look) == []
    folder = tmp_path / "instances-records"
    folder.mkdir()
    assert [finding.level for finding in records.check(look)] == [OK]
    (folder / "one.unreadable").write_text("{")
    (folder / "two.json").write_text('{"instance')
    found = of(records.check(look), "records")
    assert found.level == WARNING and "2 can't be read: one, two" in found.found and "nova0 ps" in found.remedy
