"""What runs here: the supervisor and the bundles, as their files under <state_path>/run tell."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nova0 import atomic_file

BUNDLES = ("controller", "host")
STOP_WITHIN_S = 20.0


def facts(state_path: Path, name: str) -> dict[str, Any] | None:
    """What a ready bundle says of itself: pid, ready_at, api_url, notes. None when it isn't ready; what one
    that was killed left behind does not count."""
    try:
        found: dict[str, Any] = json.loads((state_path / "run" / f"{name}.json").read_text())
    except (OSError, ValueError):
        return None
    return found if found.get("pid") and found["pid"] == holder(state_path, name) else None


def holder(state_path: Path, name: str) -> int | None:
    """pid of who wrote the lock run/<name>.lock ("up" is the supervisor) and lives; None when nobody does.

    The lock itself is not tried: that would refuse it to a process that starts at this very moment."""
    try:
        pid = int((state_path / "run" / f"{name}.lock").read_text())
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        alive = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except (OSError, ValueError, IndexError):
        return None
    ours = b"supervise" in b" ".join(words) if name == "up" else name.encode() in words and b"run" in words
    return pid if alive and ours else None


@contextmanager
def only_one(state_path: Path, name: str) -> Iterator[bool]:
    """Hold run/<name>.held, and be named in run/<name>.lock, which others may read; False when somebody else does."""
    run = state_path / "run"
    with atomic_file.locked(run / f"{name}.held") as held:
        if held:
            atomic_file.write(run / f"{name}.lock", str(os.getpid()), 0o644, sync=False)
        yield held


def stop(state_path: Path) -> list[str]:
    """End the supervisor, then bundles left without one; SIGKILL as the last resort. Names of what was stopped."""
    stopped = []
    for name, wait_s in (("up", STOP_WITHIN_S + 5), ("controller", STOP_WITHIN_S), ("host", STOP_WITHIN_S)):
        pid = holder(state_path, name)
        if pid is None:
            continue
        _end(state_path, name, pid, wait_s)
        stopped.append(name)
    return stopped


def _end(state_path: Path, name: str, pid: int, wait_s: float) -> None:
    for number, patience_s in ((signal.SIGTERM, wait_s), (signal.SIGKILL, 5.0)):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            if holder(state_path, name) is None:
                return
            time.sleep(0.05)  # the lock of a process that is no child of ours
