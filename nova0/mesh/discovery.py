"""mDNS/DNS-SD: who else of this cluster is on the link. A hint, never a proof; everything is bounded.

zeroconf runs on an event loop in a real thread, for asyncio and gevent's patches do not mix; only plain
values cross, by `native.Mailbox`.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import logging
import socket
import time
from typing import Any, Protocol

import gevent
import msgspec
from zeroconf import InterfaceChoice, IPVersion, ServiceInfo, ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from nova0.mesh import addresses, wire
from nova0.mesh.identity import Identity
from nova0.mesh.keys import key_bytes, key_text
from nova0.mesh.roster import Roster
from nova0.mesh.settings import MeshSettings
from nova0.native import Mailbox, thread

LOG = logging.getLogger(__name__)
TYPE = "_nova0._tcp.local."
MOST_AT_ONCE = 16
MOST_WAITING = 256  # names waiting to be looked at; anybody on the link can make more
MOST_ADDRESSES = 8  # of one record
RESOLVE_MS = 1000
NETWORKS_S = 5.0  # asking the kernel for them takes a millisecond, too much for each record of a flood
EVERYWHERE = ("", "0.0.0.0", "::", "*")  # noqa: S104
CLOSE_S = 1.5


class Home(Protocol):
    """What discovery needs of its node."""

    settings: MeshSettings
    node: str
    identity: Identity
    roster: Roster

    def card(self) -> wire.Card: ...


class Discovery:
    """One record for this process, one browser, the chosen interfaces."""

    def __init__(self, node: Home) -> None:
        self._node = node
        self._cluster = cluster_hash(node.identity.cluster)
        self._mailbox = Mailbox(self._heard)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: asyncio.Event | None = None
        self._closed = False
        self._networks: tuple[float, list[Any]] = (-NETWORKS_S, [])

    def start(self) -> None:
        card = self._node.card()
        properties = record(card, self._cluster)
        name = f"{card.node.replace('/', '-')[:40]}-{card.key.hex()[:8]}.{TYPE}"
        settings = self._node.settings
        chosen = interfaces(settings.interfaces, settings.listen)
        own = [card.address]
        if settings.listen in EVERYWHERE:
            six = ":" in settings.listen
            found = addresses.addresses_of(settings.interfaces)
            own += [a for a in found if (six or ":" not in a) and not a.startswith("127.") and a != "::1"]
        info = ServiceInfo(
            TYPE,
            name,
            addresses=packed(own)[:MOST_ADDRESSES],
            port=card.door_port,
            properties=properties,
            server=f"{name.removesuffix('.' + TYPE)}.local.",
        )
        thread(lambda: self._run(info, chosen))

    def stop(self) -> None:
        """Say goodbye; waits a moment for it."""
        loop, end = self._loop, self._end
        if loop is not None and end is not None and not self._closed:
            try:
                loop.call_soon_threadsafe(end.set)
            except RuntimeError:
                self._closed = True  # its loop has ended by itself
        until = time.monotonic() + CLOSE_S
        while not self._closed and loop is not None and time.monotonic() < until:
            gevent.sleep(0.02)
        self._mailbox.close()

    # in gevent's loop

    def _heard(self, what: str, *about: Any) -> None:
        if what == "found":
            card, second = about
            peer = self._node.roster.hint(card)
            if peer is not None and peer.chain is None and peer.card is card and second:  # dialled in turn
                peer.hint = msgspec.structs.replace(card, address=second)
            if peer is not None and peer.watched and peer.link is not None and not peer.link.up:
                peer.link.hurry()
        elif what == "closed":
            self._closed = True
        elif what == "failed":
            self._closed = True
            LOG.warning(
                "%s: mDNS does not work here (%s): others are found by `--join HOST` and from memory only",
                self._node.node,
                about[0],
            )

    # on the thread

    def _run(self, info: ServiceInfo, chosen: Any) -> None:
        try:
            asyncio.run(self._serve(info, chosen))
            self._post("closed")
        except Exception as error:  # noqa: BLE001  (told to the loop, which logs it)
            self._post("failed", f"{type(error).__name__}: {error}")

    def _post(self, *message: Any) -> None:
        if not self._closed:
            self._mailbox.post(*message)

    async def _serve(self, info: ServiceInfo, chosen: Any) -> None:
        self._end = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        tasks: set[asyncio.Task[None]] = set()
        waiting: dict[str, None] = {}
        six = not isinstance(chosen, InterfaceChoice) and any(":" in address for address in chosen)
        service = AsyncZeroconf(interfaces=chosen, ip_version=IPVersion.All if six else IPVersion.V4Only)
        try:

            def look(done: asyncio.Task[None] | None = None) -> None:
                if done is not None:
                    tasks.discard(done)
                while waiting and len(tasks) < MOST_AT_ONCE:
                    name, _ = waiting.popitem()  # the latest: who comes after a flood does not wait for its end
                    task = asyncio.ensure_future(self._resolve(service, name))
                    tasks.add(task)
                    task.add_done_callback(look)

            def changed(zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
                waiting.pop(name, None)
                if state_change is ServiceStateChange.Removed or name == info.name:
                    return
                waiting[name] = None
                if len(waiting) > MOST_WAITING:
                    del waiting[next(iter(waiting))]
                look()

            browser = AsyncServiceBrowser(service.zeroconf, [TYPE], handlers=[changed])
            await (await service.async_register_service(info, allow_name_change=True))
            await self._end.wait()
            await browser.async_cancel()
            await (await service.async_unregister_service(info))
        finally:
            await service.async_close()

    async def _resolve(self, service: AsyncZeroconf, name: str) -> None:
        info = AsyncServiceInfo(TYPE, name)
        if not await info.async_request(service.zeroconf, RESOLVE_MS):
            return
        now = time.monotonic()
        if now - self._networks[0] > NETWORKS_S:
            self._networks = (now, addresses.networks())
        near = nearest(info.parsed_scoped_addresses()[:MOST_ADDRESSES], self._networks[1])
        card = read_record(dict(info.properties), near, self._cluster)
        if card is not None:
            self._post("found", card, near[1] if len(near) > 1 else "")


def cluster_hash(cluster: bytes) -> str:
    return hashlib.blake2b(cluster, digest_size=8).hexdigest()


def record(card: wire.Card, cluster: str) -> dict[str, str]:
    """The TXT record: nothing secret, and the whole public key."""
    return {
        "v": "1",
        "c": cluster,
        "n": card.node,
        "r": ",".join(card.roles),
        "p": f"{card.rpc_port},{card.door_port},{card.pub_port},{card.ear_port}",
        "k": key_text(card.key),
        "b": str(card.boot),
        "s": card.version,
    }


def read_record(properties: dict[bytes, bytes | None], found: list[str], cluster: str) -> wire.Card | None:
    """A card to try, or None for a record that is of another cluster, or malformed. Never raises."""
    try:
        text = {k.decode(): (v or b"").decode() for k, v in properties.items()}
        if text["c"] != cluster or not found or len(text["n"]) > 130 or "/" not in text["n"]:
            return None
        rpc, door, pub, ear = (int(port) for port in text["p"].split(","))
        if not all(0 <= port < 65536 for port in (rpc, door, pub, ear)):
            return None
        key = key_bytes(text["k"])
        if len(key) != 32:
            return None
        return wire.Card(
            text["n"], tuple(text["r"].split(","))[:8], (), found[0], rpc, door, pub, ear, key,
            text.get("s", "")[:40], min(int(text["b"]), 2**53), -1,
        )  # fmt: skip
    except (KeyError, ValueError, UnicodeDecodeError):
        return None


def interfaces(names: tuple[str, ...], listen: str) -> Any:
    """Addresses for zeroconf from addresses or interface names; default: where we listen, or all. Who listens on
    IPv4 only speaks of itself there only."""
    if not names and listen not in EVERYWHERE:
        return [listen.partition("%")[0]]
    chosen = [
        text.partition("%")[0]
        for text in addresses.addresses_of(names)
        if text in names or (":" not in text if ":" not in listen else text != "::1")  # Linux: no multicast over it
    ]
    return chosen or list(names) or InterfaceChoice.All


def packed(texts: list[str]) -> list[bytes]:
    """As DNS records carry them; a scope means nothing on another machine."""
    plain = dict.fromkeys(text.partition("%")[0] for text in texts)
    return [socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text) for text in plain]


def nearest(found: list[str], own: list[Any]) -> list[str]:
    """Those on a network of this machine first; then link-local ones; loopback last."""

    def far(text: str) -> int:
        try:
            address = ipaddress.ip_address(text.partition("%")[0])
        except ValueError:
            return 9
        if address.is_loopback:
            return 3
        if address.is_link_local:
            return 1
        return 0 if any(address in network for network in own) else 2

    return sorted(found, key=far)
