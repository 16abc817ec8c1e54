"""The host process: what this machine runs, and its node on the mesh."""

from __future__ import annotations

import logging
from typing import Any

import gevent
from nova0.agents import bundles

from nova0.config import CONF
from nova0.host.compute.machine import Machine, Settings
from nova0.mesh.node import Node

log = logging.getLogger(__name__)

MEET_S = 3.0  # how long a starting host waits for a controller before it says it is ready


class HostBundle:
    def __init__(self) -> None:
        self.node = Node(bundles.mesh_settings("host", ("host",)))
        address = CONF.mesh.advertise or bundles.own_address()
        self.machine = Machine(
            self.node,
            Settings(
                cluster_id=self.node.identity.cluster.hex(),
                state_dir=bundles.state_dir(),
                address=address,
                tunnel_address="" if address.startswith("127.") else address,
            ),
        )
        self.notes: list[str] = []

    def start(self) -> None:
        """Open driver and networks, say hello to the mesh, then wait a moment for a controller."""
        self.notes = self.machine.open()
        for agent in self.machine.agents():
            self.node.offer(agent)
        self.node.start()
        with gevent.Timeout(MEET_S, False):
            while not any("controller" in member.roles and member.status == "up" for member in self.node.members()):
                gevent.sleep(0.02)

    def facts(self) -> dict[str, Any]:
        return {"driver": self.machine.driver.name, "notes": self.notes}

    def stop(self) -> None:
        for step, end in (("mesh", self.node.stop), ("machine", self.machine.close)):
            try:
                end()
            except Exception:
                log.exception("while stopping: %s", step)


def remove_everything() -> list[str]:
    """Guests, disks, links, rules, DHCP servers and our own libvirtd of this machine's cluster, with no
    process of ours running. Returns a line for each thing removed."""
    from nova0.host.compute.removal import remove_all
    from nova0.mesh.identity import is_member, load

    if not is_member(bundles.mesh_dir()):
        return []
    return remove_all(bundles.host_name(), load(bundles.mesh_dir()).cluster.hex(), bundles.state_dir())
