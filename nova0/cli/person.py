"""Who types: under sudo the caller, not root. What a person keeps (clouds.yaml, ssh key) goes to their home."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Person:
    name: str
    uid: int
    gid: int
    home: Path

    def own(self, path: Path | int) -> None:
        """Give a file we made in their home to them; an open one by its number."""
        if os.geteuid() == 0 and self.uid != 0:
            os.chown(path, self.uid, self.gid)

    def own_like(self, known: Path, fresh: Path | int) -> None:
        """Give a file that is to replace another to whoever owns that one."""
        if os.geteuid() == 0:
            owner = known.stat()
            os.chown(fresh, owner.st_uid, owner.st_gid)

    def make_folder(self, path: Path, mode: int = 0o700) -> None:
        """Make a folder and its missing parents, owned by them."""
        missing = [place for place in (path, *path.parents) if not place.exists()]
        for place in reversed(missing):
            place.mkdir(mode=mode)
            self.own(place)

    def has_home(self) -> bool:
        """False for users like nobody, whose files then live beside nova0's state."""
        return self.home.is_dir() and os.access(self.home, os.W_OK)


def caller() -> Person:
    """The person at the keyboard: $SUDO_UID's when root was reached by sudo, else this process's user."""
    uid = os.geteuid()
    if uid == 0 and os.environ.get("SUDO_UID", "0").isdigit():
        uid = int(os.environ.get("SUDO_UID", "0"))
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return Person(str(uid), uid, os.getegid(), Path(os.environ.get("HOME", "/nonexistent")))
    home = entry.pw_dir if uid != os.geteuid() else os.environ.get("HOME") or entry.pw_dir
    return Person(entry.pw_name, uid, entry.pw_gid, Path(home))
