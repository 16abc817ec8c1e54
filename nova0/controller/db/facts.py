"""Facts of the store itself: who it is, how often it was opened, how far it has come."""

from __future__ import annotations

from dataclasses import dataclass

from nova0.controller.db.base_table import new_id
from nova0.controller.db.operation_tables import FactRow


@dataclass(frozen=True)
class StoreFacts:
    """`store_id` tells two stores of one cluster apart; `boot` grows with each opening by a controller."""

    store_id: str
    boot: int


def opened(cluster: str = "") -> StoreFacts:
    """In a transaction, once per start of a controller. `cluster`: hex of its key, kept in the store."""
    store_id = str(_get("store_id") or new_id())
    if cluster:
        _set("cluster", cluster)
    boot = int(str(_get("boot") or 0)) + 1
    _set("store_id", store_id)
    _set("boot", boot)
    return StoreFacts(store_id, boot)


def _get(name: str) -> object:
    row = FactRow.get_or_none(FactRow.name == name)
    return row.value if row else None


def _set(name: str, value: object) -> None:
    FactRow.insert(name=name, value=value).on_conflict_replace().execute()
