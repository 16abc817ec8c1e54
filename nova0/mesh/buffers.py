"""What the C library does with freed memory: that of large messages is kept for the next, not given back to the kernel
and cleared anew; what lies free between others after many connections came is given back.
"""

from __future__ import annotations

import ctypes
import os

from nova0.mesh.wire import MAX_FRAME_BYTES

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's mallopt
KEPT_BYTES = 2 * MAX_FRAME_BYTES  # free memory at the top of a heap that stays with the process


def keep() -> None:
    """For this process, unless its environment says how malloc should be, or another C library has no such thing."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or any(name.startswith("MALLOC_") for name in os.environ):
        return
    mallopt(M_MMAP_THRESHOLD, MAX_FRAME_BYTES)
    mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)


def give_back() -> None:
    """Pages that lie free between others. Takes milliseconds: run on a real thread."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
