"""A line for each request in the log; from one address without a good token only so many a second."""

from __future__ import annotations

import logging
import re
import time

from nova0.controller.api.connections import Connection

LOG = logging.getLogger("nova0.api.access")
BURST, PER_S = 100.0, 5.0  # lines of strangers at one address; the next line says how many were left out
ADDRESSES_MOST = 4096
SHOWN_MOST = 512  # characters of a request line

_SECRET_FIELD = re.compile(
    r"(?i)([?&][^=&\s]{0,64}(?:pass|secret|token|auth|key|data|credential)[^=&\s]{0,64}=)[^&\s]*"
)
_LONG = re.compile(r"[A-Za-z0-9_\-%=+.~]{64,}")  # no id or name of ours is so long; a token is


class AccessLog:
    """One server's."""

    def __init__(self) -> None:
        self._budget: dict[str, tuple[float, float, int]] = {}  # address -> (lines left, when, left out)

    def note(self, connection: Connection, request_line: str, status: int, size: int, took_ms: float) -> None:
        """`size`: bytes of the answer."""
        if not LOG.isEnabledFor(logging.INFO):
            return
        left_out = 0 if connection.known else self._left_out(connection.address)
        if left_out < 0:
            return
        more = f" ({left_out} more from there are left out)" if left_out else ""
        line = shown(request_line)
        LOG.info('%s "%s" %d %d bytes %.1f ms%s', connection.address, line, status, size, took_ms, more)

    def _left_out(self, address: str) -> int:
        """How many were left out before this one; -1: this one is, too."""
        now = time.monotonic()
        left, when, out = self._budget.get(address, (BURST, now, 0))
        left = min(BURST, left + (now - when) * PER_S)
        if len(self._budget) >= ADDRESSES_MOST:
            self._budget.clear()
        if left < 1:
            self._budget[address] = (left, now, out + 1)
            return -1
        self._budget[address] = (left - 1, now, 0)
        return out


def shown(request_line: str) -> str:
    """A request line without what may be a secret."""
    line = request_line[: 4 * SHOWN_MOST].rstrip("\r\n")
    return _LONG.sub("...", _SECRET_FIELD.sub(r"\1...", line))[:SHOWN_MOST]
