"""Network devices by iproute2: bridges, taps, VXLAN, forwarding and neighbour entries, always as batches.

Every device of ours says so in its alias: "nova0 CLUSTER KIND ID". Nothing without it is touched. `inside` is
the path of a network namespace that a command is run in; "" runs it on the host.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from typing import Any

from nova0.host.network.findings import ENVIRONMENT
from nova0.objects.errors import NetworkError
from nova0.objects.fields import holds_control


@dataclass(frozen=True, kw_only=True)
class Device:
    """A device of this cluster as found. kind: network (a bridge), tunnel, port (a tap), door and uplink (ends
    of pairs into a network's namespace, whose other end has the index `peer` there)."""

    name: str
    kind: str
    id: str
    master: str = ""
    mac: str = ""
    mtu: int = 0
    up: bool = False
    peer: int = 0


def alias(cluster_id: str, kind: str, id_: str) -> str:
    return f"nova0 {cluster_id} {kind} {id_}"


def devices(host: str, cluster_id: str) -> dict[str, Device]:
    """This cluster's devices, by name."""
    found: dict[str, Device] = {}
    for link in ask(host, "ip", "-j", "-d", "link", "show"):
        words = str(link.get("ifalias", "")).split(" ")
        if len(words) == 4 and words[:2] == ["nova0", cluster_id]:
            found[link["ifname"]] = Device(
                name=link["ifname"],
                kind=words[2],
                id=words[3],
                master=link.get("master", ""),
                mac=link.get("address", ""),
                mtu=link.get("mtu", 0),
                up="UP" in link.get("flags", []),
                peer=link.get("link_index", 0),
            )
    return found


def exists(host: str, name: str) -> bool:
    return any(link.get("ifname") == name for link in ask(host, "ip", "-j", "link", "show"))


def ask(host: str, *command: str, inside: str = "") -> list[dict[str, Any]]:
    """What an iproute2 program says in JSON."""
    text = _run(host, "looking at the network devices", [*entering(inside), *command], "")
    return json.loads(text) if text.strip() else []


def change(host: str, step: str, program: str, lines: list[str], inside: str = "") -> None:
    """Run `lines` as one batch of `ip` or `bridge`; the first that fails ends it with NetworkError."""
    if lines:
        _run(host, step, [*entering(inside), program, "-batch", "-"], _batch(host, step, lines))


def entering(inside: str) -> list[str]:
    """The words before a command that is to run in that namespace."""
    return ["nsenter", f"--net={inside}", "--"] if inside else []


def change_where_possible(host: str, program: str, lines: list[str]) -> None:
    """The same for clean-up, where what is already gone is fine."""
    if lines:
        subprocess.run(
            [program, "-force", "-batch", "-"],
            input=_batch(host, "cleaning up", lines),
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
        )


def _batch(host: str, step: str, lines: list[str]) -> str:
    """The text of a batch, each line one command. Raises NetworkError."""
    for line in lines:
        if holds_control(line) or "\\" in line or "#" in line:
            raise NetworkError(f"{host}: {step}: a value does not belong in a command and is not run: {line!r:.200}")
    return "\n".join(lines) + "\n"


def _run(host: str, step: str, command: list[str], text: str) -> str:
    try:
        done = subprocess.run(command, input=text, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        package = "util-linux" if command[0] == "nsenter" else "iproute2"
        raise NetworkError(f"{host}: {step}: no {command[0]} here: install {package}") from error
    if done.returncode:
        words = " ".join(done.stderr.split())[-300:]
        remedy = ": run as root" if "not permitted" in words else ""
        raise NetworkError(f"{host}: {step}: {words or done.returncode}{remedy}")
    return done.stdout
