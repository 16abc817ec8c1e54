"""Files over streams: offered by whoever has them, fetched block by block from several at once.

On a stream of a file the offering side first sends its `Contents` (4 bytes of length, MessagePack), then for
each block number asked for (8 bytes, big-endian) the block.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import shutil
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import gevent
import msgspec
from gevent.event import AsyncResult, Event

from nova0 import atomic_file
from nova0.mesh.bus import Bus
from nova0.mesh.errors import BadArguments, Busy, FileIncomplete, MeshError, NotAllowed, StreamBroken
from nova0.mesh.streams import contents as blocks
from nova0.mesh.streams.contents import Contents
from nova0.mesh.streams.flow import WINDOW
from nova0.mesh.streams.share import Share
from nova0.mesh.streams.stream import Stream
from nova0.mesh.streams.tickets import Ticket
from nova0.mesh.surface import Role
from nova0.native import offload

T = TypeVar("T")
LOG = logging.getLogger(__name__)
PURPOSE = "file"
PATIENCE_S = 60.0  # without a new block from anybody
PAUSE_S = (0.1, 3.0)  # before a peer is asked again: first, and longest
GIVES_WAY_S = 10.0  # a fetch of the same file that nobody waits for any more ends within this
LOOK_S = 0.2  # how often one with nothing to do looks for slow blocks of others
SCAN = 32  # blocks of a leftover checked in one go
REMEMBERED = 64  # files whose hashes are kept in memory
MOST_HEAD_BYTES = blocks.MOST_BLOCKS * blocks.HASH_BYTES + 100

Progress = Callable[[int, int], None]  # bytes that are here and verified, of the whole
Key = tuple[str, int, int, int, int]


class FileOffer(msgspec.Struct, frozen=True, kw_only=True):
    """What `Files.offer` gives, to be handed over in an ordinary call. `digest` stands for all of the file;
    it is not the checksum a program like sha256sum prints."""

    size: int
    digest: bytes
    ticket: Ticket


class Files:
    """`bus` carries the streams. Hashes of files offered or fetched are remembered until they change."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._known: OrderedDict[Key, AsyncResult] = OrderedDict()

    def offer(
        self, path: Path, *, peer: str | None = None, expires_s: float = 60.0, uses: int = 1, purpose: str = PURPOSE
    ) -> FileOffer:
        """Leave for `peer` to fetch the file as it is now. The first time it is hashed (a second for each GB or
        so, in a thread). Raises OSError, Busy."""
        known = self.contents(path)

        def serve(stream: Stream) -> None:
            _serve(stream, path, known)

        ticket = self._bus.offer_stream(purpose, serve, peer=peer, expires_s=expires_s, uses=uses)
        return FileOffer(size=known.size, digest=known.digest, ticket=ticket)

    def fetch(
        self,
        path: Path,
        size: int,
        digest: bytes,
        sources: Mapping[str, Callable[[], Ticket]],
        *,
        on_progress: Progress | None = None,
        check: Callable[[Path], None] | None = None,
        patience_s: float = PATIENCE_S,
        roles: tuple[Role, ...] = (),
    ) -> None:
        """Bring the file to `path`, from all sources at once: name -> what gives a fresh ticket (asked again
        after each cut; what it raises is this source's trouble, not the others'). With `roles` the names are nodes or
        hosts, and nothing is taken by a ticket of another, or of one whose certificate has none of these.

        Blocks lie verified in `path`.part, which any later fetch goes on with. Once whole: `check(part)`, fsync,
        rename. Raises FileIncomplete when nothing new came for `patience_s` or no source is left (each named with
        its trouble), OSError (a full disk: ENOSPC), Busy (another fetch of it goes on), or what `on_progress` and
        `check` raise. The .part stays in every case."""
        if not sources or size < 0:
            raise BadArguments("a file to fetch has a size and somebody to fetch it from")
        part = path.with_name(path.name + ".part")
        descriptor = _open_alone(part)
        try:
            fetch = _Fetch(self._bus, path, part, descriptor, size, digest, sources, on_progress, patience_s, roles)
            fetch.run()
            if check is not None:
                check(part)
            offload(_settle, descriptor, part, path)
            if fetch.contents is not None:
                done: AsyncResult = AsyncResult()
                done.set(fetch.contents)
                self._remember(_key(path, os.fstat(descriptor)), done)
        finally:
            os.close(descriptor)

    def contents(self, path: Path) -> Contents:
        """Size and hashes of a file as it is now; hashed if need be. Raises OSError."""
        descriptor = os.open(path, os.O_RDONLY)
        try:
            status = os.fstat(descriptor)
            key = _key(path, status)
            known = self._known.get(key)
            if known is None:
                known = AsyncResult()
                self._remember(key, known)
                gevent.spawn(self._hash, key, known, os.dup(descriptor), status.st_size)
            self._known.move_to_end(key)
        finally:
            os.close(descriptor)
        return known.get()

    def _hash(self, key: Key, known: AsyncResult, descriptor: int, size: int) -> None:
        """In a greenlet of its own: who gives up waiting takes it from nobody else."""
        try:
            known.set(offload(blocks.read_contents, descriptor, size))
        except Exception as error:  # noqa: BLE001  (raised where it is waited for)
            self._known.pop(key, None)
            known.set_exception(error)
        finally:
            os.close(descriptor)

    def _remember(self, key: Key, known: AsyncResult) -> None:
        self._known[key] = known
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)


def _key(path: Path, status: os.stat_result) -> Key:
    return str(path), status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _serve(stream: Stream, path: Path, known: Contents) -> None:
    """The offering side."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise StreamBroken(f"{stream.here}: {path.name} can't be read any more: {error.strerror}") from error
    try:
        head = msgspec.msgpack.encode(known)
        stream.send(len(head).to_bytes(4, "big") + head)
        buffer = memoryview(bytearray(min(known.block, known.size)))
        number = bytearray()
        while piece := stream.recv():
            number += piece
            while len(number) >= 8:
                index = int.from_bytes(number[:8], "big")
                del number[:8]
                if index >= known.blocks:
                    raise BadArguments(f"{stream.here}: {path.name} has {known.blocks} blocks, asked for {index}")
                body = buffer[: known.length(index)]
                try:
                    offload(blocks.read_block, descriptor, index * known.block, body)
                except OSError as error:
                    raise StreamBroken(f"{stream.here}: {path.name}: {error.strerror}") from error
                stream.send(body)
    finally:
        os.close(descriptor)


class _Liar(Exception):
    """This source sends something else than it should: it is asked for nothing more."""


class _Fetch:
    """One file coming in. Each source has a greenlet; `run` waits for the end in the caller's."""

    def __init__(
        self,
        bus: Bus,
        path: Path,
        part: Path,
        descriptor: int,
        size: int,
        digest: bytes,
        sources: Mapping[str, Callable[[], Ticket]],
        on_progress: Progress | None,
        patience_s: float,
        roles: tuple[Role, ...],
    ) -> None:
        self._roles = roles
        self._bus, self._path, self._part, self._descriptor = bus, path, part, descriptor
        self._size, self._digest, self._sources = size, digest, sources
        self._on_progress, self._patience_s = on_progress, patience_s
        self.contents: Contents | None = None
        self._share: Share | None = None
        self._ready: AsyncResult | None = None  # the leftover was looked through
        self._done_bytes = 0
        self._moved_at = time.monotonic()
        self._changed = Event()
        self._failure: BaseException | None = None
        self._troubles: dict[str, str] = {}
        self._jobs: set[gevent.Greenlet] = set()

    def run(self) -> None:
        if not self._size:
            os.ftruncate(self._descriptor, 0)
            self._tell()
            if self._failure is not None:
                raise self._failure
            return
        workers = {name: gevent.spawn(self._work, name, ask) for name, ask in self._sources.items()}
        try:
            while self._share is None or self._share.left:
                if self._failure is not None:
                    raise self._failure
                idle = time.monotonic() - self._moved_at
                if all(worker.dead for worker in workers.values()) or idle > self._patience_s:
                    raise self._incomplete()
                self._changed.clear()
                self._changed.wait(min(1.0, self._patience_s))
            if self._failure is not None:
                raise self._failure
        finally:
            gevent.killall(list(workers.values()))
            gevent.joinall(list(self._jobs))  # no thread may write to this descriptor once it is closed

    def _in_thread(self, function: Callable[..., T], *args: Any) -> T:
        """As `offload`, and known to `run` while it lasts, even if the greenlet that asked is killed."""
        job = gevent.spawn(_outcome, function, args)
        self._jobs.add(job)
        job.rawlink(self._jobs.discard)
        value, error = job.get()
        if error is not None:
            raise error
        return value

    def _incomplete(self) -> FileIncomplete:
        said = "; ".join(f"{name}: {why}" for name, why in self._troubles.items()) or "no source answers"
        return FileIncomplete(
            f"{self._path.name}: {self._done_bytes} of {self._size} bytes are here and kept: {said}: ask again later",
            done=self._done_bytes,
        )

    def _work(self, name: str, ask: Callable[[], Ticket]) -> None:
        pause, longest = PAUSE_S
        while True:
            before = self._done_bytes
            try:
                with self._open(name, ask()) as stream:
                    self._take_from(name, stream)
                    return
            except _Liar as lie:
                self._troubles[name] = f"{lie}; nothing more is taken from it"
                LOG.warning("%s: %s: %s", self._path.name, name, self._troubles[name])
                return
            except MeshError as error:
                self._troubles[name] = error.message
                LOG.info("%s: %s: %s", self._path.name, name, error)
            except Exception as error:  # noqa: BLE001  (raised again in `run`)
                self._failure = error
                return
            finally:
                if self._share is not None:
                    self._share.give_back(name)
                self._changed.set()
            pause = PAUSE_S[0] if self._done_bytes > before else min(longest, pause * 2)
            gevent.sleep(pause)

    def _open(self, name: str, ticket: Ticket) -> Stream:
        try:
            return self._bus.open_stream(ticket, of=name if self._roles else "", roles=self._roles)
        except NotAllowed as error:
            raise _Liar(error.message) from error

    def _take_from(self, name: str, stream: Stream) -> None:
        source = _Source(stream)
        contents = self._settle_contents(source.contents(self._size, self._digest))
        share = self._share
        assert share is not None
        ahead = max(2, 2 * WINDOW // contents.block)
        asked: deque[int] = deque()
        buffer = memoryview(bytearray(min(contents.block, contents.size)))
        while share.left:
            while len(asked) < ahead:
                index = share.next(name, time.monotonic())
                if index is None:
                    break
                asked.append(index)
                stream.send(index.to_bytes(8, "big"))
            if not asked:
                self._changed.clear()
                self._changed.wait(LOOK_S)
                continue
            index = asked.popleft()
            body = buffer[: contents.length(index)]
            source.fill(body)
            if not share.is_out(index):
                continue  # another was quicker
            if not self._in_thread(blocks.keep, self._descriptor, contents, index, body):
                raise _Liar(f"block {index} is not what its hash says")
            if share.came(index):
                self._arrived(contents.length(index))

    def _settle_contents(self, said: Contents) -> Contents:
        """Who comes first looks through what an earlier fetch left; the others wait for that."""
        if self._ready is None:
            self._ready = AsyncResult()
            try:
                self._look_through(said)
                self._ready.set(None)
            except BaseException as error:
                failed = self._ready
                self._ready = None
                failed.set_exception(StreamBroken(f"{self._part}: not looked through: {error}"))
                raise
        else:
            self._ready.get()
        assert self.contents is not None
        return self.contents

    def _look_through(self, contents: Contents) -> None:
        left: list[int] = []
        self._in_thread(_trim, self._descriptor, contents.size)
        buffer = memoryview(bytearray(min(contents.block, contents.size)))
        for start in range(0, contents.blocks, SCAN):
            some = range(start, min(start + SCAN, contents.blocks))
            missing = self._in_thread(_missing, self._descriptor, contents, some, buffer)
            left += missing
            self._done_bytes += sum(contents.length(i) for i in some) - sum(contents.length(i) for i in missing)
            self._moved_at = time.monotonic()
        needed = self._size - self._done_bytes
        free = shutil.disk_usage(self._part.parent).free
        if free < needed:
            raise OSError(errno.ENOSPC, f"needs {needed} bytes more, {free} are free", str(self._part))
        self.contents, self._share = contents, Share(left)
        self._tell()

    def _arrived(self, size: int) -> None:
        self._done_bytes += size
        self._moved_at = time.monotonic()
        self._tell()
        self._changed.set()

    def _tell(self) -> None:
        if self._on_progress is not None and self._failure is None:
            try:
                self._on_progress(self._done_bytes, self._size)
            except Exception as error:  # noqa: BLE001  (the caller's own: raised in `run`)
                self._failure = error
                self._changed.set()


class _Source:
    """Reads whole things from a stream."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._rest = memoryview(b"")

    def contents(self, size: int, digest: bytes) -> Contents:
        """Raises _Liar unless they are those of the file wanted."""
        length = bytearray(4)
        self.fill(memoryview(length))
        if int.from_bytes(length, "big") > MOST_HEAD_BYTES:
            raise _Liar("its list of hashes is larger than any")
        head = bytearray(int.from_bytes(length, "big"))
        self.fill(memoryview(head))
        try:
            said = msgspec.msgpack.decode(head, type=Contents)
        except msgspec.MsgspecError as error:
            raise _Liar(f"its list of hashes is none: {error}") from None
        if said.size != size:
            raise _Liar(f"its file has {said.size} bytes, not {size}")
        if not said.is_sound() or said.digest != digest:
            raise _Liar("its file is another one")
        return said

    def fill(self, into: memoryview) -> None:
        while into:
            if not self._rest:
                self._rest = memoryview(self._stream.recv_view())
                if not self._rest:
                    raise StreamBroken(f"{self._stream}: ended in the middle")
            size = min(len(into), len(self._rest))
            into[:size] = self._rest[:size]
            into, self._rest = into[size:], self._rest[size:]


def _outcome(function: Callable[..., T], args: Any) -> tuple[T, Exception | None]:
    try:
        return offload(function, *args), None
    except Exception as error:  # noqa: BLE001  (raised where it is waited for)
        return None, error  # type: ignore[return-value]


def _open_alone(part: Path) -> int:
    """The leftover's descriptor, locked. One that was asked for before, and taken back, is waited for: it may not have
    heard of that yet. Raises Busy."""
    until = time.monotonic() + GIVES_WAY_S
    while True:
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.stat(part), os.fstat(descriptor)):
                return descriptor
        except (BlockingIOError, FileNotFoundError):  # another has it, or has just given it its name
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        if time.monotonic() > until:
            raise Busy(f"{part}: it is being fetched already")
        gevent.sleep(0.05)


def _trim(descriptor: int, size: int) -> None:
    os.ftruncate(descriptor, size)


def _missing(descriptor: int, contents: Contents, indexes: range, buffer: memoryview) -> list[int]:
    return [i for i in indexes if not blocks.holds(descriptor, contents, i, buffer)]


def _settle(descriptor: int, part: Path, path: Path) -> None:
    os.fsync(descriptor)
    os.rename(part, path)
    atomic_file.sync_folder(path.parent)
