"""What this host says it can hold: the driver's measure, less what the machine keeps, with its addresses."""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec
from oslo_config import cfg

from nova0.config import CONF, declare
from nova0.host.compute.load import Load
from nova0.host.virt.driver import Driver
from nova0.mesh.errors import BadArguments
from nova0.objects.fields import one_line
from nova0.objects.host import MOST_NOTES, HostState
from nova0.rpcapi.conductor import ConductorAPI

LOG = logging.getLogger(__name__)

declare(
    [
        cfg.IntOpt(
            "reserved_host_memory_mb", default=512, min=0, help="Memory kept from servers for the machine, MiB."
        ),
        cfg.IntOpt("reserved_host_disk_mb", default=0, min=0, help="Disk kept from servers for the machine, MiB."),
        cfg.IntOpt("reserved_host_cpus", default=0, min=0, help="Processors kept from servers for the machine."),
        cfg.FloatOpt("cpu_allocation_ratio", min=0, help="vCPUs for each CPU here. Default: the controller's."),
        cfg.FloatOpt("ram_allocation_ratio", min=0, help="Memory for each MiB here. Default: the controller's."),
        cfg.FloatOpt("disk_allocation_ratio", min=0, help="Disk for each GiB here. Default: the controller's."),
        cfg.ListOpt("traits", default=[], help="Traits of this machine that flavors may require, e.g. CUSTOM_SSD."),
        cfg.ListOpt(
            "custom_resources",
            default=[],
            help="Custom resource classes and how many there are, e.g. CUSTOM_GPU:2; CUSTOM_PCI_ALIAS for PCI devices.",
        ),
    ]
)


def custom_resources() -> dict[str, int]:
    """Class -> how many. Raises ValueError naming the entry that can't be read."""
    found = {}
    for entry in CONF.custom_resources:
        name, _, number = entry.partition(":")
        if not name.startswith("CUSTOM_") or not number.strip().isdecimal():
            raise ValueError(f"custom_resources: {entry!r} is not CUSTOM_NAME:NUMBER")
        found[name.strip()] = int(number)
    return found


class Resources:
    """`notes` are the driver's words for people, `doubts` what this host does not do for now; both are sent along."""

    def __init__(
        self,
        driver: Driver,
        conductor: Callable[[], ConductorAPI],
        *,
        address: str = "",
        tunnel_address: str = "",
        notes: list[str] | None = None,
        load: Load | None = None,
        doubts: Callable[[], list[str]] = list,
    ) -> None:
        self._driver, self._conductor = driver, conductor
        self._address, self._tunnel_address, self._notes = address, tunnel_address, notes or []
        self._load, self._doubts = load or Load(), doubts
        self._refused = ""  # why the last report was not taken

    def state(self) -> HostState:
        """Measured now."""
        measured = self._driver.host_state()
        return msgspec.structs.replace(
            measured,
            address=measured.address or self._address,
            tunnel_address=measured.tunnel_address or self._tunnel_address,
            reserved_memory_mb=measured.reserved_memory_mb or CONF.reserved_host_memory_mb,
            reserved_disk_gb=measured.reserved_disk_gb or -(-CONF.reserved_host_disk_mb // 1024),
            reserved_vcpus=measured.reserved_vcpus or CONF.reserved_host_cpus,
            cpu_allocation_ratio=CONF.cpu_allocation_ratio,
            ram_allocation_ratio=CONF.ram_allocation_ratio,
            disk_allocation_ratio=CONF.disk_allocation_ratio,
            traits=sorted({*measured.traits, *CONF.traits}),
            resources={**measured.resources, **custom_resources()},
            metrics={**self._load.metrics(), **measured.metrics},
            notes=[
                *list(dict.fromkeys(one_line(note) for note in (*self._notes, *measured.notes)))[: MOST_NOTES - 1],
                *self._doubts()[:1],
            ],
        )

    def report(self) -> None:
        """Raises the mesh's errors when the controller does not answer. What it does not take of this host is told
        in the log, once: guests here go on, and what the store knew before counts."""
        state = self.state()
        try:
            self._conductor().report(state)
        except BadArguments as error:
            if error.message != self._refused:
                LOG.error(
                    "%s: the controller does not take what this host says of itself (%s): mend that; what it said "
                    "before counts until then",
                    *(state.host, error.message),
                )
            self._refused = error.message
        else:
            self._refused = ""
