"""Ports, disk, memory and clock."""

from __future__ import annotations

import os
import shutil
import socket
import time
from pathlib import Path

from nova0.cli.checks import BLOCKS, OK, WARNING, Finding, Look

DISK_BLOCKS_MB, DISK_WARNS_MB = 200, 2048
MEMORY_WARNS_MB = 512
DOOR_PORT = 7740
EARLIEST = 1735689600  # 2025-01-01: a clock before that was never set, and TLS and tokens fail


def check(look: Look) -> list[Finding]:
    return [*_ports(look), disk(look.state_path), _memory(look), _clock(look)]


def _ports(look: Look) -> list[Finding]:
    if look.running:
        return [Finding("ports", OK, "nova0 is up here and has them")]
    findings = []
    for name, listen, port, remedy in (
        ("API port", look.listen, look.port, "stop what uses it, or nova0 up --port N"),
        ("mesh door", "", DOOR_PORT, "stop what uses it, or set mesh.door_port"),
    ):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((listen, port))
                findings.append(Finding(name, OK, f"{port} is free"))
            except OSError as error:
                findings.append(Finding(name, BLOCKS, f"{port}: {error.strerror}", remedy))
    return findings


def disk(state_path: Path) -> Finding:
    """Free space where guests' disks will be."""
    place = next(path for path in (state_path, *state_path.parents) if path.exists())
    free_mb = shutil.disk_usage(place).free // 2**20
    found = f"{free_mb} MB free in {place}"
    remedy = "free space, or set state_path to a larger disk"
    if free_mb < DISK_BLOCKS_MB:
        return Finding("disk", BLOCKS, found, remedy)
    return Finding("disk", WARNING, found, remedy) if free_mb < DISK_WARNS_MB else Finding("disk", OK, found)


def _memory(look: Look) -> Finding:
    for line in look.text("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            free_mb = int(line.split()[1]) // 1024
            level = WARNING if free_mb < MEMORY_WARNS_MB else OK
            return Finding("memory", level, f"{free_mb} MB free", "" if level == OK else "few guests will fit")
    return Finding("memory", WARNING, "the kernel does not tell", "mount /proc")


def _clock(look: Look) -> Finding:
    if time.time() < EARLIEST:
        return Finding(
            "clock", BLOCKS, time.strftime("it is %Y-%m-%d here"), "set it: apt-get install systemd-timesyncd"
        )
    synced = (look.root / "run/systemd/timesync/synchronized").exists()
    keeper = next((name for name in ("chronyd", "ntpd", "systemd-timesyncd") if _runs(look, name)), None)
    if synced or keeper:
        return Finding("clock", OK, f"kept by {keeper or 'systemd-timesyncd'}")
    return Finding("clock", WARNING, "nothing seen that keeps it right", "apt-get install systemd-timesyncd, or chrony")


def _runs(look: Look, name: str) -> bool:
    for entry in os.scandir(look.root / "proc"):
        if entry.name.isdigit() and look.text(f"/proc/{entry.name}/comm") == name[:15]:
            return True
    return False
