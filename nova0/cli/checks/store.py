"""The controller's store: whether it is whole, the one this machine worked with, has room to grow, and what it says of
the clock."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from nova0.cli.checks import BLOCKS, OK, WARNING, Finding, Look

WAL_WARNS_MB = 256  # SQLite begins it anew long before, unless a reader never ends
ROOM_BLOCKS_MB, ROOM_WARNS_MB = 16, 128  # commits go on in less than the machine's own check asks for


def check(look: Look) -> list[Finding]:
    from nova0.controller.db import witness

    path = witness.store_of(look.state_path)
    try:
        held = witness.read(look.state_path)
    except OSError:
        return []  # of another user: the other subjects say so
    if held is None and not os.path.lexists(path):
        return []  # no controller was ever here
    return [_store(look, path), _room(path), *_wal(path), *_clock(path)]


def _store(look: Look, path: Path) -> Finding:
    from nova0.controller.db import witness
    from nova0.controller.db.witness import StoreRefused

    restore = "put a backup back (docs/backup.md); or nova0 up --new-store, to begin anew"
    try:
        found = witness.look(path, write=False)
        held = witness.read(look.state_path)
    except StoreRefused as refused:
        return Finding("store", BLOCKS, refused.message, restore)
    if found is None:
        ran = held is not None and not held.new_wanted
        state = "is empty" if path.exists() else "is gone"
        if ran:
            return Finding("store", BLOCKS, f"{path} {state}, but this cloud had a store", restore)
        return Finding("store", OK, "none yet: the next start makes it")
    about = f"{found.store_id[:8] or 'no id yet'}, commit {found.mark}, {path.stat().st_size >> 20} MB"
    if held is not None and held.store_id and held.store_id != found.store_id:
        return Finding(
            "store",
            BLOCKS,
            f"{about}: this machine worked with another ({held.store_id[:8]})",
            "put the right one back; or nova0 up --this-store, then nova0 adopt",
        )
    if held is not None and found.mark < held.mark:
        return Finding(
            "store",
            WARNING,
            f"{about}: an older copy, commit {held.mark} was seen here",
            "compare nova0 ps --all with what runs, then nova0 adopt",
        )
    return Finding("store", OK, about)


def _room(path: Path) -> Finding:
    place = next(folder for folder in path.parents if folder.exists())
    free_mb = shutil.disk_usage(place).free >> 20
    inodes = os.statvfs(place)
    found, remedy = f"{free_mb} MB free in {place}", "free space there, or give state_path a larger disk"
    if inodes.f_files and not inodes.f_favail:
        return Finding("store's disk", BLOCKS, f"no inode is free in {place}", "remove files there")
    if inodes.f_flag & os.ST_RDONLY:
        return Finding("store's disk", BLOCKS, f"{place} is mounted read-only", "mount it for writing")
    if free_mb < ROOM_BLOCKS_MB:
        return Finding("store's disk", BLOCKS, f"{found}: changes are answered 507 and work waits", remedy)
    if free_mb < ROOM_WARNS_MB:
        return Finding("store's disk", WARNING, found, remedy)
    return Finding("store's disk", OK, found)


def _wal(path: Path) -> list[Finding]:
    try:
        size_mb = Path(f"{path}-wal").stat().st_size >> 20
    except OSError:
        return []
    if size_mb < WAL_WARNS_MB:
        return []
    remedy = "end programs that read the store (sqlite3), then restart the controller"
    return [Finding("store's journal", WARNING, f"{size_mb} MB wait in {path}-wal", remedy)]


def _clock(path: Path) -> list[Finding]:
    """What the store last saw of the clock against what it is now."""
    from nova0 import clock
    from nova0.controller.db import steady_clock

    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as store:
            row = store.execute("SELECT value FROM fact WHERE name = ?", (steady_clock.NAME,)).fetchone()
    except sqlite3.Error:
        return []
    kept = steady_clock.read(row[0]) if row else None
    if kept is None:
        return []
    moved = clock.jumped_s(kept.at)
    if not moved:
        return [Finding("clock and store", OK, f"as when the store was last open ({steady_clock.shown(kept.at.wall)})")]
    way = "ahead" if moved > 0 else "back"
    return [
        Finding(
            "clock and store",
            WARNING,
            f"moved {way} by {abs(moved):.0f} s since {steady_clock.shown(kept.at.wall)}",
            "set it right and keep it so (chrony); tokens and leases go by a clock of their own, times shown do not",
        )
    ]
