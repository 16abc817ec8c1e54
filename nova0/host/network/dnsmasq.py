"""A DHCP server per network for this host's own guests: dnsmasq, told each MAC and its address.

It runs in the network's namespace and keeps it while nova0's processes are gone, so a network without DHCP has
one too, which serves nobody. It is found again by its configuration file. It never guesses: a MAC that is not
listed gets no answer.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from nova0 import atomic_file
from nova0.host.network.findings import PATH
from nova0.host.network.links import entering
from nova0.host.network.nft import METADATA
from nova0.objects.errors import NetworkError
from nova0.objects.fields import holds_control
from nova0.objects.network import NetworkView

LEASE_TIME = "24h"
STOP_S = 5.0
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
_NO_NAME = re.compile(r"[0-9.]+|[0-9]+[wdhms]|infinite|ignore", re.IGNORECASE)


@dataclass(frozen=True)
class Place:
    """Where it is to run: the path of a namespace, and a comment that tells one namespace and device from others."""

    path: str
    mark: str

    @classmethod
    def of(cls, path: str, identity: int, device: int) -> Place:
        return cls(path, f"# namespace {identity}, device {device}")


class Dhcp:
    """One network's dnsmasq, its files in `directory` (the network's own)."""

    def __init__(self, host: str, directory: Path) -> None:
        self.host, self.directory = host, directory.absolute()
        self._config, self._hosts = self.directory / "dnsmasq.conf", self.directory / "dhcp-hosts"
        self._leases, self._pid = self.directory / "leases", self.directory / "dnsmasq.pid"

    def serve(self, view: NetworkView, place: Place) -> None:
        """Serve exactly the view's ports there. A changed host list is re-read (SIGHUP); a changed configuration,
        another device, or a lease of a guest that is gone, needs a new process. Raises NetworkError with
        dnsmasq's words."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o755)
        config, hosts = _config(view, self, place), _hosts(view)
        running = self.pid()
        stale = self._stale_leases({port.mac.lower() for port in view.ports} if view.dhcp else set())
        if running is not None and not stale and _text(self._config) == config:
            if _text(self._hosts) != hosts:
                atomic_file.write(self._hosts, hosts, 0o644, sync=False)
                os.kill(running, signal.SIGHUP)
            return
        self.end()
        self._drop_leases(stale)
        atomic_file.write(self._config, config, 0o644, sync=False)
        atomic_file.write(self._hosts, hosts, 0o644, sync=False)
        self._start(place.path)

    def serves(self, place: Place) -> bool:
        """Whether it runs, and on the device that is there now: it holds on to one that was deleted."""
        return self.pid() is not None and (_text(self._config) or "").startswith(f"{place.mark}\n")

    @staticmethod
    def strays(directory: Path) -> list[int]:
        """Processes of networks in `directory` (a host's networks), whatever is left of their files."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                words = path.read_bytes().split(b"\0")
                if any(word.startswith(f"--conf-file={directory.absolute()}/".encode()) for word in words[1:]):
                    found.append(int(path.parent.name))
        return found

    def pid(self) -> int | None:
        """Its process, if alive and really this network's."""
        try:
            pid = int(self._pid.read_text())
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        return pid if f"--conf-file={self._config}".encode() in words else None

    def end(self) -> None:
        """Stop the process; files stay."""
        pid = self.pid()
        if pid is None:
            return
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_S
        while self.pid() is not None:
            if time.monotonic() > deadline:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                deadline += STOP_S
            time.sleep(0.005)  # the end of a process that is no child of ours

    def stop(self) -> None:
        """Stop the process and forget all it knew."""
        self.end()
        for path in (self._config, self._hosts, self._leases, self._pid):
            path.unlink(missing_ok=True)

    def macs(self) -> list[str]:
        """Who it would serve or has served: listed hosts and leases."""
        listed = {line.split(",")[0] for line in (_text(self._hosts) or "").splitlines() if line}
        return sorted(listed | set(self._leased()))

    def _leased(self) -> dict[str, str]:
        """MAC -> its line."""
        lines = (_text(self._leases) or "").splitlines()
        return {line.split()[1].lower(): line for line in lines if len(line.split()) >= 4}

    def _stale_leases(self, macs: set[str]) -> set[str]:
        return set(self._leased()) - macs

    def _drop_leases(self, macs: set[str]) -> None:
        if macs:
            kept = [line for mac, line in self._leased().items() if mac not in macs]
            atomic_file.write(self._leases, "".join(f"{line}\n" for line in kept), 0o644)

    def _start(self, inside: str) -> None:
        program = shutil.which("dnsmasq", path=PATH)
        if program is None:
            raise NetworkError(f"{self.host}: no dnsmasq here: install dnsmasq-base")
        done = subprocess.run(
            [*entering(inside), program, f"--conf-file={self._config}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
        )
        if done.returncode:
            words = " ".join(done.stderr.split())[-300:]
            raise NetworkError(f"{self.host}: starting the DHCP server of {self.directory.name}: {words}")

    def user(self) -> str:
        """Whom dnsmasq runs as: nobody, where nobody can read the files it re-reads; else root."""
        for place in (self.directory, *self.directory.parents):
            if place.exists() and not place.stat().st_mode & 0o001:
                return "root"
        return "nobody"


def _hosts(view: NetworkView) -> str:
    lines = []
    for port in sorted(view.ports if view.dhcp else (), key=lambda port: port.ip):
        name = f",{port.hostname}" if _is_name(port.hostname) else ""
        lines.append(f"{port.mac.lower()},{port.ip}{name},{LEASE_TIME}")
    return _written(lines)


def _is_name(text: str) -> bool:
    """Whether dnsmasq reads this part of a line as a name: not as an address, a time or a word of its own."""
    return bool(_NAME.fullmatch(text)) and not _NO_NAME.fullmatch(text)


def _written(lines: list[str]) -> str:
    """The file's text: each line one line. Raises NetworkError."""
    for line in lines:
        if holds_control(line):
            raise NetworkError(f"DHCP: a value holds a control character and is not written: {line!r:.200}")
    return "".join(f"{line}\n" for line in lines)


def _config(view: NetworkView, dhcp: Dhcp, place: Place) -> str:
    lines = [
        place.mark,
        f"interface={view.leg}",
        "except-interface=lo",
        "bind-dynamic",
        "port=0",  # DHCP only: guests are told of real DNS servers
        f"user={dhcp.user()}",
        f"pid-file={dhcp._pid}",
        "log-facility=/dev/null",
    ]
    if view.dhcp and view.cidr:
        lines += _dhcp(view, dhcp)
    return _written(lines)


def _dhcp(view: NetworkView, dhcp: Dhcp) -> list[str]:
    net = ipaddress.ip_network(view.cidr, strict=False)
    via = view.gateway or "0.0.0.0"  # noqa: S104  in option 121: on this link
    routes = [f"{METADATA}/32", via]
    if view.gateway:
        routes += ["0.0.0.0/0", view.gateway]
    lines = [
        "no-ping",
        "dhcp-authoritative",
        "dhcp-ignore-clid",  # a guest is known by its MAC, which is checked; an identifier it could make up
        f"dhcp-leasefile={dhcp._leases}",
        f"dhcp-hostsfile={dhcp._hosts}",
        f"dhcp-range={net.network_address},static,{net.netmask},{LEASE_TIME}",
        f"dhcp-lease-max={max(16, net.num_addresses)}",
        f"dhcp-option=option:classless-static-route,{','.join(routes)}",
        f"dhcp-option=option:mtu,{view.mtu}",
        f"dhcp-option=option:router{',' + view.gateway if view.gateway else ''}",
    ]
    if not view.gateway:  # no address of the network on the leg for dnsmasq to find the range by
        lines.append(f"shared-network={view.leg},{net.network_address}")
    servers = list(view.dns) or (resolvers() if view.gateway else [])
    lines.append(f"dhcp-option=option:dns-server{''.join(',' + server for server in servers)}")
    return lines


def resolvers() -> list[str]:
    """This machine's own DNS servers, as far as guests can reach them (IPv4, not loopback)."""
    for place in (Path("/run/systemd/resolve/resolv.conf"), Path("/etc/resolv.conf")):
        words = [line.split() for line in (_text(place) or "").splitlines() if line.startswith("nameserver ")]
        found = [line[1] for line in words if len(line) > 1 and ":" not in line[1] and not line[1].startswith("127.")]
        if found:
            return found
    return []


def _text(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError:
        return None
