"""One host put together: driver, networks, image cache, records, metadata service, and who keeps them true.

The only room that knows all parts; it has no steps of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

from oslo_config import cfg

from nova0.config import CONF, declare
from nova0.host.compute.adopt import Adoption
from nova0.host.compute.guests import Guests
from nova0.host.compute.networks import Networks, fetch_views
from nova0.host.compute.power_watch import PowerWatch
from nova0.host.compute.records import Records
from nova0.host.compute.resources import Resources
from nova0.host.disk import ownership
from nova0.host.image.cache import ImageCache
from nova0.host.metadata.server import MetadataServer
from nova0.host.network.carrier import Carrier
from nova0.host.network.none import NoCarrier
from nova0.host.virt.load import load_driver
from nova0.mesh.bus import Bus, Member, Status
from nova0.mesh.errors import Busy, CallTimeout, Unreachable
from nova0.mesh.surface import Role, Surface
from nova0.objects.errors import ControllerUnavailable, DriverError, NetworkError
from nova0.rpcapi.conductor import ConductorAPI
from nova0.rpcapi.images import ImagesAPI

LOG = logging.getLogger(__name__)
AGENTS = ("compute", "network")  # entry points of the group nova0.agents this machine answers with

declare(
    [
        cfg.IntOpt("max_concurrent_builds", default=10, min=1, help="Servers built at once on one host."),
        cfg.StrOpt("image_cache_dir", help="Where base images are kept. Default: images/_base under state_path."),
        cfg.StrOpt(
            "network_carrier",
            default="auto",
            help="linux: bridges, DHCP, tunnels; none: books only; auto: none with the fake driver, else linux.",
        ),
        cfg.StrOpt(
            "guest_nat",
            default="internet",
            choices=["all", "internet", "none"],
            help="What servers reach beyond their network, through this host and under its address. internet: all but "
            "the addresses of the cluster's machines; all: those too; none: nothing. The host itself is never reached.",
        ),
    ]
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What differs between machines. `address`: where peers reach it; `tunnel_address`: its VXLAN end, ""
    for no tunnels. An empty text or None means the option of that name decides."""

    cluster_id: str
    state_dir: Path
    address: str = ""
    tunnel_address: str = ""
    compute_driver: str = ""
    network_carrier: str = ""
    image_cache_dir: Path | None = None


class Machine:
    """`open` raises DriverError or NetworkError naming the remedy where this host can't work; then `bus`
    is offered `agents()` and started; `close` leaves guests and networks running."""

    def __init__(self, bus: Bus, settings: Settings) -> None:
        self.bus, self.settings, self.host = bus, settings, bus.host
        self.notes: list[str] = []

    def open(self) -> list[str]:
        """Load and open everything; returns notes for people. Comparison with the store begins when a
        controller answers."""
        s = self.settings
        try:
            self._open_files()
        except OSError as error:
            raise DriverError(
                f"{self.host}: its state directory: {error}: mend its rights or set state_path"
            ) from error
        self.driver, self.notes = load_driver(
            s.compute_driver or CONF.compute_driver,
            *(self.host, s.cluster_id, s.state_dir),
            address=s.address,
            tunnel_address=s.tunnel_address,
        )
        self._open_guests_files()
        carrier = self._carrier()
        metadata = None if isinstance(carrier, NoCarrier) else self._metadata_server()
        self.networks = Networks(
            self.host,
            carrier,
            fetch=lambda: fetch_views(self.conductor()),
            in_use=lambda: self.guests.networks_in_use(),
            metadata=metadata,
        )
        self.guests = Guests(
            host=self.host,
            state_dir=s.state_dir,
            driver=self.driver,
            networks=self.networks,
            images=self.images,
            records=self.records,
            conductor=self.conductor,
            builds_at_once=CONF.max_concurrent_builds,
            store_doubt=self.bus.store_doubt,
        )
        self.guests.disowned.open()
        self.resources = Resources(
            self.driver,
            self.conductor,
            address=s.address,
            tunnel_address=s.tunnel_address,
            notes=self.notes,
            doubts=self.guests.doubts,
        )
        self.networks.open()
        self.power = PowerWatch(self.guests)
        self.power.open()
        self.adoption = Adoption(self.guests, self.resources.report)
        self.adoption.open()
        self.bus.on_member(self._member_changed)
        self.adoption.adopt_soon()
        return self.notes

    def agents(self) -> list[Surface]:
        """The agents to offer, as installed (entry points `nova0.agents`): a wheel may replace them."""
        found = _installed()
        return [found[name](self) for name in AGENTS]

    def close(self) -> None:
        """End what only serves this process; guests, networks and records stay."""
        self.adoption.close()
        self.power.close()
        self.networks.close()
        self.driver.close()

    def conductor(self) -> ConductorAPI:
        return self.bus.stub(ConductorAPI)

    def tell(self, action: Callable[[], None]) -> None:
        """Run what tells the controller something. While it is away nothing need be said: adoption tells
        everything when it is back."""
        try:
            action()
        except (Unreachable, CallTimeout, Busy, ControllerUnavailable) as error:
            LOG.debug("%s: not told: %s", self.host, error)

    def _open_files(self) -> None:
        s = self.settings
        s.state_dir.mkdir(parents=True, exist_ok=True)
        self.records = Records(self.host, s.state_dir)
        self.records.open()
        cache = s.image_cache_dir or CONF.image_cache_dir or s.state_dir / "images" / "_base"
        self.images = ImageCache(self.bus, Path(cache), lambda: self.bus.stub(ImagesAPI))

    def _open_guests_files(self) -> None:
        """Folders that are the hypervisor's user's alone; what an earlier version made wider is narrowed."""
        s, owner = self.settings, self.driver.owner()
        try:
            ownership.passage(s.state_dir / "images")
            self.images.open(owner)
            owner.folder(s.state_dir / "instances")
            owner.everything(s.state_dir / "instances")
        except OSError as error:
            raise DriverError(
                f"{self.host}: the files of its guests: {error}: mend the rights of {s.state_dir}"
            ) from error

    def _carrier(self) -> Carrier:
        s = self.settings
        wanted = s.network_carrier or CONF.network_carrier
        if wanted == "auto":
            wanted = "none" if self.driver.name == "fake" else "linux"
        if wanted == "none":
            return NoCarrier(self.host, s.state_dir, persist=self.driver.name != "fake" or CONF.fake.persist)
        if wanted != "linux":
            raise NetworkError(f"{self.host}: network_carrier={wanted}: no such carrier: use auto, linux or none")
        from nova0.host.network.linux import LinuxCarrier

        return LinuxCarrier(self.host, s.cluster_id, s.state_dir, s.tunnel_address, guest_nat=CONF.guest_nat)

    def _metadata_server(self) -> MetadataServer:
        return MetadataServer(self.host, lambda network, address: self.guests.asker(network, address))

    def _members(self) -> frozenset[str]:
        """Addresses of the cluster's machines as known here, also of those that are silent."""
        return frozenset(member.address.rpartition(":")[0] for member in self.bus.members())

    def _member_changed(self, member: Member, old: Status) -> None:
        """A controller that is back may have decided while it did not hear us."""
        self.networks.shield(self._members)
        if Role.CONTROLLER in member.roles and member.status is Status.UP and old is not Status.UP:
            self.adoption.adopt_soon()


@cache
def _installed() -> dict[str, Callable[[Machine], Surface]]:
    """The agents' classes by name. Reading every installed package's entry points takes tens of milliseconds."""
    return {point.name: point.load() for point in entry_points(group="nova0.agents") if point.name in AGENTS}
