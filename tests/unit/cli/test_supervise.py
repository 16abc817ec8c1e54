"""The supervisor: children come back with back-off, its end ends them, only one runs in a state directory."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time

import pytest

from nova0.cli import processes, supervise

CHILD = """
import os, pathlib, sys, time
state = pathlib.Path(os.environ["NOVA0_STATE_PATH"])
with open(state / "starts", "a") as log: log.write(f"{os.getpid()}\\n")
print("nova0 thing: up", flush=True)
time.sleep(600)
"""
SUPERVISOR = """
import subprocess, sys, pathlib, os
from nova0.cli import supervise
real = subprocess.Popen
subprocess.Popen = lambda words, **more: real([sys.executable, "-c", os.environ["CHILD"]], **more)
sys.exit(supervise.run(["thing"], pathlib.Path(os.environ["NOVA0_STATE_PATH"]), tied=sys.argv[1] == "tied"))
"""


def wait_for(condition, timeout_s=60.0):
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError("waited in vain")


@pytest.fixture
def supervisor(tmp_path):
    for folder in ("run", "log"):
        (tmp_path / folder).mkdir()
    started = []

    def start(how="daemon", child=CHILD):
        environment = {**os.environ, "NOVA0_STATE_PATH": str(tmp_path), "CHILD": child}
        process = subprocess.Popen(
            [sys.executable, "-c", SUPERVISOR, how],
            env=environment, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
    for pid in pids(tmp_path):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def pids(state_path):
    path = state_path / "starts"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def alive(pid):
    try:
        return open(f"/proc/{pid}/stat").read().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


@pytest.mark.covers("S043")
def test_a_killed_child_is_started_again_and_it_is_said(supervisor, tmp_path):
    process = supervisor()
    first = wait_for(lambda: pids(tmp_path))[0]
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: len(pids(tmp_path)) == 2)
    process.send_signal(signal.SIGTERM)
    said = process.communicate()[1]
    assert "thing ended (killed by signal 9" in said and "starting it again in 0.5 s" in said


@pytest.mark.covers("S018")
def test_its_end_ends_the_children(supervisor, tmp_path):
    process = supervisor()
    child = wait_for(lambda: pids(tmp_path))[0]
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    assert not alive(child)


def test_a_childs_log_is_for_owner_and_group_and_the_child_is_told_to_turn_it_over(supervisor, tmp_path):
    log = tmp_path / "log" / "thing.log"
    log.write_text("of an earlier version\n")
    log.chmod(0o644)
    supervisor(child=CHILD.replace('"nova0 thing: up"', 'os.environ["NOVA0_LOG_FILE"]'))
    wait_for(lambda: str(log) in log.read_text())
    assert log.stat().st_mode & 0o777 == 0o640
    assert log.parent.stat().st_mode & 0o777 == 0o750


def test_the_supervisors_own_log_is_turned_over_while_it_runs(tmp_path):
    (tmp_path / "log").mkdir()
    log = tmp_path / "log" / "up.log"
    log.write_bytes(b"x" * supervise.log.MOST_BYTES)
    program = "from nova0.cli import supervise; supervise._say('said \x1b[31m'); supervise._say('again')"
    environment = {**os.environ, "NOVA0_STATE_PATH": str(tmp_path)}
    with open(log, "ab") as out:
        subprocess.run([sys.executable, "-c", program], env=environment, stdout=out, stderr=out, check=True)
    assert log.read_text() == "nova0: said \\x1b[31m\nnova0: again\n"
    assert (tmp_path / "log" / "up.log.1").stat().st_size == supervise.log.MOST_BYTES


def test_tied_it_ends_when_its_owner_is_gone(supervisor, tmp_path):
    process = supervisor("tied")
    child = wait_for(lambda: pids(tmp_path))[0]
    process.stdin.close()
    assert process.wait(10) == 0
    assert not alive(child)


def test_pauses_grow_up_to_a_bound(tmp_path):
    child = supervise.Child("thing", tmp_path / "thing.log", lambda line: None)
    pauses = []
    for _ in range(8):
        child.process = subprocess.Popen(["false"])
        child.process.wait()
        before = time.monotonic()
        child._started = before
        child.look()
        pauses.append(round(child.start_at - before, 1))
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30]


def test_only_one_supervisor_runs(supervisor, tmp_path):
    supervisor()
    wait_for(lambda: pids(tmp_path))
    second = supervisor()
    assert second.wait(10) == 1 and "already" in second.stderr.read()
    assert len(pids(tmp_path)) == 1


def test_who_locks_what_all_may_read_keeps_nothing_from_starting(supervisor, tmp_path):
    """threat: another user of the machine opens a lock for reading and waits for a restart."""
    supervisor()
    wait_for(lambda: pids(tmp_path))
    processes.stop(tmp_path)
    files = [path for path in (tmp_path / "run").iterdir() if path.is_file() and path.stat().st_mode & 0o044]
    assert files
    with contextlib.ExitStack() as held:
        for path in files:
            fcntl.flock(held.enter_context(path.open()), fcntl.LOCK_EX)
        again = supervisor()
        wait_for(lambda: processes.holder(tmp_path, "up") == again.pid)
        wait_for(lambda: len(pids(tmp_path)) == 2)


def test_stop_ends_what_the_lock_names(supervisor, tmp_path):
    process = supervisor()
    child = wait_for(lambda: pids(tmp_path))[0]
    assert processes.holder(tmp_path, "up") == process.pid
    assert processes.stop(tmp_path) == ["up"]
    assert process.wait(30) == 0 and not alive(child)
    assert processes.holder(tmp_path, "up") is None
