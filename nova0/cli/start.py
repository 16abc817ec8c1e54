"""Starting this machine's processes and waiting until they are ready; shared by `up` and `join`."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nova0 import log
from nova0.cli import processes
from nova0.cli.failure import Failure
from nova0.cli.role import Role

READY_WITHIN_S = 90.0  # a cold libvirt looks at the machine for 8 s; slow boxes take several times that
LOOK_EVERY_S = 0.02


@dataclass
class Running:
    """A supervisor we started. `facts` by bundle name, as they stood when ready."""

    supervisor: subprocess.Popen[bytes]
    facts: dict[str, dict[str, Any]]

    def follow(self) -> int:
        """Wait for its end; Ctrl-C or SIGTERM here ends it. Guests run on."""
        try:
            return self.supervisor.wait()
        except KeyboardInterrupt:
            self.end()
            raise

    def end(self) -> None:
        self.supervisor.terminate()
        self.supervisor.wait()


def start(role: Role, state_path: Path, *, daemon: bool) -> subprocess.Popen[bytes]:
    """Start the supervisor: detached with its words in log/up.log, or tied to this process."""
    command = [sys.executable, "-m", "nova0.cli.supervise", "daemon" if daemon else "tied", *role.runs]
    environment = role.for_children(state_path)
    if daemon:
        path = state_path / "log/up.log"
        log.make_folder(path.parent)
        log.turn_over(path)
        with open(path, "ab", opener=log.opener) as out:
            return subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                cwd="/",
            )
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, start_new_session=True)


def wait_ready(
    role: Role,
    state_path: Path,
    supervisor: subprocess.Popen[bytes],
    seen: Callable[[str, dict[str, Any]], None] = lambda name, facts: None,
) -> Running:
    """Until every bundle says it is ready; `seen(name, facts)` as each does. A bundle that ends before is
    a Failure with what it said."""
    deadline = time.monotonic() + READY_WITHIN_S
    marks = {name: _size(state_path, name) for name in role.runs}
    ready: dict[str, dict[str, Any]] = {}
    running = Running(supervisor, ready)
    while len(ready) < len(role.runs):
        for name in role.runs:
            if name not in ready:
                facts = processes.facts(state_path, name)
                if facts is not None:
                    ready[name] = facts
                    seen(name, facts)
        if len(ready) == len(role.runs):
            break
        refused = next(
            (said for name in role.runs if name not in ready and (said := _refusal(state_path, name, marks))), ""
        )
        if supervisor.poll() is not None:
            raise Failure(refused or f"the supervisor ended at once: see {state_path}/log/up.log")
        if refused:
            running.end()
            raise Failure(refused)
        if time.monotonic() > deadline:
            running.end()
            waiting = ", ".join(name for name in role.runs if name not in ready)
            raise Failure(f"{waiting}: not ready within {READY_WITHIN_S:g} s: see {state_path}/log/")
        time.sleep(LOOK_EVERY_S)  # ready files of daemons
    return running


def _size(state_path: Path, name: str) -> int:
    path = state_path / "log" / f"{name}.log"
    return path.stat().st_size if path.exists() else 0


def _refusal(state_path: Path, name: str, marks: dict[str, int]) -> str:
    """What a bundle that could not start said: its last line "nova0 NAME: ..."."""
    path = state_path / "log" / f"{name}.log"
    if not path.exists() or path.stat().st_size <= marks[name]:
        return ""
    with open(path, "rb") as said:
        said.seek(marks[name])
        lines = said.read().decode(errors="replace").splitlines()
    for line in reversed(lines):
        if line.startswith(f"nova0 {name}: ") or line.startswith("nova0: "):
            return line.removeprefix("nova0: ").removeprefix(f"nova0 {name}: ")
        if "Error: " in line and not line.startswith(" ") and "Traceback (most recent call last):" in "\n".join(lines):
            return f"{name} could not start: {line} (see {path})"
    return ""
