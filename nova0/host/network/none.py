"""A carrier that keeps the books and touches no device: for the fake driver and for tests of the rest."""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from nova0 import atomic_file
from nova0.host.network.carrier import Carrier
from nova0.host.network.namespace import Namespace
from nova0.objects.errors import NetworkError, NotSupported
from nova0.objects.network import NetworkView, Port

LOG = logging.getLogger(__name__)


class _Plugged(msgspec.Struct):
    network_id: str
    tap: str
    mac: str


class _Books(msgspec.Struct):
    revisions: dict[str, int] = {}
    bridges: dict[str, str] = {}
    plugged: dict[str, _Plugged] = {}


class NoCarrier(Carrier):
    """`state_dir`/fake-networks.json outlives the process unless `persist` is off, as devices would."""

    def __init__(self, host: str, state_dir: Path, persist: bool = True) -> None:
        super().__init__()
        self.host, self._file, self._persist = host, state_dir / "fake-networks.json", persist
        self._books = _Books()

    def open(self) -> None:
        if self._persist and self._file.exists():
            try:
                self._books = msgspec.json.decode(self._file.read_bytes(), type=_Books)
            except (OSError, msgspec.DecodeError) as error:
                LOG.warning("%s: %s cannot be read (%s); its networks are asked for anew", self.host, self._file, error)

    def apply(self, view: NetworkView) -> bool:
        if view.revision < self._books.revisions.get(view.id, -1):
            return False
        wanted = {port.id for port in view.ports}
        gone = [id_ for id_, port in self._books.plugged.items() if port.network_id == view.id and id_ not in wanted]
        if gone or self._books.revisions.get(view.id) != view.revision:
            for port_id in gone:
                del self._books.plugged[port_id]
            self._books.revisions[view.id] = view.revision
            self._books.bridges[view.id] = view.bridge
            self._save()
        return True

    def plug(self, port: Port) -> None:
        if port.network_id not in self._books.revisions:
            raise NetworkError(
                f"{self.host}: plug {port.tap}: network {port.network_name} is not carried here: apply it first"
            )
        if port.id not in self._books.plugged:
            self._books.plugged[port.id] = _Plugged(port.network_id, port.tap, port.mac)
            self._save()

    def unplug(self, port_id: str) -> None:
        if self._books.plugged.pop(port_id, None) is not None:
            self._save()

    def forget(self, network_id: str) -> None:
        if self._books.revisions.pop(network_id, None) is not None:
            self._books.bridges.pop(network_id, None)
            self._books.plugged = {i: p for i, p in self._books.plugged.items() if p.network_id != network_id}
            self._save()

    def namespace(self, network_id: str) -> Namespace:
        raise NotSupported(f"{self.host}: its networks are books only: no guest answers there")

    def shield(self, addresses: frozenset[str]) -> None:
        pass

    def carried(self) -> dict[str, int]:
        return dict(self._books.revisions)

    def inventory(self) -> dict[str, list[str]]:
        plugged = self._books.plugged
        return {
            "taps": sorted(port.tap for port in plugged.values()),
            "bridges": sorted(self._books.bridges.values()),
            "leases": sorted(port.mac for port in plugged.values()),
            "rules": sorted(plugged),
        }

    def close(self) -> None:
        self._save()

    def _save(self) -> None:
        if not self._persist:
            return
        atomic_file.write(self._file, msgspec.json.encode(self._books), sync=False)
