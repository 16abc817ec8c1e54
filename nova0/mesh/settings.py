"""What a node is told at start; the mesh reads no configuration file of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from nova0.mesh.wire import HIGHEST, LOWEST

DOOR_PORT = 7740  # where a controller's door is looked for when `--join HOST` names no port


@dataclass(kw_only=True)
class MeshSettings:
    """One process of one machine. Several processes share `state_dir`, key and certificate."""

    state_dir: str  # e.g. /var/lib/nova0/mesh; 0700
    host: str  # this machine's name in the cluster
    process: str = "host"  # tells processes of one machine apart: node name is host/process
    roles: tuple[str, ...] = ("host",)  # of this process; what the certificate lacks is not taken
    topics: tuple[str, ...] = ()  # announced besides those of the offered agents

    listen: str = "0.0.0.0"  # noqa: S104  (address the sockets bind to; unknown keys get no further than the door)
    advertise: str = ""  # address others are told; default: `listen`, or the one of the default route
    rpc_port: int = 0  # 0: the port of the last start if it is free, else any
    pub_port: int = 0
    ear_port: int = 0
    door_port: int = 0
    stream_port: int = 0

    join: tuple[str, ...] = ()  # HOST[:PORT] of doors to try besides the remembered ones
    mdns: bool = True
    interfaces: tuple[str, ...] = ()  # addresses or names mDNS speaks on; default: all

    beat_s: float = 1.0
    missed_beats: float = 2.2  # of silence before a peer is suspected and probed
    probe_s: float = 2.0  # of probing without an answer before it is down
    reconnect_s: tuple[float, float] = (0.02, 3.0)  # first and longest pause between two dials, randomised
    handshake_s: float = 2.0
    ring: int = 2  # neighbours on each side that a host keeps links with
    links_kept: int = 16  # a controller with more peers than this dials hosts only when it has to ask them
    many: int = 128  # with more, links have no heartbeats of ZMTP, and a restarted controller waits before it speaks
    stall_ms: int = 100  # a loop held longer is logged with the stack that held it; 0: not
    goodbye_s: float = 5.0  # running methods may take this long at `stop`

    calls_running: int = 512  # methods at work at once; more get Busy
    casts_running: int = 2048  # casts at work at once; more are lost, and said to be lost
    calls_waiting: int = 4096  # calls of ours without an answer, per peer; more get Busy
    queue: int = 4096  # messages waiting for one slow peer
    peers: int = 10_000  # nodes known at once
    streams: int = 256  # open at once, whoever opened them; more get Busy

    socket_path: str = ""  # UNIX socket for this machine's command line; "": none
    socket_group: str = "nova0"

    speaks: tuple[int, int] = (LOWEST, HIGHEST)  # protocol versions; narrowed only to act as an older node

    dmi_file: str = "/sys/class/dmi/id/product_uuid"  # what tells a copied disk; "": not looked at
    machine_id_file: str = "/etc/machine-id"

    metrics_listen: str = ""  # HOST:PORT for Prometheus, in the clear and for whoever reaches it; "": none

    store_id: str = ""  # controllers: identity of the store behind them
    commit_mark: Callable[[], int] = field(default=lambda: 0)

    @property
    def node(self) -> str:
        return f"{self.host}/{self.process}"
