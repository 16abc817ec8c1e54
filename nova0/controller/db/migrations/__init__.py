"""Numbered steps of the schema, run forward on start; each is one SQL file, additive, never edited once released.

The number reached is kept in the database's user_version.
"""

from __future__ import annotations

from pathlib import Path

import peewee


class StoreTooNew(Exception):
    """The store was written by a later nova0."""


def numbered() -> list[tuple[int, Path]]:
    """(number, file) in order."""
    return sorted((int(path.name[:4]), path) for path in Path(__file__).parent.glob("[0-9]*.sql"))


def run(database: peewee.SqliteDatabase) -> int:
    """Bring the schema forward; returns the number reached."""
    reached = database.execute_sql("PRAGMA user_version").fetchone()[0]
    steps = numbered()
    last = steps[-1][0]
    if reached > last:
        raise StoreTooNew(
            f"the store {database.database} has schema {reached}, this nova0 knows up to {last}: "
            "install the newer nova0 again, or restore the backup made before the upgrade"
        )
    for number, path in steps:
        if number > reached:
            with database.atomic("IMMEDIATE"):
                for statement in path.read_text().split(";\n"):
                    if statement.strip():
                        database.execute_sql(statement)
                database.execute_sql(f"PRAGMA user_version = {number}")
    return last
