"""Services, endpoints and regions, to look at: they follow from the public address and can't be edited."""

from __future__ import annotations

from typing import Any

from nova0.controller.api import errors
from nova0.controller.api.identity.listing import collection, filters, matching
from nova0.controller.api.identity.versions import document
from nova0.controller.api.request import Request
from nova0.controller.api.resource import route
from nova0.controller.identity import catalog as books


@route("GET", "/", needs="public")
def version(request: Request) -> dict[str, Any]:
    return {"version": document(request)}


def _linked(request: Request, kind: str, item: dict[str, Any]) -> dict[str, Any]:
    return item | {"links": {"self": f"{request.prefix}/{kind}/{item['id']}"}}


def _services(request: Request) -> list[dict[str, Any]]:
    return [_linked(request, "services", one) for one in books.services()]


def _endpoints(request: Request) -> list[dict[str, Any]]:
    found = books.endpoints(request.services.public_url, request.services.region)
    return [_linked(request, "endpoints", one) for one in found]


def _regions(request: Request) -> list[dict[str, Any]]:
    only = {"id": request.services.region, "description": "", "parent_region_id": None}
    return [_linked(request, "regions", only)]


def _one(items: list[dict[str, Any]], kind: str, id: str) -> dict[str, Any]:
    for item in items:
        if item["id"] == id:
            return {kind: item}
    raise errors.ApiError(404, f"Could not find {kind}: {id}.")


@route("GET", "/services", needs="reader", query=filters("name", "type"))
def list_services(request: Request) -> dict[str, Any]:
    return collection(request, "services", matching(request, _services(request)))


@route("GET", "/services/<id>", needs="reader")
def show_service(request: Request, id: str) -> dict[str, Any]:
    return _one(_services(request), "service", id)


@route("GET", "/endpoints", needs="reader", query=filters("interface", "service_id", "region_id", "region"))
def list_endpoints(request: Request) -> dict[str, Any]:
    return collection(request, "endpoints", matching(request, _endpoints(request)))


@route("GET", "/endpoints/<id>", needs="reader")
def show_endpoint(request: Request, id: str) -> dict[str, Any]:
    return _one(_endpoints(request), "endpoint", id)


@route("GET", "/regions", needs="any", query=filters("parent_region_id"))
def list_regions(request: Request) -> dict[str, Any]:
    return collection(request, "regions", matching(request, _regions(request)))


@route("GET", "/regions/<id>", needs="any")
def show_region(request: Request, id: str) -> dict[str, Any]:
    return _one(_regions(request), "region", id)
