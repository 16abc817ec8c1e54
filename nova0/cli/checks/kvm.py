"""KVM, which is asked, not believed; and whether this user may drive libvirt."""

from __future__ import annotations

import os

from nova0.cli.checks import BLOCKS, OK, WARNING, Finding, Look

LIBVIRT_SOCKET = "/run/libvirt/libvirt-sock"


def check(look: Look) -> list[Finding]:
    if look.fake:
        return []
    return [_kvm(look), _libvirt(look)]


def _kvm(look: Look) -> Finding:
    from nova0.host.virt.libvirt import kvm_probe

    works, note = kvm_probe.answers(look.state_path / "libvirt") if _writable(look) else kvm_probe.probe()
    if works:
        return Finding("KVM", OK, "answers")
    return Finding(
        "KVM",
        WARNING,
        note or "KVM does not answer",
        "guests run emulated, slower; turn virtualisation on in the firmware, or nesting on for a virtual machine",
    )


def _writable(look: Look) -> bool:
    return look.state_path.exists() and os.access(look.state_path, os.W_OK)


def _libvirt(look: Look) -> Finding:
    socket_path = look.root / LIBVIRT_SOCKET.lstrip("/")
    if not socket_path.exists():
        if look.text("/etc/debian_version") and "\nlibvirt-qemu:" not in "\n" + look.text("/etc/passwd"):
            return Finding(
                "libvirt",
                BLOCKS,
                "none runs, and its user libvirt-qemu does not exist",
                "groupadd -r libvirt-qemu; useradd -r -g kvm -G libvirt-qemu -d /var/lib/libvirt libvirt-qemu",
            )
        if os.geteuid() == 0:
            return Finding("libvirt", OK, "none runs: nova0 starts one of its own")
        return Finding("libvirt", BLOCKS, "none runs, and starting one needs root", "sudo nova0 up, or nova0 up --fake")
    if os.access(socket_path, os.R_OK | os.W_OK):
        return Finding("libvirt", OK, f"{LIBVIRT_SOCKET} is ours to use")
    return Finding("libvirt", BLOCKS, f"{LIBVIRT_SOCKET} is not ours to use", "adduser $USER libvirt, then log in anew")
