"""Take this cluster's guests, networks and own daemons off the machine, with no agent running.

What `nova0 leave` and `nova0 destroy` do to a host. Only what carries the cluster's id is touched; each thing removed
is told. Guests go first: what they stand on stays while one of them could not be removed.
"""

from __future__ import annotations

import importlib
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from nova0.config import CONF
from nova0.host.virt.driver import Driver
from nova0.host.virt.load import load_driver
from nova0.objects.errors import NetworkError


@dataclass(frozen=True, kw_only=True)
class Removal:
    """With the options that guests and networks were made with."""

    host: str
    cluster_id: str
    state_dir: Path
    compute_driver: str
    network_carrier: str = "none"
    connection_uri: str = ""
    image_cache_dir: str = ""

    def guests(self) -> list[str]:
        """uuids. Raises DriverError."""
        driver = self._driver()
        try:
            return [found.uuid for found in driver.found()]
        finally:
            driver.close()

    def remove(self) -> list[str]:
        """A line for each thing removed. Raises DriverError, NetworkError; can be repeated."""
        removed = self._driver().sweep()
        if self.network_carrier == "linux":
            from nova0.host.network.linux import LinuxCarrier

            if os.geteuid() != 0:
                raise NetworkError(f"{self.host}: links, rules and DHCP servers are root's to remove: use sudo")
            carrier = LinuxCarrier(self.host, self.cluster_id, self.state_dir)
            removed += carrier.sweep()
        return removed + self._cached_images()

    def _driver(self) -> Driver:
        if self.connection_uri:
            with suppress(ImportError):  # loading the driver says what is missing
                importlib.import_module("nova0.host.virt.libvirt.driver")
                CONF.set_override("connection_uri", self.connection_uri, group="libvirt")
        driver, _ = load_driver(self.compute_driver, self.host, self.cluster_id, self.state_dir)
        return driver

    def _cached_images(self) -> list[str]:
        """A cache below the state goes with it; of one elsewhere only images go, by the shape of their names."""
        from nova0.host.image.cache import sweep

        folder = Path(self.image_cache_dir) if self.image_cache_dir else None
        if folder is None or folder.is_relative_to(self.state_dir) or not folder.is_dir():
            return []
        return sweep(folder)
