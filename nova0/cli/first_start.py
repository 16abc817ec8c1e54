"""What happens once: the cluster's keys, the role of this machine, TLS for a public API."""

from __future__ import annotations

import argparse
import ipaddress
import socket
from pathlib import Path
from typing import Any

from nova0.cli import role as roles
from nova0.cli import state
from nova0.cli.failure import Failure
from nova0.cli.role import Role

DOOR_PORT = 7740  # where peers look for a door when they are told no port


def role_of(args: argparse.Namespace, state_path: Path, conf: Any) -> Role:
    """The stored role, or a new controller's; what the command line says is put on top and stored."""
    stored = roles.load(state_path)
    role = stored or Role(runs=_new(args, state_path))
    if args.no_host and "host" in role.runs and "controller" in role.runs:
        role.runs = ["controller"]
    said = {
        "NOVA0_HOST": args.host,
        "NOVA0_API__OSAPI_LISTEN_PORT": args.port,
        "NOVA0_COMPUTE_DRIVER": "fake" if args.fake else args.driver,
        "NOVA0_MESH__JOIN": ",".join(args.join) if args.join else None,
    }
    if args.public:
        if "controller" not in role.runs:
            raise Failure("--public is for the controller: this machine only runs a host", code=2)
        said.update(public(args.public, state_path))
    role.environment.update({name: str(value) for name, value in said.items() if value is not None})
    return role


def _new(args: argparse.Namespace, state_path: Path) -> list[str]:
    """What a machine without a stored role runs: a join that was cut short left a host."""
    if state.is_hosts(state_path):
        return ["host"]
    return ["controller"] if args.no_host else ["controller", "host"]


def public(address: str, state_path: Path) -> dict[str, str]:
    """Options that put the API on `address` with TLS. An address of another machine (NAT, a name): listen on all."""
    from nova0.controller import tls

    if not address or (any(character in address for character in "/ :") and not _is_address(address)):
        raise Failure(f"--public {address}: give an address or a host name, without port or scheme", code=2)
    files = tls.ensure(state_path / "tls", [address])
    return {
        "NOVA0_API__OSAPI_LISTEN": address if _is_local(address) else "0.0.0.0",  # noqa: S104 - asked for
        "NOVA0_API__TLS_CERT_FILE": str(files.certificate),
        "NOVA0_API__TLS_KEY_FILE": str(files.key),
        "NOVA0_PUBLIC_ADDRESS": address,
    }


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_local(address: str) -> bool:
    if not _is_address(address):
        return False
    probe = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        probe.bind((address, 0))
    except OSError:
        return False
    finally:
        probe.close()
    return True


def choose_ports(role: Role, conf: Any) -> None:
    """Raise Failure before anything is made where the API's port is taken; another door where only that is."""
    if "controller" not in role.runs:
        return
    if not conf.mesh.door_port and "NOVA0_MESH__DOOR_PORT" not in role.environment and not _is_free("", DOOR_PORT):
        role.environment["NOVA0_MESH__DOOR_PORT"] = str(_any_free())
    listen = role.environment.get("NOVA0_API__OSAPI_LISTEN", "127.0.0.1")
    port = int(role.environment.get("NOVA0_API__OSAPI_LISTEN_PORT", "8774"))
    if not _is_free(listen, port):
        raise Failure(f"port {port} on {listen} is taken, or not ours: stop what uses it, or give --port")


def _is_free(listen: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in listen else socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((listen, port))
        except OSError:
            return False
    return True


def _any_free() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def ensure_cluster(state_path: Path, host: str) -> bool:
    """Make root, signer and this machine's certificate. True on the first start of a cluster."""
    from nova0 import rpcapi
    from nova0.mesh import identity

    rpcapi.surfaces()  # whose topics go into the certificate
    folder = state_path / "mesh"
    if identity.is_member(folder):
        return False
    identity.create_cluster(folder, host)
    return True
