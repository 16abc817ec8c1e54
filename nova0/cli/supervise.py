"""Keeps this machine's bundles running: each a child process, started again with back-off when it dies, and ended
when its loop does not turn any more.

Runs as a process of its own (`python -m nova0.cli.supervise BUNDLE...`), detached or tied to the
`nova0 up` that reads along: then it ends when its standard input closes.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from nova0 import log
from nova0.cli import processes, watchdog

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
STEADY_AFTER_S = 60.0  # having run this long, its next death counts as the first
CHILD_ENDS_WITHIN_S = 15.0


class Child:
    """One bundle: its process, and when to start it again."""

    def __init__(self, name: str, log_file: Path, say: Callable[[str], None]) -> None:
        self.name, self.log, self._say = name, log_file, say
        self.process: subprocess.Popen[bytes] | None = None
        self.start_at: float | None = time.monotonic()
        self._started = 0.0
        self._pause_s = FIRST_PAUSE_S
        self.watch: watchdog.Watch | None = None

    def start(self) -> None:
        log.make_folder(self.log.parent)
        beats, given = os.pipe()
        with open(self.log, "ab", opener=log.opener) as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "nova0.cli.main", "agent", "run", self.name],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                pass_fds=[given],
                env={  # it turns its log over itself
                    **os.environ,
                    "NOVA0_LOG_FILE": str(self.log),
                    "NOVA0_WATCHDOG_FD": str(given),
                },
            )
        os.close(given)
        self.watch = watchdog.Watch(self.process.pid, beats)
        self._started, self.start_at = time.monotonic(), None

    def look(self) -> None:
        """Note a death and plan the next start; end a child whose loop is blocked."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self._look_at_loop()
            return
        code = self.process.returncode
        self.process = None
        if time.monotonic() - self._started > STEADY_AFTER_S:
            self._pause_s = FIRST_PAUSE_S
        how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        why = last_line(self.log)
        if self.watch is not None:
            why = "its loop was blocked" if self.watch.given_up else why
            self.watch.close()
            self.watch = None
        self._say(f"{self.name} ended ({how}{f': {why}' if why else ''}); starting it again in {self._pause_s:g} s")
        self.start_at = time.monotonic() + self._pause_s
        self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)

    def _look_at_loop(self) -> None:
        why = self.watch.look(time.monotonic()) if self.watch is not None else ""
        if why:
            self._say(f"{self.name}: {why}: ending it; the stacks of its threads are in {self.log}")
            with contextlib.suppress(OSError), open(self.log, "ab") as out:
                out.write(f"nova0 {self.name}: {why}: the supervisor ends it. Its threads:\n".encode())

    def end(self) -> None:
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(CHILD_ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._say(f"{self.name} did not end within {CHILD_ENDS_WITHIN_S:g} s: killed; guests run on")
            self.process.kill()
            self.process.wait()


def last_line(log_file: Path) -> str:
    """The last thing a bundle wrote, for people."""
    with contextlib.suppress(OSError):
        lines = log_file.read_bytes()[-2000:].decode(errors="replace").strip().splitlines()
        return log.plain(lines[-1].strip()[:300]) if lines else ""
    return ""


def run(names: list[str], state_path: Path, tied: bool) -> int:
    """Supervise until SIGTERM, SIGINT or (tied) end of standard input. 0; 1 when another one runs."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    os.set_blocking(reader, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    ending: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda signum, frame: ending.append(signum))
    signal.signal(signal.SIGCHLD, lambda signum, frame: None)  # only to wake the loop
    selector = selectors.DefaultSelector()
    selector.register(reader, selectors.EVENT_READ)
    if tied:
        selector.register(sys.stdin.fileno(), selectors.EVENT_READ)
    with processes.only_one(state_path, "up") as mine:
        if not mine:
            _say("nova0 is up here already")
            return 1
        children = [Child(name, state_path / "log" / f"{name}.log", _say) for name in names]
        try:
            while not ending:
                for child in children:
                    child.look()
                    if child.start_at is not None and time.monotonic() >= child.start_at:
                        child.start()
                due = [child.start_at for child in children if child.start_at is not None]
                due += [time.monotonic() + watchdog.LOOK_S for child in children if child.watch is not None]
                events = selector.select(max(0.0, min(due) - time.monotonic()) if due else None)
                for key, _ in events:
                    if key.fd == reader:
                        _drain(reader)
                    elif not os.read(key.fd, 4096):
                        ending.append(0)
        finally:
            for child in reversed(children):  # hosts first: they say goodbye while the controller hears it
                child.end()
    return 0


def _drain(reader: int) -> None:
    with contextlib.suppress(BlockingIOError):
        while os.read(reader, 512):
            pass


def _say(line: str) -> None:
    with contextlib.suppress(OSError):
        own = Path(os.environ.get("NOVA0_STATE_PATH", "")) / "log/up.log"
        if os.path.exists(own) and os.path.samestat(os.stat(own), os.fstat(2)) and log.turn_over(own):
            with open(own, "ab", opener=log.opener) as out:
                os.dup2(out.fileno(), 1)
                os.dup2(out.fileno(), 2)
        print(f"nova0: {log.plain(line)}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(run(sys.argv[2:], Path(os.environ["NOVA0_STATE_PATH"]), tied=sys.argv[1] == "tied"))
