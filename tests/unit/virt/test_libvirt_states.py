"""libvirt's words in ours: power states, events, and whether KVM is to be believed."""

import json
import stat

import pytest

from nova0.host.virt.libvirt import console_log, kvm_probe
from nova0.host.virt.libvirt.power import power_state

libvirt = pytest.importorskip("libvirt", reason="needs nova0[libvirt]")

ROWS = [
    pytest.param(libvirt.VIR_DOMAIN_NOSTATE, 0, marks=pytest.mark.covers("S262")),
    pytest.param(libvirt.VIR_DOMAIN_RUNNING, 1, marks=pytest.mark.covers("S263")),
    pytest.param(libvirt.VIR_DOMAIN_BLOCKED, 1, marks=pytest.mark.covers("S264")),
    pytest.param(libvirt.VIR_DOMAIN_PAUSED, 3, marks=pytest.mark.covers("S265")),
    pytest.param(libvirt.VIR_DOMAIN_SHUTDOWN, 4, marks=pytest.mark.covers("S266")),
    pytest.param(libvirt.VIR_DOMAIN_SHUTOFF, 4, marks=pytest.mark.covers("S267")),
    pytest.param(libvirt.VIR_DOMAIN_CRASHED, 6, marks=pytest.mark.covers("S268")),
    pytest.param(libvirt.VIR_DOMAIN_PMSUSPENDED, 7, marks=pytest.mark.covers("S269")),
]


@pytest.mark.parametrize("state, shown", ROWS)
def test_each_state_of_a_domain_is_shown_as_the_fields_power_state(state, shown):
    assert int(power_state(state)) == shown


def test_a_state_of_a_libvirt_to_come_says_nothing():
    assert int(power_state(99)) == 0


def test_events_have_one_word_each_and_a_crash_is_not_a_stop():
    from nova0.host.virt.libvirt.events import kind

    assert kind(libvirt.VIR_DOMAIN_EVENT_STARTED, 0) == "started"
    assert kind(libvirt.VIR_DOMAIN_EVENT_STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN) == "stopped"
    assert kind(libvirt.VIR_DOMAIN_EVENT_STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_CRASHED) == "crashed"
    assert kind(libvirt.VIR_DOMAIN_EVENT_DEFINED, 0) is None


@pytest.fixture
def emulator(tmp_path, monkeypatch):
    """A qemu-system-x86_64 of ours, first on the path."""

    def install(script: str) -> None:
        path = tmp_path / "bin" / "qemu-system-x86_64"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{path.parent}:/usr/bin:/bin")

    return install


@pytest.mark.covers("S248")
def test_a_kvm_that_hangs_is_given_up_within_two_seconds_and_emulated(emulator):
    emulator("exec sleep 60")
    assert kvm_probe.probe() == (False, "KVM does not answer; emulating")


def test_a_kvm_that_runs_the_boot_sector_is_believed(emulator):
    emulator(f"exit {kvm_probe._EXIT_STATUS}")
    assert kvm_probe.probe() == (True, "")


def test_a_kvm_that_fails_says_with_what(emulator):
    emulator("echo could not access KVM >&2; exit 1")
    assert kvm_probe.probe() == (False, "KVM fails (could not access KVM); emulating")


def test_the_boot_sector_itself_answers_when_emulated():
    works, note = kvm_probe.probe("tcg")
    if "install" in note:
        pytest.skip(note)
    assert works, note


def test_the_answer_is_kept_for_this_boot_only(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(kvm_probe.Path, "exists", lambda path: True)
    monkeypatch.setattr(kvm_probe.os, "access", lambda *a: True)
    monkeypatch.setattr(kvm_probe, "probe", lambda: asked.append(1) or (False, kvm_probe.NO_ANSWER))
    assert kvm_probe.answers(tmp_path) == kvm_probe.answers(tmp_path) == (False, kvm_probe.NO_ANSWER)
    assert len(asked) == 1
    kept = tmp_path / "kvm.json"
    kept.write_text(json.dumps({**json.loads(kept.read_text()), "boot": "another"}))
    kvm_probe.answers(tmp_path)
    assert len(asked) == 2


def test_a_console_log_is_read_from_its_end_and_kept_small(tmp_path):
    log = tmp_path / "console.log"
    assert console_log.tail(log, 10) == b""
    log.write_bytes(b"0123456789abcdef")
    assert console_log.tail(log, 6) == b"abcdef" and console_log.tail(log, 0) == b""
    assert console_log.trim(log) is False
    log.write_bytes(b"x" * console_log.MOST_BYTES + b"the end")
    assert console_log.trim(log) is True
    assert log.stat().st_size == console_log.KEEP_BYTES and console_log.tail(log, 7) == b"the end"
