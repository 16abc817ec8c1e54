"""One log line for each address that is refused, however often it tries."""

from __future__ import annotations

import logging
import time

LOG = logging.getLogger("nova0.mesh.refused")
EVERY_S = 60.0
MOST = 1024  # addresses remembered; a flood from more of them is summed up under "others"


class Refusals:
    def __init__(self, node: str) -> None:
        self._node = node
        self.count = 0  # of all, logged or not
        self._last: dict[str, tuple[float, int]] = {}  # address -> (when logged, refusals since)

    def note(self, address: str, why: str) -> None:
        self.count += 1
        now = time.monotonic()
        if address not in self._last and len(self._last) >= MOST:
            self._last = {a: v for a, v in self._last.items() if now - v[0] < EVERY_S}
            if len(self._last) >= MOST:
                address = "others"
        logged, since = self._last.get(address, (-EVERY_S, 0))
        if now - logged < EVERY_S:
            self._last[address] = (logged, since + 1)
            return
        more = f" ({since} more since the last such line)" if since else ""
        LOG.warning("%s: refused %s: %s%s", self._node, address, why, more)
        self._last[address] = (now, 0)
