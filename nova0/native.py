"""The one door to real threads: whatever would hold the loop (libvirt, commits, hashing) goes here.

Works the same with gevent's patches on or off; what is handed in runs on a real OS thread and must
not touch gevent, zmq sockets or anything that belongs to the loop.
"""

from __future__ import annotations

import atexit
import os
import time
from _thread import get_native_id
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

import gevent
from gevent import monkey
from gevent.event import AsyncResult
from gevent.threadpool import ThreadPool

T = TypeVar("T")

_start_new_thread = monkey.get_original("_thread", "start_new_thread")
_allocate_lock = monkey.get_original("_thread", "allocate_lock")

_pool: ThreadPool | None = None
TURN_S = 0.010  # of processor time at a stretch; none may have more than 50 ms
POOL_SIZE = 8  # libvirt, qemu-img and hashing at once on a small host


def offload(function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Run a blocking function on a pool of real threads; only the calling greenlet waits."""
    global _pool
    if _pool is None or _pool.hub is not gevent.get_hub():
        _pool = ThreadPool(POOL_SIZE)
    # The pool itself would print every error on its way to the caller as a fault of its own.
    value, error = _pool.apply(_outcome, (function, args, kwargs))
    if error is not None:
        raise error
    return value  # type: ignore[return-value]


def _outcome(function: Callable[..., T], args: Any, kwargs: Any) -> tuple[T | None, BaseException | None]:
    try:
        return function(*args, **kwargs), None
    except Exception as error:  # noqa: BLE001 - raised again where it is waited for
        return None, error


class Aside:
    """Real threads of their own that get what processor time others leave: for long computing that can wait.
    `offload` as above; `threads` at once."""

    NICER_BY = 5

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._pool: ThreadPool | None = None

    def offload(self, function: Callable[..., T], *args: Any) -> T:
        if self._pool is None or self._pool.hub is not gevent.get_hub():
            self._pool = ThreadPool(self._threads)
        value, error = self._pool.apply(_outcome, (_nicer, (function, args), {}))
        if error is not None:
            raise error
        return value  # type: ignore[no-any-return]


def _nicer(function: Callable[..., T], args: Any) -> T:
    # Linux has it for each thread; a thread of the pool is a new one now and then.
    os.setpriority(os.PRIO_PROCESS, get_native_id(), Aside.NICER_BY)
    return function(*args)


def let_others() -> None:
    """Let the loop turn when the calling greenlet has had its turn of TURN_S: for work on the loop that is long only
    because there is much of it. Cheap: called every few items."""
    me = gevent.getcurrent().__dict__
    now = time.thread_time()
    if now - me.setdefault("turn_began", now) > TURN_S:
        gevent.sleep(0)
        me["turn_began"] = time.thread_time()


class Mailbox:
    """A queue from any OS thread into the loop: `post` anywhere, `heard` runs in the loop (not blocking)."""

    def __init__(self, heard: Callable[..., None]) -> None:
        self._heard = heard
        self._waiting: deque[tuple[Any, ...]] = deque()
        self._wake = gevent.get_hub().loop.async_()
        self._wake.start(self._drain)

    def post(self, *message: Any) -> None:
        self._waiting.append(message)
        self._wake.send()

    def _drain(self) -> None:
        while self._waiting:
            self._heard(*self._waiting.popleft())

    def close(self) -> None:
        self._wake.stop()
        self._wake.close()


def apart(function: Callable[[], T]) -> T:
    """Run a function on an OS thread of its own, which ends after it: for what changes the thread itself, as entering
    a network namespace does. Only the calling greenlet waits."""
    result: AsyncResult = AsyncResult()
    box = Mailbox(result.set)
    _start_new_thread(lambda: box.post(_outcome(function, (), {})), ())
    try:
        value, error = result.get()
    finally:
        box.close()
    if error is not None:
        raise error
    return value  # type: ignore[return-value]


class Worker:
    """One OS thread that takes everything waiting at once: `run_batch(jobs)` sees a list of callables
    wrapped so that each must be called exactly once; results wake the greenlets that wait.

    Used where order matters and a batch is cheaper than its parts (database commits, journal fsyncs).
    """

    def __init__(self, name: str, run_batch: Callable[[list[Job]], None], most: int = 256) -> None:
        self.name, self._run_batch, self._most = name, run_batch, most
        self._jobs: deque[Job] = deque()
        self._mutex = _allocate_lock()
        self._bell = _allocate_lock()
        self._bell.acquire()
        self._rung = False
        self._stopping = False
        self._stopped = _allocate_lock()
        self._stopped.acquire()
        self._done = Mailbox(_deliver)
        _start_new_thread(self._loop, ())
        atexit.register(self.stop)

    def submit(self, function: Callable[[], T], **tags: Any) -> T:
        """Queue and wait: returns what `function` returned on the thread, or raises what it raised."""
        job = Job(function, tags, AsyncResult())
        with self._mutex:
            if self._stopping:
                raise RuntimeError(f"{self.name}: stopped")
            self._jobs.append(job)
            if not self._rung:
                self._rung = True
                self._bell.release()
        return job.result.get()

    def stop(self) -> None:
        """Finish what is queued, then end the thread. Further submits raise RuntimeError."""
        with self._mutex:
            if self._stopping:
                return
            self._stopping = True
            if not self._rung:
                self._rung = True
                self._bell.release()
        self._stopped.acquire()
        self._done._drain()

    def _loop(self) -> None:
        while True:
            self._bell.acquire()
            with self._mutex:
                self._rung = False
            while True:
                with self._mutex:
                    batch = [self._jobs.popleft() for _ in range(min(len(self._jobs), self._most))]
                    ending = self._stopping and not self._jobs
                if batch:
                    try:
                        self._run_batch(batch)
                    except Exception as error:  # noqa: BLE001 - who waits is told, and the thread lives on
                        for job in batch:
                            job.error = job.error or error
                    for job in batch:
                        self._done.post(job)
                elif ending:
                    self._stopped.release()
                    return
                else:
                    break


class Job:
    """A callable waiting for a Worker; `run()` records what happened."""

    __slots__ = ("error", "function", "result", "tags", "value")

    def __init__(self, function: Callable[[], Any], tags: dict[str, Any], result: AsyncResult) -> None:
        self.function, self.tags, self.result = function, tags, result
        self.value: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.value = self.function()
        except Exception as error:  # noqa: BLE001 - carried to the waiting greenlet
            self.error = error


def _deliver(job: Job) -> None:
    if job.error is not None:
        job.result.set_exception(job.error)
    else:
        job.result.set(job.value)


def thread(function: Callable[[], None]) -> None:
    """Start a real OS thread that runs for the life of the process (event loops of C libraries)."""
    _start_new_thread(function, ())


def is_patched() -> bool:
    """True where gevent's patches are on, i.e. in an agent or controller process."""
    return bool(monkey.is_module_patched("socket"))


__all__ = ["Aside", "Job", "Mailbox", "Worker", "is_patched", "let_others", "offload", "thread"]
