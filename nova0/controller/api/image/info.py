"""What a project uses of its quotas of images."""

from __future__ import annotations

from typing import Any

from nova0.controller.api.request import Request
from nova0.controller.api.resource import route
from nova0.controller.quota import images


@route("GET", "/info/usage", needs="reader")
def usage(request: Request) -> dict[str, Any]:
    def closure() -> dict[str, Any]:
        limits, used = images.limits_of(request.project_id), images.used_by(request.project_id)
        return {name: {"limit": limits[name], "usage": number} for name, number in used.items()}

    return {"usage": request.store.read(closure)}
