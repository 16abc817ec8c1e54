"""Whether KVM really runs code here. /dev/kvm proves nothing: on some nested hosts guests just hang.

A boot sector that switches its machine off must do so within two seconds, in a child that can be killed.
Asked once per boot of the machine.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import tempfile
from pathlib import Path

from nova0 import atomic_file

ANSWER_S = 2.0
_EXIT_PORT, _EXIT_VALUE = 0xF4, 0x21
_EXIT_STATUS = (_EXIT_VALUE << 1) | 1  # what QEMU's isa-debug-exit makes of the value

# mov al, 0x21; out 0xf4, al; hlt; jmp $-1
_BOOT_SECTOR = (bytes([0xB0, _EXIT_VALUE, 0xE6, _EXIT_PORT, 0xF4, 0xEB, 0xFD])).ljust(510, b"\0") + b"\x55\xaa"

NO_DEVICE = "no /dev/kvm here; emulating (load kvm_intel or kvm_amd, or turn virtualisation on in the firmware)"
NO_RIGHTS = "/dev/kvm is not ours to use; emulating (add this user to the group kvm)"
NO_ANSWER = "KVM does not answer; emulating"


def answers(state_dir: Path) -> tuple[bool, str]:
    """(works, note). The note is empty where KVM works. Cached in `state_dir`/kvm.json per boot id."""
    if not Path("/dev/kvm").exists():
        return False, NO_DEVICE
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False, NO_RIGHTS
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    remembered = state_dir / "kvm.json"
    try:
        known = json.loads(remembered.read_text())
        if known["boot"] == boot:
            return bool(known["works"]), str(known["note"])
    except (OSError, ValueError, KeyError):
        known = None  # first time, or not readable: ask
    works, note = probe()
    atomic_file.write(remembered, json.dumps({"boot": boot, "works": works, "note": note}), 0o644)
    return works, note


def probe(accelerator: str = "kvm") -> tuple[bool, str]:
    """Run the boot sector under `accelerator`; never waits longer than about ANSWER_S."""
    machine = platform.machine()
    if machine != "x86_64":
        return False, f"KVM cannot be tried on {machine} yet; emulating"
    with tempfile.NamedTemporaryFile(prefix="nova0-kvm-", suffix=".img") as sector:
        sector.write(_BOOT_SECTOR)
        sector.flush()
        command = ["qemu-system-x86_64", "-accel", accelerator, "-machine", "pc", "-m", "16", "-display", "none"]
        command += ["-nodefaults", "-no-user-config", "-boot", "c"]
        command += ["-drive", f"file={sector.name},format=raw,if=ide,readonly=off,snapshot=on"]
        command += ["-device", f"isa-debug-exit,iobase={_EXIT_PORT:#x},iosize=0x04"]
        try:
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
            )
        except FileNotFoundError:
            return False, "no qemu-system-x86_64 here: install qemu-system-x86"
        try:
            child.wait(ANSWER_S)
        except subprocess.TimeoutExpired:
            child.kill()
            try:
                child.wait(ANSWER_S)
            except subprocess.TimeoutExpired:  # held inside the kernel: it is init's or ours to reap later
                return False, NO_ANSWER
            return False, NO_ANSWER
        finally:
            if child.stderr is not None:
                words = child.stderr.read().decode(errors="replace").strip() if child.returncode is not None else ""
                child.stderr.close()
    if child.returncode == _EXIT_STATUS:
        return True, ""
    return False, f"KVM fails ({words.splitlines()[-1] if words else f'status {child.returncode}'}); emulating"
