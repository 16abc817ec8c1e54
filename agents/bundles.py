"""What the two processes of a machine, `controller` and `host`, take from their options: names, addresses, folders,
and the settings of their node."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from oslo_config import cfg

from nova0 import config
from nova0.config import CONF

config.declare(
    [
        cfg.StrOpt("osapi_listen", default="127.0.0.1", help="Address the API listens on; others need --public."),
        cfg.PortOpt("osapi_listen_port", default=8774, help="Port of the API."),
        cfg.StrOpt("public_url", help="How clients reach the API, when not http(s)://LISTEN:PORT."),
        cfg.IntOpt(
            "connections_per_address",
            default=256,
            min=1,
            help="Connections one address may have to the API (an IPv6 network of 64 bits counts as one). Beyond it "
            "the idle one that has waited longest is closed. Behind a reverse proxy all clients have the proxy's "
            "address: set it to 2000, the bound of all connections together.",
        ),
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


def mesh_settings(process: str, roles: tuple[str, ...], **more: Any) -> Any:
    """Settings of this machine's node for one process, from the options."""
    from nova0 import rpcapi
    from nova0.mesh.settings import DOOR_PORT, MeshSettings

    rpcapi.surfaces()  # whoever offers one of these topics without the role for it is known for that from the start
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
