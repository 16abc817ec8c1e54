"""How busy this machine is: what MetricsWeigher and MetricsFilter look at, under the field's names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

AGAIN_S = 5.0  # asked again sooner: the same answer, for a shorter time says little


@dataclass(frozen=True)
class Sample:
    """Sums since the machine's start: seconds, ticks by kind, bytes."""

    uptime_s: float = 0.0
    user: int = 0
    kernel: int = 0
    idle: int = 0
    iowait: int = 0
    others: int = 0
    received: int = 0
    sent: int = 0


class Load:
    """`metrics` tells of the time since it was asked before; at first, since the machine's start."""

    def __init__(self, proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> None:
        self._proc, self._sys = proc, sys
        self._before, self._told = Sample(), dict[str, float]()

    def metrics(self) -> dict[str, float]:
        """`cpu.*.percent` are shares from 0 to 1 of all processors; rates are bytes a second through the
        machine's own interfaces."""
        now, before = self._sample(), self._before
        seconds = now.uptime_s - before.uptime_s
        if self._told and seconds < AGAIN_S:
            return self._told
        kinds = ("user", "kernel", "idle", "iowait")
        ticks = {kind: max(0, getattr(now, kind) - getattr(before, kind)) for kind in kinds}  # iowait may step back
        whole = max(1, sum(ticks.values()) + now.others - before.others)
        shares = {f"cpu.{kind}.percent": ticks[kind] / whole for kind in kinds}
        self._told = shares | {
            "cpu.percent": (whole - ticks["idle"]) / whole,
            "network.incoming.bytes.rate": max(0.0, (now.received - before.received) / seconds),
            "network.outgoing.bytes.rate": max(0.0, (now.sent - before.sent) / seconds),
        }
        self._before = now
        return self._told

    def _sample(self) -> Sample:
        user, nice, system, idle, iowait, irq, soft, steal = self._ticks()
        received, sent = self._bytes()
        return Sample(
            uptime_s=float((self._proc / "uptime").read_text().split()[0]),
            user=user + nice,
            kernel=system + irq + soft,
            idle=idle,
            iowait=iowait,
            others=steal,
            received=received,
            sent=sent,
        )

    def _ticks(self) -> list[int]:
        line = (self._proc / "stat").read_text().partition("\n")[0]
        return [int(number) for number in line.split()[1:9]]  # guests' time is in user's already

    def _bytes(self) -> tuple[int, int]:
        """(received, sent) by the devices of the machine, not by bridges, tunnels and guests' taps, which would
        count the same bytes again; where it has none (a container), by the interface of the default route."""
        counted = {}
        for line in (self._proc / "net/dev").read_text().splitlines()[2:]:
            name, _, numbers = line.partition(":")
            fields = numbers.split()
            counted[name.strip()] = (int(fields[0]), int(fields[8]))
        own = [name for name in counted if (self._sys / "class/net" / name / "device").exists()]
        chosen = own or [name for name in self._default_route() if name in counted]
        return sum(counted[name][0] for name in chosen), sum(counted[name][1] for name in chosen)

    def _default_route(self) -> set[str]:
        rows = [line.split() for line in (self._proc / "net/route").read_text().splitlines()[1:]]
        return {row[0] for row in rows if row[1] == "00000000"}
