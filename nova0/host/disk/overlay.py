"""A guest's root disk: a qcow2 overlay on a verified base, grown to its flavor. Only qemu-img works here."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from nova0.disk_image import bounded, inspection
from nova0.disk_image.layout import BadFormat
from nova0.objects.errors import DriverError, ImageUnusable, NoSpace

GIB = 1024**3


def make(path: Path, base: Path | None, base_format: str, size_gb: int) -> bool:
    """Make `path` unless it is there on the same base; returns whether it was made. `size_gb` 0: as large as
    the base. A base larger than `size_gb` GiB is refused. Never half there: written aside and renamed.
    Raises NoSpace, ImageUnusable, DriverError with qemu-img's own words."""
    if path.exists() and backing(path) == (base.resolve() if base else None):
        return False
    size = size_gb * GIB
    if base is None and not size:
        raise DriverError(f"making disk {path.name}: a server without an image needs a flavor with a root disk")
    if base is not None:
        virtual = _stands_alone(base, base_format)
        if size and virtual > size:
            raise DriverError(
                f"making disk {path.name}: the image needs {virtual / GIB:.1f} GiB, the flavor gives {size_gb}: "
                "use a larger flavor"
            )
    command = ["qemu-img", "create", "-q", "-f", "qcow2"]
    if base is not None:
        command += ["-F", base_format, "-b", str(base.resolve())]
    # Not in the guest's own folder: qemu-img would follow a link that the hypervisor's user left there.
    with tempfile.TemporaryDirectory(prefix=".new-", dir=path.parent.parent) as aside:
        fresh = Path(aside) / path.name
        _run([*command, str(fresh), *([str(size)] if size else [])], f"making disk {path.name}")
        fresh.replace(path)
    return True


def virtual_size(path: Path, disk_format: str) -> int:
    """Bytes a guest would see. The format is said, never guessed: a guest may write a qcow2 header."""
    return int(_info(path, disk_format)["virtual-size"])


def _stands_alone(base: Path, disk_format: str) -> int:
    """Bytes a guest would see. An image may name other files of this host as its backing or data file, which a
    guest would read, or be none that QEMU should open: ImageUnusable."""
    try:
        with open(base, "rb") as file:
            virtual = inspection.inspect(file.fileno(), disk_format)
    except BadFormat as error:
        raise ImageUnusable(f"making a disk: {error}") from None
    info = _info(base, disk_format)
    elsewhere = info.get("backing-filename") or info.get("format-specific", {}).get("data", {}).get("data-file")
    if elsewhere:
        raise ImageUnusable(f"making a disk: the image refers to another file ({elsewhere}): upload it flattened")
    return max(virtual or 0, int(info["virtual-size"]))


def backing(path: Path) -> Path | None:
    """The image under a guest's disk; None where there is none."""
    name = _info(path, "qcow2").get("full-backing-filename")
    return Path(name) if name else None


def _info(path: Path, disk_format: str) -> dict:
    out = _run(["qemu-img", "info", "-U", "-f", disk_format, "--output=json", str(path)], f"reading disk {path.name}")
    return json.loads(out)


def _run(command: list[str], step: str) -> str:
    try:
        done = bounded.run(command)
    except bounded.TookTooMuch as error:
        raise DriverError(f"{step}: {error}") from None
    except FileNotFoundError as error:
        raise DriverError(f"{step}: no {command[0]} here: install qemu-utils") from error
    if done.returncode:
        words = done.stderr.strip().splitlines()[-1:] or [f"{command[0]} ended with {done.returncode}"]
        if "No space left" in done.stderr:
            raise NoSpace(f"{step}: {words[0]}: free space or set state_path to a larger disk")
        raise DriverError(f"{step}: {words[0]}")
    return done.stdout
