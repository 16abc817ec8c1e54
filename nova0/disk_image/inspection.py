"""Looks into an image's file in a process of its own, which may take little time and memory and has no rights."""

from __future__ import annotations

import json
import subprocess
import sys

from nova0.disk_image import layout
from nova0.disk_image.layout import BadFormat

MOST_S = 180.0  # of the clock; its own bound of processor time comes first unless the machine is very busy


def inspect(file: int, declared: str) -> int | None:
    """The virtual size in bytes of the open `file`, whose format is declared; None where it is not read here.
    Raises BadFormat, in words for the person who uploads; OSError where the file could not be looked at."""
    command = [sys.executable, "-I", "-S", layout.__file__, declared]
    try:
        done = subprocess.run(command, stdin=file, capture_output=True, env={}, cwd="/", timeout=MOST_S, check=False)
    except subprocess.TimeoutExpired:
        raise BadFormat(f"the image could not be looked through within {MOST_S:.0f} s") from None
    if done.returncode < 0:
        raise BadFormat(
            f"the image could not be looked through with {layout.MOST_CPU_S} s of processor time and "
            f"{layout.MOST_MEMORY_BYTES // 1024**2} MiB of memory"
        )
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["it says nothing"]
        if "MemoryError" in words[0]:
            raise BadFormat(f"the image needs over {layout.MOST_MEMORY_BYTES // 1024**2} MiB of memory to be looked at")
        raise OSError(f"looking into the image: {words[0]}")
    answer = json.loads(done.stdout)
    if "refused" in answer:
        raise BadFormat(answer["refused"])
    size: int | None = answer["virtual_size"]
    return size
