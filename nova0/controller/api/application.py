"""All APIs of the cloud as one WSGI application: a path for each service, resource files found by import.

`make_app(services)` is all a process needs; `server.serve` puts it on a port.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from nova0.controller.api import compute, identity, image, mesh, network, versions
from nova0.controller.api import nova0 as own
from nova0.controller.api.identity import versions as identity_versions
from nova0.controller.api.image import versions as image_versions
from nova0.controller.api.network import versions as network_versions
from nova0.controller.api.resource import Route, routes_of
from nova0.controller.api.service import Service
from nova0.controller.identity.attempts import Attempts
from nova0.controller.identity.tokens import Tokens
from nova0.controller.services import Services

WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def make_app(services: Services) -> WsgiApp:
    """The APIs over `services`. Any number of processes may each serve one: no state is held here.

    Makes the token key file in services.state_dir if absent.
    """
    tokens = Tokens(services.store, services.state_dir)
    services.extras.setdefault("tokens", tokens)
    services.extras.setdefault("attempts", Attempts())
    compute_routes = routes_of(compute.RESOURCES)

    def service(name: str, mount: str, routes: Iterable[Route], **kind: Any) -> tuple[str, Service]:
        return mount, Service(name, mount, routes, services, tokens, **kind)

    mounted = [
        service("compute", "/v2.1", [*compute_routes, *versions.one_version("v2.1").routes],
                versioned=True, project_in_path=True),
        service("compute", "/v2", [*compute_routes, *versions.one_version("v2.0").routes],
                legacy=True, project_in_path=True),
        service("identity", "/identity/v3", routes_of(identity.RESOURCES)),
        service("identity", "/identity", routes_of([identity_versions])),
        service("image", "/image/v2", routes_of(image.RESOURCES)),
        service("image", "/image", routes_of([image_versions])),
        service("compute", "/nova0/v1", routes_of(own.RESOURCES)),
        service("mesh", "/mesh/v1", routes_of(mesh.RESOURCES)),
        service("network", "/network/v2.0", routes_of(network.RESOURCES)),
        service("network", "/network", routes_of([network_versions])),
        service("compute", "", versions.every_version.routes),  # type: ignore[attr-defined]
    ]  # fmt: skip

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path: str = environ["PATH_INFO"]
        for mount, app in mounted:
            if path == mount or path.startswith(mount + "/"):
                environ["SCRIPT_NAME"], environ["PATH_INFO"] = mount, path[len(mount) :] or "/"
                return app(environ, start_response)
        return mounted[-1][1](environ, start_response)

    return application
