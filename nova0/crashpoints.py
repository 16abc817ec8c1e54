"""Named points at which a test may end the process as a power cut would: no clean-up, no goodbye.

`NOVA0_CRASH_AT=boot.claim.committed` kills this process the first time it gets there;
`name:3` the third time. Without the variable a point costs one comparison.
"""

from __future__ import annotations

import os
import signal

_at, _, _count = os.environ.get("NOVA0_CRASH_AT", "").partition(":")
_left = int(_count or 1)


def crash_point(name: str) -> None:
    """End the process with SIGKILL if the environment asks for it at this point."""
    global _left
    if name == _at:
        _left -= 1
        if _left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
