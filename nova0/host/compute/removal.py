"""Take this cluster's guests, networks and own daemons off the machine, with no agent running.

What `nova0 down` does last. Only what carries the cluster's id is touched; each thing removed is told.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from nova0.config import CONF
from nova0.host.virt.load import load_driver
from nova0.objects.errors import DriverError, NetworkError

log = logging.getLogger(__name__)


def remove_all(host: str, cluster_id: str, state_dir: Path) -> list[str]:
    """Returns a line for each thing removed. A part that can't be opened (libvirt is not installed any
    more) is left, and said in the log; the other part is removed all the same."""
    removed: list[str] = []
    try:
        driver, _ = load_driver(CONF.compute_driver, host, cluster_id, state_dir)
        removed += driver.sweep()
    except DriverError as error:
        log.warning("guests are left as they are: %s", error)
    if CONF.compute_driver != "fake" and os.geteuid() == 0:
        from nova0.host.network.linux import LinuxCarrier

        try:
            removed += LinuxCarrier(host, cluster_id, state_dir).sweep()
        except NetworkError as error:
            log.warning("networks are left as they are: %s", error)
    return removed
