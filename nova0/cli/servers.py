"""Servers as the commands name them: by name or id, with their address, host and the host's state."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

from nova0.cli.cloud import Cloud, NotFound
from nova0.cli.failure import Failure

POLL_S = 0.25
READY_MARK = "nova0-tiny ready:"  # the tiny guest's console line; other guests are ready at their login prompt


def find(cloud: Cloud, name: str) -> dict[str, Any]:
    """The server called `name` (or with that id). Failure when there is none or more than one."""
    try:
        found: dict[str, Any] | None = cloud.get("compute", f"/servers/{quote(name, safe='')}").get("server")
        if found is not None and found["id"] == name:  # `detail` and others are no ids
            return found
    except NotFound:
        pass
    except Failure:  # not the shape of an id
        pass
    same = [s for s in cloud.pages("compute", "/servers/detail", "servers", name=f"^{_plain(name)}$")]
    same = [server for server in same if server["name"] == name]
    if not same:
        raise Failure(f"no server {name!r}: `nova0 ps` lists them")
    if len(same) > 1:
        raise Failure(f"{len(same)} servers are called {name!r}: use the id ({', '.join(s['id'] for s in same)})")
    return same[0]


def _plain(name: str) -> str:
    return "".join(character if character.isalnum() or character in "-_" else "." for character in name)


def addresses(server: dict[str, Any]) -> list[str]:
    """Fixed addresses, in the order the API gives them."""
    return [entry["addr"] for entries in (server.get("addresses") or {}).values() for entry in entries]


def named_thing(cloud: Cloud, service: str, path: str, key: str, name: str, kind: str) -> dict[str, Any]:
    """The flavor, image or network called `name` (or with that id)."""
    items = list(cloud.pages(service, path, key))
    same = [item for item in items if name in (item["id"], item["name"])]
    if not same:
        have = ", ".join(sorted(item["name"] for item in items)) or "none"
        raise Failure(f"no {kind} {name!r}: there is {have}")
    if len(same) > 1:
        raise Failure(f"{len(same)} {kind}s are called {name!r}: use the id")
    return same[0]


def console(cloud: Cloud, server_id: str, lines: int | None = None) -> str:
    """What the guest wrote to its serial console so far."""
    body = {"os-getConsoleOutput": {"length": lines} if lines else {}}
    return str(cloud.post("compute", f"/servers/{server_id}/action", body)["output"])


def wait_gone(cloud: Cloud, server_id: str, timeout_s: float = 120) -> None:
    """Until the server is no more. Failure when it turns to ERROR or takes too long."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            server = cloud.get("compute", f"/servers/{server_id}")["server"]
        except NotFound:
            return
        if server["status"] == "ERROR" and server.get("OS-EXT-STS:task_state") is None:
            fault = (server.get("fault") or {}).get("message", "no reason given")
            raise Failure(f"{server['name']} could not be deleted: {fault}")
        time.sleep(POLL_S)  # the API is asked again: it tells nobody
    raise Failure(f"server {server_id} is still there after {timeout_s:.0f} s: `nova0 ps` shows its host's state")
