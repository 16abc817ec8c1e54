"""The systemd unit that brings this machine's role up at boot."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from nova0 import atomic_file
from nova0.cli.failure import Failure

PATH = Path("/etc/systemd/system/nova0.service")


def text(program: str = "/usr/local/bin/nova0") -> str:
    """The unit. Guests, their DHCP servers and our own libvirtd outlive it: KillMode=process."""
    return f"""\
# Brings up what this machine is in its nova0 cluster. Written by `nova0 enable`.
[Unit]
Description=nova0 compute cloud
Wants=network-online.target
After=network-online.target libvirtd.service

[Service]
ExecStart={program} up
KillMode=process
Restart=on-failure
RestartSec=2
LimitNOFILE=65536

[Install]
WantedBy=multi-user.target
"""


def runs_systemd() -> bool:
    """True where systemd is the init that runs, not merely installed."""
    return Path("/run/systemd/system").is_dir() and shutil.which("systemctl") is not None


def is_ours() -> bool:
    """Whether the unit is there as `nova0 enable` writes it; one that somebody wrote or changed is theirs."""
    try:
        there = PATH.read_text()
    except OSError:
        return False
    started = [line.removeprefix("ExecStart=") for line in there.splitlines() if line.startswith("ExecStart=")]
    return len(started) == 1 and started[0].endswith(" up") and there == text(started[0].removesuffix(" up"))


def enable(program: str) -> None:
    """Write the unit and enable it; one that is not as we write it is left as it is. Raises Failure with what
    systemctl said."""
    if PATH.exists() and not is_ours():
        raise Failure(f"{PATH} was written or changed by somebody: it stays; enable it as it is, or move it away first")
    try:
        atomic_file.write(PATH, text(program), 0o644)
    except OSError as error:
        raise Failure(f"{PATH}: {error.strerror}: run it with sudo") from error
    _systemctl("daemon-reload")
    _systemctl("enable", PATH.name)


def disable() -> str:
    """Take the unit away if it is ours. A line about what was done, "" where there is none."""
    if not PATH.exists():
        return ""
    if not is_ours():
        return f"kept: {PATH}, which somebody wrote or changed: disable it, or it starts nova0 at the next boot"
    if runs_systemd():
        _systemctl("disable", PATH.name)
    PATH.unlink(missing_ok=True)
    return f"removed: {PATH}"


def _systemctl(*words: str) -> None:
    done = subprocess.run(["systemctl", *words], capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise Failure(f"systemctl {' '.join(words)}: {done.stderr.strip() or done.returncode}")
