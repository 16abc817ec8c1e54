"""Who is alive: the rules, as a function of time and what was heard. No socket, no clock of its own.

Silence makes a suspect, an unanswered probe makes it down; a cut link is suspected at once. After a
stall of its own a node starts its timers again before it judges others.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from nova0.mesh.members import Status
from nova0.mesh.peer import Peer

STALL_S = 1.0  # between two ticks: this node itself was held
CUT_S = 0.3  # a peer whose connection to us broke may dial anew within this before it is suspected


class Verdict(Struct):
    """What is to be done about one peer."""

    peer: Peer
    status: Status | None = None  # to become
    detail: str = ""
    probe: bool = False


class Judge:
    """Of thousands only a few are looked at in most ticks: who is suspected or cut. The others are when the one
    heard longest ago may be silent for too long."""

    def __init__(self, silence_s: float, probe_s: float) -> None:
        self._silence_s, self._probe_s = silence_s, probe_s
        self._last: float | None = None
        self._calm_until = 0.0  # nobody else can be silent for too long before
        self._restless: dict[str, Peer] = {}

    def tick(self, now: float, peers: Iterable[Peer]) -> list[Verdict]:
        """Verdicts on watched peers among all of them; call several times a second with the monotonic clock."""
        if self._last is not None and now - self._last > STALL_S:
            lost = now - self._last
            for peer in peers:
                if not peer.watched:
                    continue
                if peer.heard_at is not None:
                    peer.heard_at += lost
                if peer.cut_at is not None:
                    peer.cut_at += lost
                if peer.status is Status.SUSPECT:
                    peer.suspect_at += lost
            self._calm_until = now
        self._last = now
        verdicts = []
        all_of_them = now >= self._calm_until
        looked_at = peers if all_of_them else list(self._restless.values())
        oldest = now
        self._restless = {}
        for peer in looked_at:
            if not peer.watched or peer.heard_at is None:
                continue
            if peer.status is Status.UP:
                oldest = min(oldest, peer.heard_at)
                if now - peer.heard_at > self._silence_s:
                    verdicts.append(self.suspect(peer, now, "beats missed"))
                elif peer.cut_at is not None and now - peer.cut_at >= CUT_S:
                    peer.cut_at = None
                    if peer.link is None or not peer.link.up:
                        verdicts.append(self.suspect(peer, now, "its connection is cut"))
                elif peer.cut_at is not None:
                    self.look_at(peer)
            elif peer.status is Status.SUSPECT:
                self.look_at(peer)
                if now - peer.suspect_at >= self._probe_s:
                    verdicts.append(Verdict(peer, Status.DOWN, why(peer)))
                elif now - peer.probed_at >= 0.5:
                    peer.probed_at = now
                    verdicts.append(Verdict(peer, probe=True))
        if all_of_them:
            self._calm_until = oldest + self._silence_s
        return verdicts

    def look_at(self, peer: Peer) -> None:
        """In the next tick: something is with it, or it has not been watched before."""
        self._restless[peer.node] = peer

    def suspect(self, peer: Peer, now: float, detail: str) -> Verdict:
        """Also for a link seen cut: the clock of its probe starts here."""
        peer.suspect_at = peer.probed_at = now
        self.look_at(peer)
        return Verdict(peer, Status.SUSPECT, detail, probe=True)


def why(peer: Peer) -> str:
    """What is known of the reason, for a person."""
    link = peer.link
    if link is not None and link.up:
        return "its link is up but no beats come: its loop is held"
    if peer.connected:
        return "its connection stands but no beats come: its loop is held, or it was stopped just now"
    if link is not None and link.reached:
        return "its machine takes connections, its process does not answer: it is stopped"
    trouble = link.trouble if link is not None else ""
    return f"no beats, no answer to probes; {trouble}" if trouble else "no beats, no answer to probes"
