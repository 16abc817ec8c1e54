"""What a measurement leaves in SPECIFICATION.md: one block each, between `<!-- NAME: begin -->` and `end`."""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path

PATH = Path(__file__).resolve().parents[3] / "SPECIFICATION.md"


def measured(*more: str) -> str:
    """When and on what: the first words of a block."""
    versions = [f"Linux {os.uname().release.split('-')[0]}", f"Python {sys.version.split()[0]}", *more]
    return f"Measured {time.strftime('%Y-%m-%d')} on {os.cpu_count()} cores, {', '.join(versions)}"


def read_block(name: str, path: Path = PATH) -> str:
    """What stands there now."""
    return _block(name, path)[1][2]


def write_block(name: str, body: str, path: Path = PATH) -> None:
    """Replace what stands between the markers of `name`. Raises SystemExit where there are none."""
    text, found = _block(name, path)
    path.write_text(f"{text[: found.start(2)]}{body}\n{text[found.end(2) :]}")


def _block(name: str, path: Path) -> tuple[str, re.Match[str]]:
    text = path.read_text()
    found = re.search(rf"(<!-- {name}: begin -->\n)(.*?)(<!-- {name}: end -->)", text, re.DOTALL)
    if found is None:
        raise SystemExit(f"bench: {path} has no markers <!-- {name}: begin --> and end")
    return text, found
