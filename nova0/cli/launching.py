"""Making a server through the API and telling how far it is, from its states, events and console."""

from __future__ import annotations

import argparse
import base64
import time
from pathlib import Path
from typing import Any

from nova0.cli import seed, servers
from nova0.cli.cloud import Cloud
from nova0.cli.failure import Failure
from nova0.cli.output import Progress

STAGE_OF_TASK = {
    None: "scheduling",
    "scheduling": "scheduling",
    "block_device_mapping": "image",
    "networking": "network",
    "spawning": "booting",
}
LOGIN_PROMPT = "login:"
FAKE_DISTRO = "nova0-fake"


def create(cloud: Cloud, args: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """Ask for the server. Returns its id and the image."""
    image = servers.named_thing(cloud, "image", "/images", "images", args.image, "image")
    if image["status"] != "active":
        raise Failure(f"image {args.image} is {image['status']}: upload its bytes first")
    flavors = cloud.get("compute", "/flavors/detail")["flavors"]
    flavor = choose_flavor(flavors, image, args.flavor)
    body: dict[str, Any] = {
        "name": args.name,
        "imageRef": image["id"],
        "flavorRef": flavor["id"],
        "networks": _networks(cloud, args.network),
    }
    key = args.key or _seeded_key(cloud)
    if key and key != "none":
        body["key_name"] = key
    if args.user_data:
        try:
            body["user_data"] = base64.b64encode(Path(args.user_data).read_bytes()).decode()
        except OSError as error:
            raise Failure(f"--user-data {args.user_data}: {error.strerror}") from error
    if args.host:
        body["availability_zone"] = f"nova:{args.host}"
    return str(cloud.post("compute", "/servers", {"server": body})["server"]["id"]), image


def choose_flavor(flavors: list[dict[str, Any]], image: dict[str, Any], wanted: str | None) -> dict[str, Any]:
    """The flavor named, or the smallest that the image's minimum fits in."""
    if wanted:
        for flavor in flavors:
            if wanted in (flavor["id"], flavor["name"]):
                return flavor
        raise Failure(f"no flavor {wanted!r}: there is {', '.join(sorted(flavor['name'] for flavor in flavors))}")
    fitting = [
        flavor
        for flavor in flavors
        if flavor["ram"] >= max(image.get("min_ram") or 0, 1) and flavor["disk"] >= (image.get("min_disk") or 0)
    ]
    if not fitting:
        raise Failure(f"no flavor is large enough for image {image['name']}: make one with `openstack flavor create`")
    return min(fitting, key=lambda flavor: (flavor["ram"], flavor["disk"], flavor["vcpus"]))


def _networks(cloud: Cloud, wanted: str | None) -> Any:
    if wanted == "none":
        return "none"
    if wanted:
        return [{"uuid": servers.named_thing(cloud, "network", "/networks", "networks", wanted, "network")["id"]}]
    networks = list(cloud.pages("network", "/networks", "networks"))
    for network in networks:
        if network["name"] == seed.NETWORK and network.get("project_id") in (cloud.project_id, None):
            return [{"uuid": network["id"]}]
    if len(networks) == 1:
        return [{"uuid": networks[0]["id"]}]
    have = ", ".join(network["name"] for network in networks)
    raise Failure(f"name a --network ({have}), or none" if networks else "there is no network: give --network none")


def _seeded_key(cloud: Cloud) -> str | None:
    names = [entry["keypair"]["name"] for entry in cloud.get("compute", "/os-keypairs")["keypairs"]]
    return seed.KEY if seed.KEY in names else None


def follow(cloud: Cloud, server_id: str, image: dict[str, Any], progress: Progress, timeout_s: float) -> dict[str, Any]:
    """Show its stages until it is ready. Raises Failure with the server's fault, or when time is up."""
    deadline = time.monotonic() + timeout_s
    while True:
        server: dict[str, Any] = cloud.get("compute", f"/servers/{server_id}")["server"]
        if server["status"] == "ERROR":
            raise Failure(f"{server['name']}: {fault(cloud, server)}")
        if server["status"] == "ACTIVE":
            break
        progress.stage(STAGE_OF_TASK.get(server.get("OS-EXT-STS:task_state"), "booting"))
        _check(deadline, server, timeout_s)
        time.sleep(servers.POLL_S)  # the API is asked again: it tells nobody
    if servers.addresses(server):
        progress.stage("address", servers.addresses(server)[0])
    if image.get("os_distro") == FAKE_DISTRO:
        return server
    progress.stage("ready", "the guest boots")
    while not is_ready(servers.console(cloud, server_id)):
        _check(deadline, server, timeout_s)
        time.sleep(servers.POLL_S)  # the API is asked again: it tells nobody
    return server


def is_ready(console: str) -> bool:
    """True once the tiny guest has said so; for others, once they ask for a login."""
    if "nova0-tiny" in console:
        return servers.READY_MARK in console
    return LOGIN_PROMPT in console


def _check(deadline: float, server: dict[str, Any], timeout_s: float) -> None:
    if time.monotonic() > deadline:
        raise Failure(
            f"{server['name']} is {server['status']} but not ready after {timeout_s:g} s: "
            f"see `nova0 log {server['name']}`; it is left as it is"
        )


def fault(cloud: Cloud, server: dict[str, Any]) -> str:
    """Why a server is in ERROR: its fault, and the event that failed."""
    message = (server.get("fault") or {}).get("message", "")
    failed = ""
    try:
        actions = cloud.get("compute", f"/servers/{server['id']}/os-instance-actions")["instanceActions"]
        for action in actions:
            path = f"/servers/{server['id']}/os-instance-actions/{action['request_id']}"
            events = cloud.get("compute", path)["instanceAction"].get("events") or []
            failed = next((event["event"] for event in events if event.get("result") == "Error"), failed)
    except Failure:
        pass
    return (message or "it failed without a reason given") + (f" (in {failed})" if failed else "")
