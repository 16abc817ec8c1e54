"""What all tables share: the database they live in, and columns of JSON, times and ids."""

from __future__ import annotations

import time
import uuid
from typing import Any, Self

import msgspec
import peewee

DATABASE = peewee.SqliteDatabase(None, thread_safe=False)  # one thread uses it: see store.py


class Table(peewee.Model):
    """Root of all tables. Times are seconds since the epoch (UTC), as floats."""

    class Meta:
        database = DATABASE
        legacy_table_names = False

    @classmethod
    def one(cls, column: str, value: Any) -> Self | None:
        """The row whose unique `column` has that value, whole; None where there is none. The statement is
        written out: building it from the model costs five times the look-up for a wide table."""
        meta = cls._meta  # type: ignore[attr-defined]
        found = cls.raw(f'SELECT * FROM "{meta.table_name}" WHERE "{column}" = {meta.database.param}', value)  # noqa: S608
        return next(iter(found), None)

    @classmethod
    def known(cls, column: str, value: Any) -> Self:
        """As `one`, for a row that must be there. Raises the table's DoesNotExist."""
        found = cls.one(column, value)
        if found is None:
            raise cls.DoesNotExist(f"{cls.__name__}: no {column} {value}")  # type: ignore[attr-defined]
        return found


class JsonField(peewee.TextField):
    """Any plain value as JSON text."""

    def db_value(self, value: Any) -> str | None:
        return None if value is None else msgspec.json.encode(value).decode()

    def python_value(self, value: str | None) -> Any:
        return None if value is None else msgspec.json.decode(value)


def new_id() -> str:
    return str(uuid.uuid4())


def now() -> float:
    return time.time()
