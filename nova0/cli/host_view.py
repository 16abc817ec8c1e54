"""Where servers are and whether those hosts live, as far as this caller may know."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

from nova0.cli import clouds
from nova0.cli.cloud import Cloud
from nova0.cli.failure import Failure


@dataclass(frozen=True)
class HostOf:
    host: str = ""
    state: str = ""


def of_servers(cloud: Cloud, found: list[dict[str, Any]]) -> dict[str, HostOf]:
    """server id -> its host and that host's state; empty where the caller may not see it.

    A plain user's answer has neither; on a machine whose clouds.yaml also holds `nova0-admin` for the same
    cloud, that entry is asked."""
    if not found:
        return {}
    seer = cloud if "OS-EXT-SRV-ATTR:host" in found[0] else _admin_of(cloud)
    if seer is None:
        return {server["id"]: HostOf() for server in found}
    states = _states(seer)
    hosts = {server["id"]: server.get("OS-EXT-SRV-ATTR:host") or "" for server in found}
    if seer is not cloud:
        listed = seer.pages("compute", "/servers/detail", "servers", all_tenants="true")
        hosts.update({server["id"]: server.get("OS-EXT-SRV-ATTR:host") or "" for server in listed})
    return {server["id"]: HostOf(hosts[server["id"]], states.get(hosts[server["id"]], "")) for server in found}


def _states(admin: Cloud) -> dict[str, str]:
    try:
        services = admin.get("compute", "/os-services", binary="nova-compute")["services"]
    except Failure:
        return {}
    return {service["host"]: service["state"] for service in services}


def _admin_of(cloud: Cloud) -> Cloud | None:
    try:
        entry = clouds.find(f"{cloud.name}-admin")
        if entry["auth"]["auth_url"] != cloud.entry["auth"]["auth_url"]:
            return None
        admin = Cloud(entry, f"{cloud.name}-admin")
        admin.sign_in()
    except (Failure, KeyError):
        return None
    return admin


def age_s(created: str) -> float:
    """Seconds since an API timestamp."""
    moment = datetime.datetime.fromisoformat(created.replace("Z", "+00:00"))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return max(0.0, (datetime.datetime.now(datetime.UTC) - moment).total_seconds())
