"""Rows of the identity store by their id."""

from __future__ import annotations

from typing import TypeVar

import peewee

from nova0.controller.api import errors

Row = TypeVar("Row", bound=peewee.Model)


def found(table: type[Row], id: str, kind: str) -> Row:
    """Inside a store closure: the row. ApiError 404, in the field's words, where there is none."""
    row: Row | None = table.get_or_none(table.id == id)  # type: ignore[attr-defined]
    if row is None:
        raise errors.ApiError(404, f"Could not find {kind}: {id}.")
    return row
