"""The host process: what this machine runs, and its node on the mesh. On a machine that joined as `member` it runs no
servers: it is there for the agents of its users."""

from __future__ import annotations

import json
import logging
from dataclasses import fields
from typing import Any

import gevent
from nova0.agents import bundles

from nova0 import atomic_file
from nova0.config import CONF
from nova0.host.compute.machine import Machine, Settings
from nova0.host.compute.removal import Removal
from nova0.host.network.none import NoCarrier
from nova0.mesh.node import Node

log = logging.getLogger(__name__)

OPTIONS = "host-options.json"  # below state_path
MEET_S = 3.0  # how long a starting host waits for a controller before it says it is ready


class HostBundle:
    def __init__(self) -> None:
        self.node = Node(bundles.mesh_settings("host", ("host", "member")))
        self.notes: list[str] = []
        self.machine: Machine | None = None
        if "host" not in self.node.identity.certificate.roles:
            self.notes.append("joined as a member: no servers run here, only agents of users (docs/mesh.md)")
            return
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

    def start(self) -> None:
        """Open driver and networks, say hello to the mesh, then wait a moment for a controller."""
        if self.machine is not None:
            self.notes += self.machine.open()
            remember_options(self.machine)
            for agent in self.machine.agents():
                self.node.offer(agent)
        self.node.start()
        with gevent.Timeout(MEET_S, False):
            while not any("controller" in member.roles and member.status == "up" for member in self.node.members()):
                gevent.sleep(0.02)

    def facts(self) -> dict[str, Any]:
        driver = self.machine.driver.name if self.machine is not None else ""
        return {"driver": driver, "notes": self.notes}

    def stop(self) -> None:
        steps = [("mesh", self.node.stop), *([("machine", self.machine.close)] if self.machine is not None else [])]
        for step, end in steps:
            try:
                end()
            except Exception:
                log.exception("while stopping: %s", step)


def remember_options(machine: Machine) -> None:
    """With what guests and networks are made here, so that they are found again without those options: an entry
    for each set this machine ever ran with, the last one last."""
    made_with = {
        "compute_driver": CONF.compute_driver if ":" in CONF.compute_driver else machine.driver.name,
        "network_carrier": "none" if isinstance(machine.networks.carrier, NoCarrier) else "linux",
        "connection_uri": CONF.libvirt.connection_uri if machine.driver.name == "libvirt" else "",
        "image_cache_dir": str(machine.images.directory),
    }
    known = [one for one in made_with_options() if one != made_with]
    atomic_file.write(bundles.state_dir() / OPTIONS, json.dumps([*known, made_with], indent=1) + "\n", 0o644)


def made_with_options() -> list[dict[str, Any]]:
    """As `remember_options` wrote them; what a state of an earlier version was made with is asked of the options."""
    try:
        found: list[dict[str, Any]] = json.loads((bundles.state_dir() / OPTIONS).read_text())
        return found
    except FileNotFoundError:
        if not (bundles.state_dir() / "instances-records").exists():
            return []  # no host ever ran here
    carrier = "linux" if (bundles.state_dir() / "networks").exists() else "none"
    return [{"compute_driver": CONF.compute_driver, "network_carrier": carrier}]


def guests_here() -> list[str]:
    """uuids of the guests of this machine's cluster here, with no process of ours running. Raises DriverError."""
    return list(dict.fromkeys(uuid for one in _removals() for uuid in one.guests()))


def remove_everything() -> list[str]:
    """Guests, disks, links, rules, DHCP servers, our own libvirtd and cached images of this machine's cluster, with no
    process of ours running. Returns a line for each thing removed. Raises DriverError or NetworkError where something
    could not be removed: what can be told of it is still there."""
    return [line for one in _removals() for line in one.remove()]


def _removals() -> list[Removal]:
    from nova0.mesh.identity import is_member, load

    if not is_member(bundles.mesh_dir()):
        return []
    me = load(bundles.mesh_dir())
    known = {field.name for field in fields(Removal)}  # an earlier version may have written down more
    return [
        Removal(
            host=me.certificate.host,
            cluster_id=me.cluster.hex(),
            state_dir=bundles.state_dir(),
            **{name: value for name, value in made_with.items() if name in known},
        )
        for made_with in made_with_options()
    ]
