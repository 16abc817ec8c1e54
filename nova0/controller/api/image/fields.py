"""What may be written to an image: the attributes of the service checked, everything else a text property."""

from __future__ import annotations

from typing import Any

from nova0.controller.api import errors
from nova0.controller.api import validation as v
from nova0.controller.api.image.views import READ_ONLY
from nova0.controller.api.request import Request
from nova0.controller.db.image_tables import ImageRow
from nova0.controller.image.formats import CONTAINER_FORMATS, DISK_FORMATS

PROPERTIES_AT_ONCE = 1000  # where a project's limits allow more
_INT = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
_TAG = {"type": "string", "maxLength": 255, "pattern": v.PRINTABLE}
CHECKS: dict[str, dict[str, Any]] = {
    "name": {"type": ["string", "null"], "maxLength": 255, "pattern": v.PRINTABLE},
    "visibility": {"enum": ["public", "private", "shared", "community"]},
    "owner": {"type": ["string", "null"], "maxLength": 255},
    "protected": {"type": "boolean"},
    "os_hidden": {"type": "boolean"},
    "disk_format": {"enum": [*DISK_FORMATS, None]},
    "container_format": {"enum": [*CONTAINER_FORMATS, None]},
    "min_disk": _INT,
    "min_ram": _INT,
    "tags": {"type": "array", "items": _TAG, "maxItems": 128},
}
_SCHEMAS = {name: v.obj({name: check}) for name, check in CHECKS.items()}  # kept: validators are compiled once
_PROPERTY = v.mapping({"type": ["string", "null"], "maxLength": 65535}, {**v.KEY, "pattern": v.PRINTABLE}, most=1)
_COLUMNS = {"os_hidden": "hidden"}


def set_field(request: Request, row: ImageRow, name: str, value: Any) -> None:
    """Write one attribute or property. ApiError 400 naming it, 403 where it may not be written."""
    if name in READ_ONLY:
        raise errors.forbidden(f"Attribute '{name}' is read-only.")
    if name == "locations":
        raise errors.forbidden("locations: images are kept by this service; upload the bytes instead.")
    if name not in CHECKS:
        v.check(_PROPERTY, {name: value})
        row.properties[name] = value
        row.properties = row.properties  # known to be changed
        return
    v.check(_SCHEMAS[name], {name: value})
    admin = request.context.is_admin
    if name == "visibility" and value == "public" and row.visibility != "public" and not admin:
        raise errors.forbidden("visibility: only an admin makes an image public; use shared or community.")
    if name == "owner" and not admin and value != request.context.project_id:
        raise errors.forbidden("owner: only an admin gives an image to another project.")
    if name in ("disk_format", "container_format") and row.status != "queued" and getattr(row, name) != value:
        raise errors.forbidden(f"Attribute {name} can be only replaced for a queued image.")
    if name == "tags":
        value = list(dict.fromkeys(value))
    setattr(row, _COLUMNS.get(name, name), value)
