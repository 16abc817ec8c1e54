"""The networks this host carries: one hand on the carrier, kept equal to what the store wants.

Between agents and carrier: order, the metadata service in each namespace, and when to ask the store anew. No
devices are touched here; that is the carrier's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import gevent
from gevent import socket
from gevent.event import Event
from gevent.lock import RLock

from nova0 import atomic_file
from nova0.host.metadata.server import MetadataServer
from nova0.host.network.carrier import Carrier
from nova0.objects.errors import NetworkError
from nova0.objects.network import NetworkPiece, NetworkView, Port, whole
from nova0.rpcapi.conductor import ConductorAPI

LOG = logging.getLogger(__name__)
RETRY_S = (1.0, 30.0)  # first and longest pause between attempts that fail
TOGETHER_S = 0.2  # changes of members that come so close become one
BANNER_S = 5.0  # a guest's port may take so long to accept and say its first line


def fetch_views(conductor: ConductorAPI) -> list[NetworkView]:
    """The whole desired state, asked for in pieces. Raises the mesh's errors, and NetworkError for pieces that do not
    fit together."""
    pieces: dict[str, list[NetworkPiece]] = {}
    after = ""
    while True:
        page = conductor.networks_after(after)
        for piece in page.pieces:
            pieces.setdefault(piece.view.id, []).append(piece)
        if not page.after:
            break
        if page.after <= after:  # never taken for the end: what is not told is forgotten here
            raise NetworkError("the controller's word on networks has no end: see its log")
        after = page.after
    try:
        return [whole(several) for several in pieces.values()]
    except ValueError as error:
        raise NetworkError(f"the controller's word on networks: {error}") from error


class Networks:
    """`fetch` asks the controller for the whole desired state; `in_use` tells the networks that instances
    here need, whatever an older answer of the store says; `metadata` is None where no devices exist."""

    def __init__(
        self,
        host: str,
        carrier: Carrier,
        fetch: Callable[[], list[NetworkView]],
        in_use: Callable[[], set[str]],
        metadata: MetadataServer | None,
    ) -> None:
        self.host, self.carrier, self._fetch, self._in_use, self.metadata = host, carrier, fetch, in_use, metadata
        self._hand = RLock()  # the carrier sees one request at a time
        self._asked = Event()
        self._members: Callable[[], frozenset[str]] | None = None  # to be told to the carrier
        self._members_changed = Event()
        self._shielder: gevent.Greenlet | None = None
        self._keeper: gevent.Greenlet | None = None

    def open(self) -> None:
        """Take up what an earlier run left, serve its metadata, start keeping it fresh."""
        self.carrier.on_rebuilt = self._serve
        self.carrier.open()
        for network_id in self.carrier.carried():
            try:
                self._serve(network_id)
            except NetworkError as error:  # it could not be mended yet, which was told
                LOG.debug("%s: no metadata yet: %s", self.host, error)
        self._keeper = gevent.spawn(self._keep)
        self._shielder = gevent.spawn(self._shield_on)

    def close(self) -> None:
        """Guests keep their networks; only the metadata service ends with this process."""
        for greenlet in (self._keeper, self._shielder):
            if greenlet is not None:
                greenlet.kill()
        if self.metadata is not None:
            self.metadata.close()
        self.carrier.close()

    def carried(self) -> dict[str, int]:
        return self.carrier.carried()

    def apply(self, view: NetworkView) -> None:
        """Raises NetworkError."""
        with self._hand, self._disk(f"network {view.name or view.id}"):
            self.carrier.apply(view)
            self._serve(view.id)

    def plug(self, port: Port) -> None:
        """Raises NetworkError. A network that is not carried (the machine restarted) is asked for first."""
        if port.network_id not in self.carrier.carried():
            self.fetch_anew()
        with self._hand, self._disk(f"plug {port.tap}"):
            self.carrier.plug(port)

    def unplug(self, port_id: str) -> None:
        with self._hand, self._disk(f"unplug port {port_id}"):
            self.carrier.unplug(port_id)

    def forget_unused(self, network_ids: set[str]) -> None:
        """Stop carrying those of them that no instance here needs."""
        with self._hand, self._disk("networks that nobody uses"):
            for network_id in network_ids - self._in_use():
                self.carrier.forget(network_id)
                if self.metadata is not None:
                    self.metadata.stop(network_id)

    def ask_anew(self) -> None:
        """Have the desired state fetched soon; many requests at once become one."""
        self._asked.set()

    def fetch_anew(self) -> None:
        """Fetch the desired state and make it so. Raises the mesh's errors when the controller does not
        answer (nothing is changed then), NetworkError after trying all when some network failed."""
        views = self._fetch()
        failed: list[str] = []
        for view in views:
            try:
                self.apply(view)
            except NetworkError as error:
                failed.append(error.message)
            except Exception as error:  # one network never keeps the others waiting
                LOG.exception("%s: network %s", self.host, view.id)
                failed.append(f"{self.host}: network {view.name}: {type(error).__name__}: {error}")
        self.forget_unused(set(self.carrier.carried()) - {view.id for view in views})
        if failed:
            raise NetworkError("; ".join(failed))

    def shield(self, members: Callable[[], frozenset[str]]) -> None:
        """Have guests kept from these addresses soon, those of the cluster's machines; many changes become one."""
        self._members = members
        self._members_changed.set()

    def socket(self, network_id: str) -> socket.socket:
        """A TCP socket that reaches the guests of a network. Raises NotSupported, NetworkError."""
        try:
            return self.carrier.namespace(network_id).socket()
        except OSError as error:
            raise NetworkError(f"{self.host}: network {network_id}: {error}") from error

    def connect(self, network_id: str, ip: str, port: int) -> str:
        """The first line a guest's TCP port says, at most 255 characters; "" when it says nothing."""
        where = f"{self.host}: connect to {ip} port {port}"
        link = self.socket(network_id)
        try:
            link.settimeout(BANNER_S)
            link.connect((ip, port))
            try:
                said = link.recv(255)
            except TimeoutError:
                said = b""
        except OSError as error:
            raise NetworkError(f"{where}: {error}: does the guest run, do its security groups allow it?") from error
        finally:
            link.close()
        return said.split(b"\n")[0].decode("utf-8", "replace").strip()

    @contextmanager
    def _disk(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            remedy = "free space on this host, then ask again" if atomic_file.is_full(error) else "see this host's log"
            raise NetworkError(f"{self.host}: {what}: {error}: {remedy}") from error

    def _shield_on(self) -> None:
        while True:
            self._members_changed.wait()
            gevent.sleep(TOGETHER_S)
            self._members_changed.clear()
            try:
                with self._hand:
                    self.carrier.shield(self._members() if self._members else frozenset())
            except (NetworkError, OSError) as error:
                LOG.error("%s: keeping guests from the cluster's machines: %s; tried again", self.host, error)
                gevent.sleep(RETRY_S[0])
                self._members_changed.set()

    def _serve(self, network_id: str) -> None:
        if self.metadata is not None:
            self.metadata.serve(network_id, self.carrier.namespace(network_id))

    def _keep(self) -> None:
        pause_s: float | None = None  # until asked
        while True:
            asked = self._asked.wait(pause_s)
            self._asked.clear()
            try:
                self.fetch_anew()
                pause_s = None
            except Exception as error:  # noqa: BLE001 - the keeper outlives every failure and tells its first
                level = logging.WARNING if pause_s is None else logging.DEBUG
                LOG.log(level, "%s: keeping networks: %s; tried again until it works", self.host, error)
                pause_s = RETRY_S[0] if asked or pause_s is None else min(2 * pause_s, RETRY_S[1])
