"""Hosts for tests: a network namespace each, on one switch, with its own state directory and libvirtd."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from nova0.host.network.dnsmasq import Dhcp
from nova0.host.virt.libvirt.driver import LibvirtDriver
from nova0.host.virt.libvirt.own_daemon import OwnDaemon

_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def run(*command: str, check: bool = True, timeout_s: float = 60, given: str | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, input=given)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(command)}: {done.stderr}{done.stdout}")
    return done.stdout


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


class Switch:
    """The wire between hosts: a bridge in a namespace of its own, 10.77.0.1/24."""

    def __init__(self, prefix: str) -> None:
        self.prefix, self.namespace = prefix, f"{prefix}-sw"
        self._hosts: list[Host] = []
        run("ip", "netns", "add", self.namespace)
        run("ip", "-n", self.namespace, "link", "set", "lo", "up")
        run("ip", "-n", self.namespace, "link", "add", "br0", "type", "bridge")
        run("ip", "-n", self.namespace, "link", "set", "br0", "up")
        run("ip", "-n", self.namespace, "addr", "add", "10.77.0.1/24", "dev", "br0")

    def host(self, cache: Path | None = None) -> Host:
        made = Host(self, len(self._hosts) + 1, cache)
        self._hosts.append(made)
        return made

    def close(self) -> None:
        for host in self._hosts:
            host.close()
        subprocess.run(["ip", "netns", "del", self.namespace], check=False)


class Host:
    """`inside()` runs what follows in its namespace, children too."""

    def __init__(self, switch: Switch, number: int, cache: Path | None) -> None:
        self.name, self.number = f"lab{number}", number
        self.namespace = f"{switch.prefix}-{number}"
        self.address = f"10.77.0.{10 + number}"
        self.state_dir = Path(tempfile.mkdtemp(prefix="n0vm-", dir="/tmp"))
        self._drivers: list[LibvirtDriver] = []
        (self.state_dir / ".nova0").touch()  # a folder of nova0's, though a test puts things into it first
        self._cache = cache
        if cache is not None and cache.is_dir():
            shutil.copytree(cache, self.state_dir / "libvirt" / "cache")
        run("ip", "netns", "add", self.namespace)
        for name in ("all", "default"):
            run("ip", "netns", "exec", self.namespace, "sysctl", "-qw", f"net.ipv6.conf.{name}.disable_ipv6=1")
        for setting in ("net.ipv4.ip_forward=0", "net.bridge.bridge-nf-call-iptables=0"):  # whatever is set outside
            run("ip", "netns", "exec", self.namespace, "sysctl", "-qw", setting)
        run("ip", "-n", self.namespace, "link", "set", "lo", "up")
        port = f"p{number}"
        run(
            "ip", "link", "add", "up0", "netns", self.namespace, "type", "veth", "peer", port, "netns", switch.namespace
        )
        run("ip", "-n", switch.namespace, "link", "set", port, "master", "br0", "up")
        run("ip", "-n", self.namespace, "addr", "add", f"{self.address}/24", "dev", "up0")
        run("ip", "-n", self.namespace, "link", "set", "up0", "up")
        run("ip", "-n", self.namespace, "route", "add", "default", "via", "10.77.0.1")

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{self.namespace}", os.O_RDONLY)
        try:
            _enter(there)
            yield
        finally:
            _enter(home)
            os.close(home)
            os.close(there)

    def run(self, *command: str, check: bool = True, timeout_s: float = 60) -> str:
        return run("ip", "netns", "exec", self.namespace, *command, check=check, timeout_s=timeout_s)

    def within(self, network_id: str, *command: str, **more: object) -> str:
        """Run where a network that this host carries has its gateway: from there its guests are reached."""
        pid = (self.state_dir / "networks" / network_id / "dnsmasq.pid").read_text().strip()
        return run("nsenter", f"--net=/proc/{pid}/ns/net", "--", *command, **more)

    def driver(self, cluster_id: str = "contract", **more: object) -> LibvirtDriver:
        """A driver on this host's own libvirtd, opened."""
        made = LibvirtDriver(
            self.name, cluster_id, self.state_dir, connection_uri="own", virt_type="qemu", address=self.address, **more
        )
        with self.inside():
            made.open()
        self._drivers.append(made)
        return made

    def close(self) -> None:
        for driver in self._drivers:
            with contextlib.suppress(Exception):
                for guest in driver.found():
                    driver.remove(guest.uuid)
            driver.close()
        OwnDaemon(self.name, self.state_dir).stop()
        if self._cache is not None and not self._cache.exists() and (self.state_dir / "libvirt/cache").is_dir():
            shutil.copytree(self.state_dir / "libvirt" / "cache", self._cache)
        inside = [str(pid) for pid in Dhcp.strays(self.state_dir / "networks")]
        for pid in [*inside, *run("ip", "netns", "pids", self.namespace, check=False).split()]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), 9)
        subprocess.run(["ip", "netns", "del", self.namespace], check=False)
        shutil.rmtree(self.state_dir, ignore_errors=True)
