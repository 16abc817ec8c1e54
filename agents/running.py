"""The two processes of a machine: `controller` (store, conductor, API) and `host` (what this machine runs).

Each is started by `nova0 up` through `nova0 agent run`, says that it is ready in
<state_path>/run/<name>.json, and ends cleanly on SIGTERM. Killing one leaves the other at work.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent
import msgspec
from gevent.event import Event
from nova0.agents import watchdog
from nova0.agents.bundles import state_dir

from nova0 import atomic_file, log
from nova0.config import CONF

logger = logging.getLogger(__name__)


def run(name: str) -> int:
    """Run a bundle in the foreground until SIGTERM or SIGINT. 0 on a clean end, 1 when it could not start."""
    from nova0.agents.controller_bundle import ControllerBundle
    from nova0.agents.host_bundle import HostBundle

    from nova0.controller.db.store import StoreUnavailable

    bundles: dict[str, Callable[[], Any]] = {"controller": ControllerBundle, "host": HostBundle}
    if name not in bundles:
        print(f"nova0: there is no bundle {name!r}: controller or host", file=sys.stderr)
        return 2
    log.setup(
        CONF.log_level, CONF.log_file, most_bytes=CONF.max_logfile_size_mb * 1024 * 1024, kept=CONF.max_logfile_count
    )
    watchdog.begin()
    end = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, end.set)
    try:
        with only_one(name):
            bundle = bundles[name]()
            bundle.start()
            _spare_the_collector()
            with announced(name, bundle.facts()):
                end.wait()
            bundle.stop()
    except Exception as error:
        logger.debug("start failed", exc_info=True)
        told = str(error) if isinstance(error, StoreUnavailable) else getattr(error, "message", None) or error
        print(f"nova0 {name}: {log.plain(str(told))}", file=sys.stderr, flush=True)
        return 1
    return 0


def _spare_the_collector() -> None:
    """What was made at the start (modules, schemas) stays: the garbage collector need not look through it again and
    again, for 50 ms and more each time, while neither the loop nor any other thread goes on."""
    gc.collect()
    gc.freeze()


@contextmanager
def only_one(name: str) -> Iterator[None]:
    """Hold this machine's lock for a bundle. Raises RuntimeError naming who holds it."""
    folder = state_dir() / "run"
    folder.mkdir(parents=True, exist_ok=True, mode=0o755)
    named = folder / f"{name}.lock"
    with atomic_file.locked(folder / f"{name}.held") as held:
        if not held:
            pid = named.read_text().strip() if named.exists() else "?"
            raise RuntimeError(f"a {name} already runs here (pid {pid}): `nova0 down` stops it")
        atomic_file.write(named, str(os.getpid()), 0o644, sync=False)
        yield


@contextmanager
def announced(name: str, facts: dict[str, Any]) -> Iterator[None]:
    """While it holds, <state>/run/<name>.json says that the bundle is ready."""
    path = state_dir() / "run" / f"{name}.json"
    facts = {"pid": os.getpid(), "ready_at": time.time(), **facts}
    atomic_file.write(path, msgspec.json.encode(facts), 0o644, sync=False)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
