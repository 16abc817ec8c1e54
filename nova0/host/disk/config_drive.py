"""Writes config drives: an ISO 9660 file labelled config-2, which guests find without a network.

The tree comes ready made (`objects.metadata`); nothing of its meaning may enter here.
"""

from __future__ import annotations

import io
from pathlib import Path, PurePosixPath

import pycdlib

from nova0 import atomic_file

LABEL = "config-2"


def write(tree: dict[str, bytes], path: Path) -> None:
    """Write `tree` (relative path, e.g. "openstack/latest/meta_data.json", to content) as an ISO at `path`,
    aside and renamed. Rock Ridge and Joliet carry the real names. Mode 0600: it may hold a password."""
    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=3, vol_ident=LABEL, joliet=3, rock_ridge="1.09")
    short = _ShortNames()
    made: set[PurePosixPath] = set()
    try:
        for name, content in sorted(tree.items()):
            place = PurePosixPath(name)
            for parent in reversed(place.parents):
                if parent.name and parent not in made:
                    made.add(parent)
                    iso.add_directory(short.of(parent), rr_name=parent.name, joliet_path=f"/{parent}")
            iso.add_fp(
                io.BytesIO(content), len(content), f"{short.of(place)}.;1", rr_name=place.name, joliet_path=f"/{place}"
            )
        with atomic_file.writing(path) as file:
            iso.write_fp(file)
    finally:
        iso.close()


class _ShortNames:
    """ISO 9660's own names: eight characters of A to Z, 0 to 9 and _, different from each other."""

    def __init__(self) -> None:
        self._known: dict[PurePosixPath, str] = {}

    def of(self, path: PurePosixPath) -> str:
        if path not in self._known:
            above = self.of(path.parent) if path.parent.name else ""
            self._known[path] = f"{above}/N{len(self._known):06d}"
        return self._known[path]
