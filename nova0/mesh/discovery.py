"""mDNS/DNS-SD: who else of this cluster is on the link. A hint, never a proof; everything is bounded.

zeroconf runs on an event loop in a real thread, for asyncio and gevent's patches do not mix; only plain
values cross, by `native.Mailbox`.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import socket
import time
from typing import TYPE_CHECKING, Any

import gevent
import ifaddr
from zeroconf import InterfaceChoice, IPVersion, ServiceInfo, ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from nova0.mesh import wire
from nova0.mesh.keys import key_bytes, key_text
from nova0.native import Mailbox, thread

if TYPE_CHECKING:
    from nova0.mesh.node import Node

LOG = logging.getLogger(__name__)
TYPE = "_nova0._tcp.local."
MOST_NAMES = 1024  # records looked at; anybody on the link can make more
MOST_AT_ONCE = 16
RESOLVE_MS = 3000
CLOSE_S = 1.5


class Discovery:
    """One record for this process, one browser, the chosen interfaces."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._cluster = cluster_hash(node.identity.cluster)
        self._mailbox = Mailbox(self._heard)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: asyncio.Event | None = None
        self._closed = False
        self._names: set[str] = set()

    def start(self) -> None:
        card = self._node.card()
        properties = record(card, self._cluster)
        name = f"{card.node.replace('/', '-')[:40]}-{card.key.hex()[:8]}.{TYPE}"
        chosen = interfaces(self._node.settings.interfaces, self._node.settings.listen)
        info = ServiceInfo(
            TYPE,
            name,
            addresses=[socket.inet_pton(socket.AF_INET, card.address)] if ":" not in card.address else [],
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
            properties, addresses = about
            card = read_record(properties, addresses, self._cluster)
            if card is not None:
                peer = self._node.roster.hint(card)
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
        gate = asyncio.Semaphore(MOST_AT_ONCE)
        tasks: set[asyncio.Task[None]] = set()
        service = AsyncZeroconf(interfaces=chosen, ip_version=IPVersion.V4Only)
        try:

            def changed(zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
                if state_change is ServiceStateChange.Removed:
                    self._names.discard(name)
                    return
                if name == info.name or (name not in self._names and len(self._names) >= MOST_NAMES):
                    return
                self._names.add(name)
                task = asyncio.ensure_future(self._resolve(service, name, gate))
                tasks.add(task)
                task.add_done_callback(tasks.discard)

            browser = AsyncServiceBrowser(service.zeroconf, [TYPE], handlers=[changed])
            await (await service.async_register_service(info, allow_name_change=True))
            await self._end.wait()
            await browser.async_cancel()
            await (await service.async_unregister_service(info))
        finally:
            await service.async_close()

    async def _resolve(self, service: AsyncZeroconf, name: str, gate: asyncio.Semaphore) -> None:
        async with gate:
            info = AsyncServiceInfo(TYPE, name)
            if await info.async_request(service.zeroconf, RESOLVE_MS):
                self._post("found", dict(info.properties), info.parsed_addresses()[:4])


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


def read_record(properties: dict[bytes, bytes | None], addresses: list[str], cluster: str) -> wire.Card | None:
    """A card to try, or None for a record that is of another cluster, or malformed. Never raises."""
    try:
        text = {k.decode(): (v or b"").decode() for k, v in properties.items()}
        if text["c"] != cluster or not addresses or len(text["n"]) > 130 or "/" not in text["n"]:
            return None
        rpc, door, pub, ear = (int(port) for port in text["p"].split(","))
        if not all(0 <= port < 65536 for port in (rpc, door, pub, ear)):
            return None
        key = key_bytes(text["k"])
        if len(key) != 32:
            return None
        return wire.Card(
            text["n"], tuple(text["r"].split(","))[:8], (), addresses[0], rpc, door, pub, ear, key,
            text.get("s", "")[:40], min(int(text["b"]), 2**53), -1,
        )  # fmt: skip
    except (KeyError, ValueError, UnicodeDecodeError):
        return None


def interfaces(names: tuple[str, ...], listen: str) -> Any:
    """Addresses for zeroconf from addresses or interface names; default: where we listen, or all."""
    chosen: list[str] = []
    for adapter in ifaddr.get_adapters():
        for address in adapter.ips:
            if address.is_IPv4 and isinstance(address.ip, str) and {address.ip, adapter.name} & set(names):
                chosen.append(address.ip)
    if chosen or names:
        return chosen or list(names)
    return InterfaceChoice.All if listen in ("", "0.0.0.0", "::", "*") else [listen]  # noqa: S104
