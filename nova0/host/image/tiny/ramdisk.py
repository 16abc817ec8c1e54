"""Writes a Linux initial ramdisk (cpio "newc", gzip) without needing root or the cpio program."""

from __future__ import annotations

import gzip
from pathlib import Path

from nova0 import atomic_file

_DIRECTORY, _FILE, _LINK, _DEVICE = 0o040000, 0o100000, 0o120000, 0o020000


class Ramdisk:
    """A tree in memory; everything belongs to root, times are zero, so equal input gives equal bytes."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[int, bytes, tuple[int, int]]] = {}

    def directory(self, path: str, mode: int = 0o755) -> None:
        parent = path.strip("/").rpartition("/")[0]
        if parent and parent not in self._entries:
            self.directory(parent)
        self._entries[path.strip("/")] = (_DIRECTORY | mode, b"", (0, 0))

    def file(self, path: str, content: bytes, mode: int = 0o644) -> None:
        self._below(path)
        self._entries[path.strip("/")] = (_FILE | mode, content, (0, 0))

    def link(self, path: str, target: str) -> None:
        self._below(path)
        self._entries[path.strip("/")] = (_LINK | 0o777, target.encode(), (0, 0))

    def device(self, path: str, major: int, minor: int, mode: int = 0o600) -> None:
        self._below(path)
        self._entries[path.strip("/")] = (_DEVICE | mode, b"", (major, minor))

    def __contains__(self, path: str) -> bool:
        return path.strip("/") in self._entries

    def _below(self, path: str) -> None:
        parent = path.strip("/").rpartition("/")[0]
        if parent and parent not in self._entries:
            self.directory(parent)

    def write(self, path: Path) -> None:
        parts = [
            _record(number, name, mode, content, device)
            for number, (name, (mode, content, device)) in enumerate(self._entries.items(), 1)
        ]
        parts.append(_record(0, "TRAILER!!!", 0, b"", (0, 0)))
        atomic_file.write(path, gzip.compress(b"".join(parts), 9, mtime=0), 0o644)


def _record(number: int, name: str, mode: int, content: bytes, device: tuple[int, int]) -> bytes:
    raw = name.encode() + b"\0"
    fields = (number, mode, 0, 0, 2 if mode & _DIRECTORY else 1, 0, len(content), 0, 0, *device, len(raw), 0)
    head = b"070701" + b"".join(b"%08x" % value for value in fields) + raw
    return head + b"\0" * (-len(head) % 4) + content + b"\0" * (-len(content) % 4)
