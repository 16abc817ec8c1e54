"""The networks this host carries: one hand on the carrier, kept equal to what the store wants.

Between agents and carrier: order, the metadata service per bridge, and when to ask the store anew. No
devices are touched here; that is the carrier's.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import gevent
from gevent.event import Event
from gevent.lock import RLock

from nova0 import atomic_file
from nova0.host.metadata.server import MetadataServer
from nova0.host.network.carrier import Carrier
from nova0.objects.errors import NetworkError, NotSupported
from nova0.objects.network import NetworkPiece, NetworkView, Port, bridge_name, whole
from nova0.rpcapi.conductor import ConductorAPI

LOG = logging.getLogger(__name__)
RETRY_S = (1.0, 30.0)  # first and longest pause between attempts that fail
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
        self._keeper: gevent.Greenlet | None = None

    def open(self) -> None:
        """Take up what an earlier run left, serve its metadata, start keeping it fresh."""
        self.carrier.open()
        for network_id in self.carrier.carried():
            self._serve(network_id)
        self._keeper = gevent.spawn(self._keep)

    def close(self) -> None:
        """Guests keep their networks; only the metadata service ends with this process."""
        if self._keeper is not None:
            self._keeper.kill()
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

    def device(self, network_id: str) -> str:
        """The device through which guests of a network are reached. Raises NotSupported, NetworkError."""
        if self.metadata is None:
            raise NotSupported(f"{self.host}: its networks are books only: no guest answers there")
        if network_id not in self.carrier.carried():
            raise NetworkError(f"{self.host}: network {network_id} is not carried here: ask a host that has it")
        return bridge_name(network_id)

    def connect(self, network_id: str, ip: str, port: int) -> str:
        """The first line a guest's TCP port says, at most 255 characters; "" when it says nothing."""
        if self.metadata is None:
            raise NotSupported(f"{self.host}: its networks are books only: nothing answers at {ip}")
        where = f"{self.host}: connect to {ip} port {port}"
        if network_id not in self.carrier.carried():
            raise NetworkError(f"{where}: its network {network_id} is not carried here: ask a host that has it")
        link = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_STREAM)
        try:
            link.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, bridge_name(network_id).encode())
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

    def _serve(self, network_id: str) -> None:
        if self.metadata is not None:
            self.metadata.serve(network_id, bridge_name(network_id))

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
