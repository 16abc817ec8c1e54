"""The two processes of a machine: `controller` (store, conductor, API) and `host` (what this machine runs).

Each is started by `nova0 up` through `nova0 agent run`, says that it is ready in
<state_path>/run/<name>.json, and ends cleanly on SIGTERM. Killing one leaves the other at work.
"""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gevent
import msgspec
from gevent.event import Event
from oslo_config import cfg

from nova0 import config, log
from nova0.config import CONF

logger = logging.getLogger(__name__)

config.declare(
    [
        cfg.StrOpt("osapi_listen", default="127.0.0.1", help="Address the API listens on; others need --public."),
        cfg.PortOpt("osapi_listen_port", default=8774, help="Port of the API."),
        cfg.StrOpt("public_url", help="How clients reach the API, when not http(s)://LISTEN:PORT."),
        cfg.StrOpt("tls_cert_file", help="Certificate chain (PEM); with it the API speaks HTTPS only."),
        cfg.StrOpt("tls_key_file", help="Its key (PEM, 0600)."),
    ],
    group="api",
)
config.declare(
    [
        cfg.StrOpt("listen", default="0.0.0.0", help="Address the mesh binds to; unknown keys reach only its door."),  # noqa: S104
        cfg.StrOpt("advertise", default="", help="Address peers are told. Default: my_ip, else the default route's."),
        cfg.IntOpt("door_port", default=0, help="Port of the controller's door; 0: 7740, or any if taken."),
        cfg.ListOpt("join", default=[], help="HOST[:PORT] of doors to try besides the peers remembered."),
        cfg.BoolOpt("mdns", default=True, help="Find peers by mDNS. Off: --join and remembered peers only."),
        cfg.StrOpt(
            "metrics_listen",
            default="",
            help="HOST:PORT (or PORT on loopback) where Prometheus may GET /metrics of the host's process, the "
            "controller's on the next port. Not protected: who reaches it reads it. Default: none.",
        ),
        cfg.ListOpt("interfaces", default=[], help="Addresses or interface names mDNS speaks on; default all."),
    ],
    group="mesh",
)


def host_name() -> str:
    """This machine's name in the cluster."""
    return CONF.host or socket.gethostname().partition(".")[0] or "localhost"


def own_address() -> str:
    """The address peers reach this machine at: `my_ip`, else that of the default route, else loopback."""
    if CONF.my_ip:
        return CONF.my_ip
    probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        probe.connect(("192.0.2.1", 9))  # nothing is sent: this only asks the routing table
        return probe.getsockname()[0]
    except OSError:
        return "127.0.0.1"
    finally:
        probe.close()


def state_dir() -> Path:
    return Path(CONF.state_path)


def mesh_dir() -> Path:
    return state_dir() / "mesh"


def run(name: str) -> int:
    """Run a bundle in the foreground until SIGTERM or SIGINT. 0 on a clean end, 1 when it could not start."""
    from nova0.agents.controller_bundle import ControllerBundle
    from nova0.agents.host_bundle import HostBundle

    bundles: dict[str, Callable[[], Any]] = {"controller": ControllerBundle, "host": HostBundle}
    if name not in bundles:
        print(f"nova0: there is no bundle {name!r}: controller or host", file=sys.stderr)
        return 2
    log.setup(CONF.log_level)
    end = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, end.set)
    try:
        with only_one(name):
            bundle = bundles[name]()
            bundle.start()
            with announced(name, bundle.facts()):
                end.wait()
            bundle.stop()
    except Exception as error:
        logger.debug("start failed", exc_info=True)
        print(f"nova0 {name}: {getattr(error, 'message', None) or error}", file=sys.stderr)
        return 1
    return 0


@contextmanager
def only_one(name: str) -> Iterator[None]:
    """Hold this machine's lock for a bundle. Raises RuntimeError naming who holds it."""
    folder = state_dir() / "run"
    folder.mkdir(parents=True, exist_ok=True, mode=0o755)
    with open(folder / f"{name}.lock", "a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            raise RuntimeError(
                f"a {name} already runs here (pid {lock.read().strip() or '?'}): `nova0 down` stops it"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


@contextmanager
def announced(name: str, facts: dict[str, Any]) -> Iterator[None]:
    """While it holds, <state>/run/<name>.json says that the bundle is ready."""
    path = state_dir() / "run" / f"{name}.json"
    facts = {"pid": os.getpid(), "ready_at": time.time(), **facts}
    beside = path.with_suffix(".json.new")
    beside.write_bytes(msgspec.json.encode(facts))
    beside.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def mesh_settings(process: str, roles: tuple[str, ...], **more: Any) -> Any:
    """Settings of this machine's node for one process, from the options."""
    from nova0.mesh.settings import DOOR_PORT, MeshSettings

    options = CONF.mesh
    return MeshSettings(
        state_dir=str(mesh_dir()),
        host=host_name(),
        process=process,
        roles=roles,
        listen=options.listen,
        advertise=options.advertise or own_address(),
        door_port=(options.door_port or DOOR_PORT) if "controller" in roles else 0,
        join=tuple(options.join),
        mdns=options.mdns,
        interfaces=tuple(options.interfaces),
        metrics_listen=metrics_listen(options.metrics_listen, process),
        socket_path=str(state_dir() / "run" / f"mesh-{process}.sock"),
        **more,
    )


def metrics_listen(wanted: str, process: str) -> str:
    """The address for one process of this machine: the controller's is one port on, users' agents have none."""
    if not wanted or process not in ("host", "controller"):
        return ""
    from nova0.mesh.scraped import address

    host, port = address(wanted)
    return f"[{host}]:{port + (process == 'controller')}"


def clean_up(purge: bool) -> list[str]:
    """After both bundles ended: remove guests, links, rules, DHCP servers and our own libvirtd from this
    machine; with `purge` also the store, images, keys and everything under state_path.
    Returns a line for each thing removed."""
    from nova0.agents.host_bundle import remove_everything

    removed = remove_everything()
    if purge:
        import shutil

        folder = state_dir()
        if folder.exists():
            shutil.rmtree(folder)
            removed.append(str(folder))
    return removed
