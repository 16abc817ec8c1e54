"""What carries networks on a host: the contract between the compute agent and the machine's plumbing.

`linux.py` does it with bridges, taps, VXLAN, dnsmasq and nft; `none.py` keeps the books only, for the
fake driver. Everything is idempotent; only devices and rules of this cluster are touched.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from nova0.host.network.namespace import Namespace
from nova0.objects.network import NetworkView, Port


class Carrier(ABC):
    def __init__(self) -> None:
        self.on_rebuilt: Callable[[str], None] = lambda network_id: None  # whose namespace may be another one

    @abstractmethod
    def open(self) -> None:
        """Look at what an earlier run left; nothing is removed. Raises NetworkError with a remedy when
        the machine can't (no nft, no rights)."""

    @abstractmethod
    def apply(self, view: NetworkView) -> bool:
        """Carry exactly this view: bridge, a namespace with gateway, metadata address and DHCP, tunnel and
        forwarding entries, each local port's anti-spoofing and rules. Ports of this host that the view lacks are
        unplugged. A view with a lower revision than the applied one is ignored (returns False)."""

    @abstractmethod
    def plug(self, port: Port) -> None:
        """Make the port's tap, on its network's bridge (applied before), ready for a guest."""

    @abstractmethod
    def unplug(self, port_id: str) -> None:
        """Remove tap, rules, DHCP entry and lease. Nothing there: fine."""

    @abstractmethod
    def forget(self, network_id: str) -> None:
        """Stop carrying the network: bridge, namespace, tunnel, dnsmasq, rules gone. Nothing there: fine."""

    @abstractmethod
    def namespace(self, network_id: str) -> Namespace:
        """Where the network's gateway is: sockets made in it reach its guests. Raises NetworkError when it is
        not carried, NotSupported where there are books only."""

    @abstractmethod
    def shield(self, addresses: frozenset[str]) -> None:
        """Addresses of the cluster's machines, which guests may not reach (unless guest_nat says so)."""

    @abstractmethod
    def carried(self) -> dict[str, int]:
        """network id -> revision applied, also those found after a restart (revision as stored)."""

    @abstractmethod
    def inventory(self) -> dict[str, list[str]]:
        """What of this cluster is on the machine: {"taps": [...], "bridges": [...], "leases": [mac],
        "rules": [port id]}."""

    @abstractmethod
    def close(self) -> None:
        """Leave everything running (guests go on) except what only serves this process."""
