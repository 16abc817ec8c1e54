"""The book of flavors. Deleted ones stay as rows; servers carry their own copy.

All functions run inside a transaction of the store.
"""

from __future__ import annotations

import uuid
from typing import Any

import msgspec

from nova0.controller.compute.refusals import BadRequest, Conflict, NotFound
from nova0.controller.context import RequestContext
from nova0.controller.db.base_table import now
from nova0.controller.db.compute_tables import FlavorRow
from nova0.objects import fields
from nova0.objects.flavor import Flavor

SEEDS = (  # id, name, vcpus, memory MiB, root GiB: the field's usual set, with two for small machines
    ("42", "m1.nano", 1, 64, 1),
    ("84", "m1.micro", 1, 128, 1),
    ("1", "m1.tiny", 1, 512, 1),
    ("2", "m1.small", 1, 2048, 20),
    ("3", "m1.medium", 2, 4096, 40),
    ("4", "m1.large", 4, 8192, 80),
    ("5", "m1.xlarge", 8, 16384, 160),
)


def seed_flavors() -> list[str]:
    """Make the usual flavors where no flavor ever was; returns the names made."""
    if FlavorRow.select(FlavorRow.id).first() is not None:
        return []
    for flavor_id, name, vcpus, memory_mb, root_gb in SEEDS:
        FlavorRow.create(flavor_id=flavor_id, name=name, vcpus=vcpus, memory_mb=memory_mb, root_gb=root_gb)
    return [seed[1] for seed in SEEDS]


def find(flavor_id: str, context: RequestContext) -> FlavorRow | None:
    """A living flavor the caller may see, or None."""
    row = FlavorRow.get_or_none(FlavorRow.flavor_id == str(flavor_id), FlavorRow.deleted_at.is_null())
    return row if row is not None and visible(row, context) else None


def get(flavor_id: str, context: RequestContext) -> FlavorRow:
    """As `find`; raises NotFound."""
    row = find(flavor_id, context)
    if row is None:
        raise NotFound(f"Flavor {flavor_id} could not be found.")
    return row


def visible(row: FlavorRow, context: RequestContext) -> bool:
    return row.is_public or context.is_admin or context.project_id in row.projects


def listed(
    context: RequestContext, *, is_public: bool | None = True, min_disk_gb: int = 0, min_ram_mb: int = 0
) -> list[FlavorRow]:
    """Living flavors; `is_public` None means both kinds (admins; others see what they may use)."""
    query = FlavorRow.select().where(
        FlavorRow.deleted_at.is_null(), FlavorRow.root_gb >= min_disk_gb, FlavorRow.memory_mb >= min_ram_mb
    )
    rows = list(query)
    if not context.is_admin:
        return [row for row in rows if visible(row, context)]
    return rows if is_public is None else [row for row in rows if row.is_public == is_public]


def create(values: dict[str, Any]) -> FlavorRow:
    """Columns of FlavorRow; `flavor_id` None or "auto" makes one up. Raises Conflict."""
    flavor_id = values.get("flavor_id")
    values["flavor_id"] = str(uuid.uuid4()) if flavor_id in (None, "", "auto") else str(flavor_id)
    alive = FlavorRow.deleted_at.is_null()
    if FlavorRow.get_or_none(FlavorRow.name == values["name"], alive) is not None:
        raise Conflict(f"Flavor with name {values['name']} already exists.")
    if FlavorRow.get_or_none(FlavorRow.flavor_id == values["flavor_id"], alive) is not None:
        raise Conflict(f"Flavor with ID {values['flavor_id']} already exists.")
    return FlavorRow.create(**values)


def delete(row: FlavorRow) -> None:
    row.deleted_at = now()
    row.save()


def set_description(row: FlavorRow, description: str | None) -> None:
    row.description = description
    row.save()


def set_extra_specs(row: FlavorRow, specs: dict[str, str]) -> None:
    row.extra_specs = {**row.extra_specs, **specs}
    row.save()


def delete_extra_spec(row: FlavorRow, key: str) -> None:
    """Raises NotFound."""
    specs = dict(row.extra_specs)
    if key not in specs:
        raise NotFound(f"Flavor {row.flavor_id} has no extra specs with key {key}.")
    del specs[key]
    row.extra_specs = specs
    row.save()


def grant(row: FlavorRow, project_id: str, *, strict: bool) -> None:
    """Show a private flavor to a project. `strict`: a public one is a conflict (from 2.7)."""
    if strict and row.is_public:
        raise Conflict("Can not add access to a public flavor.")
    if project_id in row.projects:
        raise Conflict(f"Flavor access already exists for flavor {row.flavor_id} and project {project_id} combination.")
    row.projects = [*row.projects, project_id]
    row.save()


def revoke(row: FlavorRow, project_id: str) -> None:
    if project_id not in row.projects:
        raise NotFound(f"Flavor access not found for {row.flavor_id} / {project_id} combination.")
    row.projects = [known for known in row.projects if known != project_id]
    row.save()


def as_object(row: FlavorRow) -> Flavor:
    """The copy a server keeps."""
    return Flavor(
        flavor_id=row.flavor_id,
        name=row.name,
        vcpus=row.vcpus,
        memory_mb=row.memory_mb,
        root_gb=row.root_gb,
        ephemeral_gb=row.ephemeral_gb,
        swap_mb=row.swap_mb,
        rxtx_factor=row.rxtx_factor,
        is_public=row.is_public,
        disabled=row.disabled,
        description=row.description,
        extra_specs=dict(row.extra_specs),
    )


def of_server(kept: dict[str, Any]) -> Flavor:
    """A server's copy, read again; a name of an earlier version that hosts do not take is made to fit. Raises
    msgspec.ValidationError for what is no flavor."""
    names = {key: fields.name(kept[key]) for key in ("name", "flavor_id") if isinstance(kept.get(key), str)}
    return msgspec.convert({**kept, **names}, Flavor)


def check_image_fits(flavor: Flavor, *, min_ram_mb: int, min_disk_gb: int, size_bytes: int) -> None:
    """Raises BadRequest when the image asks for more than the flavor has; root 0 means "as the image"."""
    if flavor.memory_mb < min_ram_mb:
        raise BadRequest("Flavor's memory is too small for requested image.")
    if not flavor.root_gb:
        return
    gib = 1024**3
    if size_bytes > flavor.root_gb * gib:
        raise BadRequest(
            f"Flavor's disk is too small for requested image. Flavor disk is {flavor.root_gb * gib} bytes, "
            f"image is {size_bytes} bytes."
        )
    if flavor.root_gb < min_disk_gb:
        raise BadRequest(
            f"Flavor's disk is smaller than the minimum size specified in image metadata. Flavor disk is "
            f"{flavor.root_gb * gib} bytes, minimum size is {min_disk_gb * gib} bytes."
        )
