"""POST /servers: read the body into a `Wanted`, write everything in one transaction, answer at once."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from oslo_config import cfg

from nova0.config import CONF, declare
from nova0.controller.api import validation as v
from nova0.controller.api.compute.schemas import server as schemas
from nova0.controller.api.compute.views.links import pair
from nova0.controller.api.request import Answer, Request
from nova0.controller.api.resource import route
from nova0.controller.compute import block_devices, create
from nova0.controller.compute.create import Wanted
from nova0.controller.compute.refusals import BadRequest, Forbidden, NotBuilt

declare([cfg.BoolOpt("enable_instance_password", default=True, help="Tell adminPass in the answer to a boot.")])

SERVERS_MOST = 250  # of one request, in one transaction; a project's quota mostly says less


@route("POST", "/servers", needs="member", success=202, body=schemas.CREATE)
@route("POST", "/os-volumes_boot", needs="member", success=202, body=schemas.CREATE)
def create_servers(request: Request) -> Answer:
    """One server, or min_count to max_count equal ones."""
    wanted = _wanted(request)
    request.project_id  # noqa: B018 - raises without one
    rows = request.store.write(lambda: create.boot(request.context, wanted))
    first = rows[0]
    if v.truth(request.body["server"].get("return_reservation_id", False)):
        return Answer({"reservation_id": first.reservation_id})
    links = pair(request, "servers", first.uuid)
    server: dict[str, Any] = {
        "id": first.uuid,
        "links": links,
        "OS-DCF:diskConfig": first.disk_config,
        "security_groups": [{"name": name} for name in first.security_groups],
    }
    if CONF.enable_instance_password:
        server["adminPass"] = wanted.admin_password
    return Answer({"server": server}, headers={"Location": links[0]["href"]})


def _wanted(request: Request) -> Wanted:
    body = request.body["server"]
    at_least, at_most = _counts(body)
    zone, forced_host, wanted_host = _place(request, body)
    if body.get("personality"):
        raise BadRequest("personality: nova0 puts no files into guests; use user_data or a config drive instead.")
    if body.get("trusted_image_certificates"):
        raise BadRequest("trusted_image_certificates: nova0 does not validate image certificates.")
    image_id, devices = block_devices.normalised(
        str(body.get("imageRef") or "").rsplit("/", 1)[-1],
        body.get("block_device_mapping") or [],
        body.get("block_device_mapping_v2") or [],
    )
    networks = body.get("networks")
    if at_most > 1 and isinstance(networks, list) and any(one.get("port") or one.get("fixed_ip") for one in networks):
        raise BadRequest("Unable to launch multiple instances with a single configured port ID or fixed IP address.")
    if at_most > 1 and "." in (body.get("hostname") or ""):
        raise BadRequest("hostname: a name with a domain can't be given to several servers.")
    hints = request.body.get("os:scheduler_hints") or request.body.get("OS-SCH-HNT:scheduler_hints") or {}
    for name in ("target_cell", "different_cell"):
        if name in hints:
            raise NotBuilt(f"nova0 has one cell and no other cloud to place servers in yet: leave out the hint {name}.")
    return Wanted(
        name=body["name"].strip(),
        hostname=body.get("hostname"),
        description=body.get("description") if request.at_least("2.19") else body["name"].strip(),
        flavor_id=str(body["flavorRef"]).rsplit("/", 1)[-1],
        image_id=image_id,
        at_least=at_least,
        at_most=at_most,
        key_name=body.get("key_name"),
        zone=zone,
        forced_host=forced_host,
        wanted_host=wanted_host,
        networks=_networks(request, networks),
        security_groups=tuple(group["name"] for group in body.get("security_groups") or []),
        metadata=body.get("metadata") or {},
        tags=tuple(body.get("tags") or []),
        user_data=_user_data(body.get("user_data")),
        config_drive=v.truth(body.get("config_drive") or False),
        hints=hints or body.get("os:scheduler_hints") or {},
        block_devices=devices,
        disk_config=body.get("OS-DCF:diskConfig"),
        admin_password=body.get("adminPass") or create.new_password(),
        access_ip_v4=create.canonical(body.get("accessIPv4")),
        access_ip_v6=create.canonical(body.get("accessIPv6")),
    )


def _counts(body: dict[str, Any]) -> tuple[int, int]:
    at_least = int(body.get("min_count", 1))
    at_most = int(body.get("max_count", at_least))
    if at_least < 1 or at_most < 1:
        raise BadRequest("min_count and max_count must be 1 or more.")
    if at_least > at_most:
        raise BadRequest("min_count must be <= max_count")
    if at_most > SERVERS_MOST:
        raise BadRequest(f"max_count: {at_most} servers; at most {SERVERS_MOST} are made by one request.")
    return at_least, at_most


def _place(request: Request, body: dict[str, Any]) -> tuple[str | None, str | None, str | None]:
    """(zone, forced host, wanted host) from `zone:host:node`, which skips the scheduler's filters, or, from 2.74,
    `host` and `hypervisor_hostname`, which do not."""
    text = body.get("availability_zone")
    host, node = body.get("host"), body.get("hypervisor_hostname")
    if (host or node) and not request.context.is_admin:
        raise Forbidden(
            "Policy doesn't allow compute:servers:create:requested_destination to be performed: only admins name hosts."
        )
    if not text or ":" not in text:
        return text, None, host or node
    if host or node:
        raise BadRequest("Destination host cannot be given by availability_zone and by host at once.")
    zone, *rest = text.split(":")
    if len(rest) > 2:
        raise BadRequest(f"Invalid availability_zone {text}: the form is zone:host:node.")
    if not request.context.is_admin:
        raise Forbidden("Policy doesn't allow os_compute_api:servers:create:forced_host to be performed.")
    named = [part or None for part in rest] + [None]
    return zone or None, named[0] or named[1], None


def _networks(request: Request, networks: Any) -> Any:
    """Below 2.37 leaving it out means what "auto" says, without making a network."""
    if networks is None or networks == []:
        return None if not request.at_least("2.37") else networks
    return networks


def _user_data(text: str | None) -> str | None:
    """Base64 as sent; BadRequest when it is not."""
    if text is None:
        return None
    try:
        base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest("Userdata content cannot be decoded: user_data must be base64.") from None
    return text
