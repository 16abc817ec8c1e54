"""Which virt driver this host runs: the one option `compute_driver`, a name or `package.module:Class`."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

from nova0.host.virt.driver import Driver
from nova0.objects.errors import DriverError

Make = Callable[..., Driver]

GONE = {
    "uml": "user-mode Linux left libvirt's set of useful hypervisors",
    "xen": "Xen is not driven",
    "xenapi": "XenAPI left the field",
    "hyperv": "Hyper-V left the field",
    "powervm": "PowerVM left the field",
    "docker": "containers are no servers here",
    "lxc": "containers are no servers here",
    "vmwareapi": "vCenter is not driven",
    "ironic": "bare metal is not driven",
}


def load_driver(
    name: str, host: str, cluster_id: str, state_dir: Path, *, address: str = "", tunnel_address: str = ""
) -> tuple[Driver, list[str]]:
    """The opened driver and its notes for people. Raises DriverError naming the remedy for a name that
    is unknown, a class that is no Driver, or a driver that does not open; nothing is tried in its place."""
    known: dict[str, Make] = {"fake": _fake, "libvirt": _libvirt}
    if name == "auto":
        return _auto(host, cluster_id, state_dir, address, tunnel_address)
    if name in known:
        driver = known[name](host, cluster_id, state_dir, address=address, tunnel_address=tunnel_address)
    elif ":" in name:
        driver = _by_path(name, host)(host, cluster_id, state_dir)
    else:
        why = f" ({GONE[name]})" if name in GONE else ""
        raise DriverError(
            f"{host}: compute_driver={name}: no such driver{why}: use auto, libvirt, fake or package.module:Class"
        )
    return driver, driver.open()


def _auto(host: str, cluster_id: str, state_dir: Path, address: str, tunnel_address: str) -> tuple[Driver, list[str]]:
    try:
        driver = _libvirt(host, cluster_id, state_dir, address=address, tunnel_address=tunnel_address)
        return driver, driver.open()
    except DriverError as error:
        raise DriverError(f"{error.message}; or set compute_driver=fake to try nova0 without guests") from error


def _fake(host: str, cluster_id: str, state_dir: Path, **addresses: str) -> Driver:
    from nova0.host.virt.fake import FakeDriver

    return FakeDriver(host, cluster_id, state_dir)


def _libvirt(host: str, cluster_id: str, state_dir: Path, **addresses: str) -> Driver:
    try:
        importlib.import_module("libvirt")  # an extra: everything but this driver works without it
        from nova0.host.virt.libvirt.driver import LibvirtDriver
    except ImportError as error:
        raise DriverError(
            f"{host}: the libvirt driver cannot be loaded ({error}): install nova0[libvirt] and libvirt's library"
        ) from error
    make: Make = LibvirtDriver
    return make(host, cluster_id, state_dir, **addresses)


def _by_path(path: str, host: str) -> Make:
    module_name, _, class_name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise DriverError(f"{host}: compute_driver={path}: {error}: is the package installed here?") from error
    if not (isinstance(found, type) and issubclass(found, Driver)):
        raise DriverError(f"{host}: compute_driver={path}: not a subclass of nova0.host.virt.driver.Driver")
    return found
