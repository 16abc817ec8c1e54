"""Tells the supervisor that this process's loop turns, and shows every thread's stack when it asks.

The supervisor (`nova0/cli/watchdog.py`) ends a process whose loop has been blocked for too long. It gives the
process a pipe; the loop writes its limit into it every second, and a line missed is a loop that did not turn.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
from typing import Any

import gevent
from gevent import monkey
from oslo_config import cfg

from nova0.config import CONF, declare
from nova0.native import thread

PIPE = "NOVA0_WATCHDOG_FD"  # the environment's name of the pipe; not there: nobody watches
BEAT_S = 1.0
AWAKE_S = 0.5  # a thread does nothing so often: by it the supervisor sees that the process itself is being run
_sleep = monkey.get_original("time", "sleep")

declare(
    [
        cfg.FloatOpt(
            "watchdog_s",
            default=30.0,
            min=0,
            help="Seconds of its own running time (not while stopped, suspended or without a processor) that the loop "
            "of the controller's or host's process may be blocked; then the supervisor writes the stack of each of "
            "its threads into its log, ends it and starts it again. 0: never.",
        )
    ]
)


def begin() -> None:
    """From now on the loop's beats go to the supervisor. SIGUSR1 writes all stacks to standard error, the log,
    even while C code keeps the interpreter to itself; so does a crash."""
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    given = os.environ.pop(PIPE, "")
    if not given:
        return
    pipe = int(given)
    os.set_inheritable(pipe, False)  # what this process starts is not watched
    os.set_blocking(pipe, False)
    if not CONF.watchdog_s:
        os.close(pipe)
        return
    thread(_stay_awake)
    line = f"{CONF.watchdog_s:g}\n".encode()
    timer: Any = gevent.get_hub().loop.timer(0, repeat=BEAT_S)
    timer.start(_beat, timer, pipe, line)


def _beat(timer: Any, pipe: int, line: bytes) -> None:
    try:
        os.write(pipe, line)
    except BlockingIOError:
        return  # the supervisor is stopped: it has enough to read when it goes on
    except OSError:  # it is gone
        timer.stop()
        with contextlib.suppress(OSError):
            os.close(pipe)


def _stay_awake() -> None:
    while True:
        _sleep(AWAKE_S)
