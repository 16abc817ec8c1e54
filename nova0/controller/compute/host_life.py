"""Liveness of compute hosts as the mesh sees it: what stands in for a heartbeat column."""

from __future__ import annotations

import time

from nova0.controller.services import HostLife
from nova0.mesh.bus import Bus, Member, Status
from nova0.rpcapi.compute import ComputeAPI

LOOK_S = 0.5  # between two looks at all members
_HEARD = (Status.UP, Status.SUSPECT)


class HostLives:
    """Answers `services.Hosts` from the members of the mesh that carry the compute topic."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._alive: set[str] = set()
        self._looked_at = -1e9
        self.changes = 0  # grows whenever the mesh says that a member came, went or fell silent
        bus.on_member(self._changed)

    def alive(self) -> set[str]:
        """Hosts with a compute agent that is heard, for those who ask of many hosts: one look at all members twice
        a second, and what changed in between."""
        if time.monotonic() - self._looked_at >= LOOK_S:
            self._looked_at = time.monotonic()
            self._alive = {m.host for m in self._bus.members() if ComputeAPI.topic in m.topics and m.status in _HEARD}
        return set(self._alive)

    def all(self) -> list[HostLife]:
        """One entry per host that was ever heard of, the best of its compute nodes."""
        best: dict[str, Member] = {}
        for member in self._bus.members():
            if ComputeAPI.topic in member.topics:
                known = best.get(member.host)
                if known is None or _rank(member) < _rank(known):
                    best[member.host] = member
        return [_life(member) for member in best.values()]

    def life(self, host: str) -> HostLife:
        """What is believed of `host` now; a host never heard of since our start is `unknown`."""
        for life in self.all():
            if life.host == host:
                return life
        return HostLife(host=host, alive=False, status=Status.UNKNOWN, age_s=None, detail="not heard since our start")

    def put_out(self) -> dict[str, tuple[str, float]]:
        return self._bus.hosts_put_out()

    def is_down(self, host: str) -> bool:
        """Known to be down or gone; False while nothing is known."""
        if host in self.alive():  # asked for each call that fails: no look at thousands of members for one
            return False
        return self.life(host).status in (Status.DOWN, Status.LEFT)

    def _changed(self, member: Member, before: Status) -> None:
        self.changes += 1
        if ComputeAPI.topic in member.topics:
            if member.status in _HEARD:
                self._alive.add(member.host)
            else:
                self._alive.discard(member.host)


def _rank(member: Member) -> int:
    return [Status.UP, Status.SUSPECT, Status.UNKNOWN, Status.DOWN, Status.LEFT].index(member.status)


def _life(member: Member) -> HostLife:
    return HostLife(
        host=member.host,
        alive=member.status in (Status.UP, Status.SUSPECT) and not member.quarantine,
        status=member.status,
        age_s=member.beat_age_s,
        detail=member.detail,
    )
