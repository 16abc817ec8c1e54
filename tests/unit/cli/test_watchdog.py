"""A child whose loop is blocked is ended, its stack in its log, and started again; one that was only not run is not."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

from nova0.cli import watchdog

CHILD = """
import os, pathlib
from gevent import monkey
monkey.patch_all()
import gevent, re
from nova0.agents import watchdog
from nova0.config import CONF
CONF(args=[])
CONF.set_override("watchdog_s", float(os.environ["LIMIT"]))
watchdog.begin()
state = pathlib.Path(os.environ["NOVA0_STATE_PATH"])
first = not (state / "starts").exists()
with open(state / "starts", "a") as log: log.write(f"{os.getpid()}\\n")

def busy():
    while True:
        pass

def pattern():
    re.search("(a|a|a|a)*b", "a" * 40)  # in C, with the interpreter to itself

def waiting():
    monkey.get_original("time", "sleep")(600)

gevent.sleep(0.1)
if first:
    globals().get(os.environ["HOW"], lambda: None)()
while True:
    gevent.sleep(0.2)
    (state / "turns").write_text(str(os.getpid()))
"""
SUPERVISOR = """
import subprocess, sys, pathlib, os
from nova0.cli import supervise
real = subprocess.Popen
subprocess.Popen = lambda words, **more: real([sys.executable, "-c", os.environ["CHILD"]], **more)
sys.exit(supervise.run(["thing"], pathlib.Path(os.environ["NOVA0_STATE_PATH"]), tied=False))
"""


class Supervised:
    def __init__(self, state_path, how, limit_s):
        self.state_path = state_path
        for folder in ("run", "log"):
            (state_path / folder).mkdir()
        more = {"NOVA0_STATE_PATH": str(state_path), "CHILD": CHILD, "HOW": how, "LIMIT": str(limit_s)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", SUPERVISOR], env=os.environ | more, stderr=subprocess.PIPE, text=True
        )

    def pids(self):
        path = self.state_path / "starts"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def turned(self, pid):
        path = self.state_path / "turns"
        return path.exists() and path.read_text() == str(pid)

    def log(self):
        return (self.state_path / "log/thing.log").read_text()

    def end(self):
        """Its words until its end."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.communicate()[1]


@pytest.fixture
def supervised(tmp_path):
    made = []

    def start(how, limit_s=2):
        made.append(Supervised(tmp_path, how, limit_s))
        return made[0]

    yield start
    for one in made:
        for pid in one.pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if one.process.returncode is None:
            one.process.kill()
            one.process.communicate()


def wait_for(condition, timeout_s=60.0):
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError("waited in vain")


@pytest.mark.slow
@pytest.mark.parametrize("how", ["busy", "pattern", "waiting"])
def test_a_blocked_loop_is_ended_with_its_stack_in_the_log_and_started_again(supervised, how):
    """In Python, in C code that keeps the interpreter, in a system call that takes no processor."""
    one = supervised(how)
    again = wait_for(lambda: one.pids()[1:])[0]
    wait_for(lambda: one.turned(again))
    log = one.log()
    assert re.search(r"nova0 thing: its loop has been blocked for \d+ s of its own running time", log)
    assert f"in {how}" in log.partition("Its threads:")[2]
    said = one.end()
    assert f"the stacks of its threads are in {one.state_path}/log/thing.log" in said
    assert "its loop was blocked); starting it again in 0.5 s" in said


@pytest.mark.slow
def test_a_child_that_is_stopped_for_longer_is_not_ended(supervised):
    one = supervised("")
    [pid] = wait_for(one.pids)
    wait_for(lambda: one.turned(pid))
    os.kill(pid, signal.SIGSTOP)
    time.sleep(5)  # more than twice the limit: what is waited for must not happen
    (one.state_path / "turns").unlink()
    os.kill(pid, signal.SIGCONT)
    wait_for(lambda: one.turned(pid))
    time.sleep(2.5)
    assert one.pids() == [pid] and "blocked" not in one.log() + one.end()


@pytest.mark.slow
def test_a_supervisor_that_was_stopped_itself_blames_nobody(supervised):
    one = supervised("")
    [pid] = wait_for(one.pids)
    wait_for(lambda: one.turned(pid))
    for number in (signal.SIGSTOP, signal.SIGCONT):
        for target in (one.process.pid, pid):  # as a machine that sleeps: all of them, and all go on
            os.kill(target, number)
        time.sleep(4)
    assert one.pids() == [pid] and "blocked" not in one.log() + one.end()


class Threads:
    """What the kernel would tell of a child's threads."""

    def __init__(self, monkeypatch):
        self.now, self.told = 0.0, {"1": (1, 0)}
        monkeypatch.setattr(watchdog, "_schedule", lambda pid: dict(self.told))
        self.sent = []
        monkeypatch.setattr(watchdog.os, "kill", lambda pid, number: self.sent.append(number))

    def later(self, watch, seconds, *, run=True, waited_s=0.0):
        """Looks once a second while each second the child is run, and waits so long for a processor."""
        said = ""
        for _ in range(seconds):
            self.now += 1
            times, waited = self.told["1"]
            self.told = {"1": (times + run, waited + int(waited_s * 1e9))}
            said = said or watch.look(self.now)
        return said


@pytest.fixture
def pipe():
    reader, writer = os.pipe()
    yield reader, writer
    os.close(writer)


@pytest.fixture
def watched(pipe, monkeypatch):
    threads = Threads(monkeypatch)
    watch = watchdog.Watch(1, pipe[0])
    yield watch, threads, lambda: os.write(pipe[1], b"30\n")
    watch.close()


def test_only_what_the_child_itself_was_run_is_counted(watched):
    watch, threads, beat = watched
    beat()
    assert not threads.later(watch, 1)
    assert not threads.later(watch, 300, run=False), "stopped, frozen, or its machine slept"
    assert not threads.later(watch, 300, waited_s=1.0), "no processor was free for it"
    assert not threads.later(watch, 50, waited_s=0.5), "25 s of 50"
    assert threads.later(watch, 15, waited_s=0.5) == "its loop has been blocked for 30 s of its own running time"


def test_a_beat_begins_the_count_anew_and_before_the_first_nothing_counts(watched):
    watch, threads, beat = watched
    assert not threads.later(watch, 100), "it is starting"
    for _ in range(3):
        beat()
        assert not threads.later(watch, 29)
    assert threads.later(watch, 5) and not threads.later(watch, 3)
    assert threads.sent == [signal.SIGUSR1, signal.SIGTERM]
    threads.later(watch, 6)
    assert threads.sent == [signal.SIGUSR1, signal.SIGTERM, signal.SIGKILL]


def test_a_look_that_comes_late_counts_no_more_than_two(watched):
    watch, threads, beat = watched
    beat()
    threads.later(watch, 1)
    threads.now += 3600
    assert not threads.later(watch, 1) and watch.blocked_s <= watchdog.LONGEST_LOOK_S


def test_the_kernel_here_tells_what_is_counted():
    """Of this very process: it was run, and its threads are there."""
    before = watchdog._schedule(os.getpid())
    end = time.monotonic() + 0.05
    while time.monotonic() < end:
        pass
    time.sleep(0.01)
    after = watchdog._schedule(os.getpid())
    own = str(threading.get_native_id())
    assert after[own][0] > before[own][0]
