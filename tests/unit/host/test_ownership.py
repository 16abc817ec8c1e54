"""A guest's files are the hypervisor's user's alone, from the beginning and also where an earlier version made them."""

from __future__ import annotations

import os
import socket
import stat

from nova0.host.disk import ownership
from tests.unit.host.lab import a_view, an_instance


def modes(folder):
    return {str(path.relative_to(folder)): stat.S_IMODE(path.lstat().st_mode) for path in folder.rglob("*")}


def test_what_a_host_makes_for_guests_is_nobody_elses(lab):
    old = os.umask(0)
    try:
        lab.host()
        instance = an_instance(config_drive=True)
        lab.compute().prepare(instance, [a_view(instance)])
    finally:
        os.umask(old)
    state = lab.directory / "lab1"
    found = modes(state / "instances")
    assert found[instance.uuid] == 0o700 and stat.S_IMODE((state / "instances").stat().st_mode) == 0o700
    assert not [name for name, mode in found.items() if mode & 0o077]
    assert stat.S_IMODE((state / "images").stat().st_mode) == 0o711, "passed through, not listed"
    assert stat.S_IMODE((state / "images" / "_base").stat().st_mode) == 0o700
    assert stat.S_IMODE((state / "instances-records").stat().st_mode) == 0o700


def test_what_an_earlier_version_made_wider_is_narrowed_at_the_start(lab):
    state = lab.directory / "lab1"
    for name in ("instances/u1/disk.qcow2", "instances/u1/console.log", "images/_base/i1"):
        path = state / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        path.chmod(0o644)
    for folder in ("instances", "instances/u1", "images", "images/_base"):
        (state / folder).chmod(0o755)
    lab.host()
    found = modes(state / "instances") | modes(state / "images")
    assert found == {"u1": 0o700, "u1/disk.qcow2": 0o600, "u1/console.log": 0o600, "_base": 0o700, "_base/i1": 0o600}


def test_links_in_a_guests_folder_change_nothing_elsewhere(tmp_path):
    outside, folder = tmp_path / "shadow", tmp_path / "instances"
    outside.write_text("of others")
    outside.chmod(0o644)
    (folder / "u1").mkdir(parents=True)
    (folder / "u1" / "disk.qcow2").symlink_to(outside)
    (folder / "u1" / "elsewhere").symlink_to(tmp_path)
    os.link(outside, folder / "u1" / "console.log")
    os.mkfifo(folder / "u1" / "pipe", 0o644)
    ownership.ours().everything(folder)
    assert stat.S_IMODE(outside.stat().st_mode) == 0o644
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_only_a_socket_is_closed_as_one(tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX) as listening:
        monkeypatch.chdir(tmp_path)
        listening.bind("vnc")
        os.chmod("vnc", 0o777)
        assert ownership.close_socket(tmp_path / "vnc")
        assert stat.S_IMODE(os.stat("vnc").st_mode) == 0o600
    (tmp_path / "file").touch(0o644)
    (tmp_path / "link").symlink_to("vnc")
    assert not ownership.close_socket(tmp_path / "file") and not ownership.close_socket(tmp_path / "link")
    assert not ownership.close_socket(tmp_path / "none")
