"""What nova0 wrote outside its state folder, written down there, so that it is found again and nothing else is."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from nova0 import atomic_file
from nova0.cli.failure import Failure

CLOUDS, CA, KEY = "clouds.yaml", "CA certificate", "ssh key"


def remember(state_path: Path, kind: str, path: Path, body: bytes = b"") -> None:
    """`body`: the whole of a file that is nova0's alone."""
    entry = {"kind": kind, "path": str(path.absolute()), "sha256": hashlib.sha256(body).hexdigest() if body else ""}
    known = everything(state_path)
    if entry in known:
        return
    known = [one for one in known if (one["kind"], one["path"]) != (kind, entry["path"])]
    atomic_file.write(state_path / "outside.json", json.dumps([*known, entry], indent=1) + "\n", 0o644)


def everything(state_path: Path, kind: str = "") -> list[dict[str, Any]]:
    """Entries of that kind, or all. Raises Failure on a file that cannot be read."""
    path = state_path / "outside.json"
    try:
        found: list[dict[str, Any]] = json.loads(path.read_text())
    except FileNotFoundError:
        return []
    except ValueError as error:
        raise Failure(f"{path} is damaged ({error}): it tells what nova0 wrote elsewhere; mend or remove it") from error
    return [one for one in found if kind in ("", one["kind"])]


def is_as_written(state_path: Path, path: Path) -> bool:
    """A file that nova0 wrote and nobody changed since."""
    try:
        now = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return False
    return any(one["path"] == str(path.absolute()) and one["sha256"] == now for one in everything(state_path))
