"""Whether the store is the one this cloud had, asked before it is opened: an emptied, missing, damaged or foreign file
never becomes a new cloud in silence.

The witness is a small file beside the machine's keys, not beside the store: it says which store this machine's
controller has worked with. An operator's word (`nova0 up --new-store`, `--this-store`) is written into it, and counts
once.
"""

from __future__ import annotations

import os
import re
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import msgspec

from nova0 import atomic_file

LOOK_BYTES = 256 << 20  # a start looks through a store of this size (about a second); `nova0 doctor` through any
MAGIC = b"SQLite format 3\0"
SIDES = ("", "-wal", "-shm")
_MARK = re.compile(rb"\x03\x23(.)commit_mark", re.DOTALL)  # SQLite's record of two texts: their lengths come first
RESTORE = "put a backup back (docs/backup.md)"
ANEW = "to begin anew, with no server, network, image or user known: nova0 up --new-store"


class StoreRefused(Exception):
    """The store is not taken; the message names what was found, the file and what may be done."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Witness(msgspec.Struct):
    """`opened` and `mark` grow with the store: a lower one is an older copy."""

    store_id: str = ""
    cluster: str = ""  # hex of the cluster's key
    opened: int = 0
    mark: int = 0
    new_wanted: bool = False  # the operator's word: make a new store
    this_wanted: bool = False  # the operator's word: take the one that is there


class Found(msgspec.Struct, frozen=True):
    """What a store says of itself. `whole`: looked through to its end."""

    store_id: str
    cluster: str
    opened: int
    mark: int
    whole: bool


def path_of(state_dir: Path) -> Path:
    return state_dir / "mesh" / "store-witness.json"


def store_of(state_dir: Path) -> Path:
    return state_dir / "store.sqlite"


def read(state_dir: Path) -> Witness | None:
    """None where there is none, or one that cannot be read: then what else is there has to tell."""
    try:
        return msgspec.json.decode(path_of(state_dir).read_bytes(), type=Witness)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def write(state_dir: Path, witness: Witness) -> None:
    """Raises OSError."""
    atomic_file.write(path_of(state_dir), msgspec.json.encode(witness))


def check(state_dir: Path, cluster: str) -> str:
    """Before the store is opened: raises StoreRefused where it must not be. Returns a note for people, "" for none."""
    path, witness = store_of(state_dir), read(state_dir)
    wanted = witness or Witness()
    found = look(path, LOOK_BYTES)
    if found is None:
        if not wanted.new_wanted and (witness is not None or _ran_here(state_dir)):
            which = f" ({wanted.store_id[:8]}, opened {wanted.opened} times)" if wanted.store_id else ""
            state = "is empty" if path.exists() else "is gone"
            raise StoreRefused(f"{path} {state}, but this cloud had a store{which}: {RESTORE}; {ANEW}")
        return ""
    if wanted.this_wanted:
        return f"store {found.store_id[:8]} is taken as the operator said: once it is right, nova0 adopt"
    take = "if it is the one you want: nova0 up --this-store, then nova0 adopt"
    if found.cluster and cluster and found.cluster != cluster:
        raise StoreRefused(
            f"{path} is of another cluster ({found.cluster[:12]}, this machine is of {cluster[:12]}): {RESTORE}; {take}"
        )
    if wanted.store_id and found.store_id != wanted.store_id:
        raise StoreRefused(
            f"{path} is another store ({found.store_id[:8] or 'without an id'}) than this cloud had "
            f"({wanted.store_id[:8]}): {RESTORE}; {take}"
        )
    if found.opened < wanted.opened or found.mark < wanted.mark:
        return (
            f"the store is an older copy (its commit {found.mark}, this machine has seen {wanted.mark}): hosts stop "
            "and delete nothing on its word until nova0 adopt (docs/backup.md)"
        )
    return ""


def look(path: Path, most_bytes: int | None = None, *, write: bool = True) -> Found | None:
    """What the file is, looked through where it has at most `most_bytes`; None for no store yet (no file, an empty one,
    one without tables). `write` False: where a controller may be at work on it. Raises StoreRefused for what is no
    good store."""
    try:
        with path.open("rb") as file:
            head = file.read(len(MAGIC))
    except FileNotFoundError:
        return None
    except IsADirectoryError:
        raise StoreRefused(f"{path} is a folder, not a store: move it away; {RESTORE}") from None
    except OSError as error:
        raise StoreRefused(f"{path} can't be read ({error.strerror}): mend its owner and mode (0600)") from None
    if not head:
        return None
    if head != MAGIC:
        raise _damaged(path, "it does not begin as an SQLite file does")
    _check_journal(path)
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode={'rw' if write else 'ro'}", uri=True)) as store:
            return _look_through(store, path, most_bytes)
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise _damaged(path, str(error)) from None
        raise StoreRefused(f"{path} can't be opened ({error}): mend its owner and mode, free space there") from None


def _check_journal(path: Path) -> None:
    """SQLite puts what a journal holds into whatever lies beside it, and takes the mix for good. What the file alone
    says must reach to where its journal was begun, or a backup was put back beside the journal of the store that was
    there. Raises StoreRefused."""
    journal = Path(f"{path}-wal")
    try:
        if not journal.exists() or not journal.stat().st_size:
            return
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as store:
            [(page,)] = store.execute("SELECT rootpage FROM sqlite_master WHERE name = 'fact'").fetchall()
            begun = _begun(journal, page)  # before the file is read: a controller may be at work on both
            facts = {name: _plain(value) for name, value in store.execute("SELECT name, value FROM fact")}
    except (sqlite3.Error, ValueError):
        return  # a first start that ended early, or damage: SQLite tells
    except OSError as error:
        raise StoreRefused(f"{journal} can't be read ({error.strerror}): mend its owner and mode (0600)") from None
    if begun is None:
        return
    mark, frame = begun
    if mark > _number(facts.get("commit_mark")) + 1 or str(facts.get("store_id") or "").encode() not in frame:
        raise StoreRefused(
            f"{journal} is of another store: if {path} is a backup that was put back, remove {journal} and {path}-shm "
            "(docs/backup.md)"
        )


def _begun(journal: Path, page: int) -> tuple[int, bytes] | None:
    """The commit mark of the first transaction in a journal, and that page of it; `page` is where the facts are."""
    with journal.open("rb") as file:
        head = file.read(32)
        size, salts = int.from_bytes(head[8:12]), head[16:24]
        if not 512 <= size <= 65536:
            return None
        while len(frame := file.read(24 + size)) == 24 + size and frame[8:16] == salts:
            found = _MARK.search(frame) if int.from_bytes(frame[:4]) == page else None
            if found:
                return int(frame[found.end() : found.end() + (found[1][0] - 13) // 2]), frame
    return None


def _look_through(store: sqlite3.Connection, path: Path, most_bytes: int | None) -> Found | None:
    tables = {name for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:
        return None
    if "fact" not in tables:
        raise StoreRefused(f"{path} is a database, but no store of nova0's: move it away; {RESTORE}")
    whole = most_bytes is None or path.stat().st_size <= most_bytes
    said = [row[0] for row in store.execute("PRAGMA quick_check(1)")] if whole else ["ok"]
    if said != ["ok"]:
        raise _damaged(path, said[0] if said else "it can't be looked through")
    facts = {name: _plain(value) for name, value in store.execute("SELECT name, value FROM fact")}
    return Found(
        store_id=str(facts.get("store_id") or ""),
        cluster=str(facts.get("cluster") or ""),
        opened=_number(facts.get("boot")),
        mark=_number(facts.get("commit_mark")),
        whole=whole,
    )


def _plain(value: object) -> object:
    """A column of JSON text, or what SQLite made of it."""
    try:
        return msgspec.json.decode(value) if isinstance(value, (str, bytes)) else value
    except msgspec.DecodeError:
        return value


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _damaged(path: Path, what: str) -> StoreRefused:
    what = " ".join(what.replace("*** in database main ***", "").split())
    return StoreRefused(
        f"{path} is damaged ({what}): {RESTORE}, or save what can be read: sqlite3 {path} .recover | "
        f"sqlite3 NEW.sqlite; {ANEW}"
    )


def _ran_here(state_dir: Path) -> bool:
    """A controller was started here, though no witness is left: what it made on its first start is there."""
    return any((state_dir / name).exists() for name in ("mesh/boot.controller", "token.key", "secrets/admin.password"))


def want_new(state_dir: Path) -> str:
    """The operator's word: the next start makes a new store; what lies in its place is moved aside. Returns where to,
    "" where nothing was. Raises OSError."""
    path, aside = store_of(state_dir), ""
    if os.path.lexists(path) and (path.is_dir() or path.stat().st_size):
        aside = f"{path}.{time.strftime('%Y%m%d-%H%M%S')}"
    for side in SIDES:
        there = Path(f"{path}{side}")
        if os.path.lexists(there):
            there.rename(f"{aside or path}{side}{'' if aside else '.empty'}")
    write(state_dir, Witness(new_wanted=True))
    return aside


def want_this(state_dir: Path) -> None:
    """The operator's word: the next start takes the store that is there. Raises OSError."""
    write(state_dir, Witness(this_wanted=True))
