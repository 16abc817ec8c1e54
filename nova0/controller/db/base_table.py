"""What all tables share: the database they live in, and columns of JSON, times and ids."""

from __future__ import annotations

import logging
import math
import time
import uuid
from functools import cache, lru_cache
from typing import Any, Self, cast

import msgspec
import peewee

LOG = logging.getLogger(__name__)
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
        statement, names, converted = _select(cls, column)
        found = cls._meta.database.execute_sql(statement, (value,)).fetchone()  # type: ignore[attr-defined]
        if found is None:
            return None
        row: Any = cls(__no_default__=1)
        row.__data__.update(zip(names, found, strict=True))
        for name, convert in converted:
            row.__data__[name] = convert(row.__data__[name])
        return cast(Self, row)

    @classmethod
    def create(cls, **columns: Any) -> Self:
        """Insert a row and return it, as peewee's own does. Written out for the same reason as `one`."""
        row: Any = cls(**columns)
        meta, values = row._meta, row.__data__
        written = _insert(cls, tuple(values))
        done = meta.database.execute_sql(written, [meta.fields[name].db_value(value) for name, value in values.items()])
        if meta.auto_increment and row._pk is None:
            row._pk = done.lastrowid
        row._dirty.clear()
        return cast(Self, row)

    @classmethod
    def change(cls, where: dict[str, Any], **columns: Any) -> int:
        """Set columns of the rows in which all of `where` are as given (None: NULL). How many there were.
        Written out for the same reason as `one`."""
        meta = cls._meta  # type: ignore[attr-defined]
        nulls = tuple(name for name, value in where.items() if value is None)
        known = {name: value for name, value in where.items() if value is not None}
        values = [meta.fields[name].db_value(value) for name, value in (*columns.items(), *known.items())]
        return int(meta.database.execute_sql(_update(cls, tuple(columns), tuple(known), nulls), values).rowcount)

    @classmethod
    def known(cls, column: str, value: Any) -> Self:
        """As `one`, for a row that must be there. Raises the table's DoesNotExist."""
        found = cls.one(column, value)
        if found is None:
            raise cls.DoesNotExist(f"{cls.__name__}: no {column} {value}")  # type: ignore[attr-defined]
        return found


@cache
def _select(table: type[Table], column: str) -> tuple[str, tuple[str, ...], tuple[tuple[str, Any], ...]]:
    """The statement, the fields it gives, and those whose values are not as SQLite gives them."""
    meta = table._meta  # type: ignore[attr-defined]
    columns = ", ".join(f'"{field.column_name}"' for field in meta.sorted_fields)
    statement = f'SELECT {columns} FROM "{meta.table_name}" WHERE "{column}" = {meta.database.param}'  # noqa: S608
    other = (JsonField, peewee.BooleanField)
    converted = tuple((field.name, field.python_value) for field in meta.sorted_fields if isinstance(field, other))
    return statement, tuple(field.name for field in meta.sorted_fields), converted


@cache
def _insert(table: type[Table], names: tuple[str, ...]) -> str:
    meta = table._meta  # type: ignore[attr-defined]
    columns = ", ".join(f'"{meta.fields[name].column_name}"' for name in names)
    places = ", ".join([meta.database.param] * len(names))
    return f'INSERT INTO "{meta.table_name}" ({columns}) VALUES ({places})'  # noqa: S608 - names of our own


@cache
def _update(table: type[Table], names: tuple[str, ...], known: tuple[str, ...], nulls: tuple[str, ...]) -> str:
    meta = table._meta  # type: ignore[attr-defined]

    def column(name: str) -> str:
        return f'"{meta.fields[name].column_name}"'

    changes = ", ".join(f"{column(name)} = {meta.database.param}" for name in names)
    where = [f"{column(name)} = {meta.database.param}" for name in known] + [f"{column(n)} IS NULL" for n in nulls]
    return f'UPDATE "{meta.table_name}" SET {changes} WHERE {" AND ".join(where)}'  # noqa: S608 - names of our own


class JsonField(peewee.TextField):
    """A plain value as JSON text. `of`: dict or list where it is always one; by the default where there is one."""

    def __init__(self, *args: Any, of: type | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self._of = of or (self.default if isinstance(self.default, type) else object)

    def db_value(self, value: Any) -> str | None:
        """Raises ValueError for what would not be read as it was written: NaN and infinities, which JSON lacks."""
        if value is None:
            return None
        text = msgspec.json.encode(value)
        if b"null" in text and not finite(value):
            raise ValueError(f"{self.name}: a number in it is not finite")
        return text.decode()

    def python_value(self, value: str | None) -> Any:
        if value is None:
            return None
        try:
            found = msgspec.json.decode(value)
            if isinstance(found, self._of):
                return found
            raise TypeError(f"{type(found).__name__} in place of {self._of.__name__}")
        except (msgspec.DecodeError, RecursionError, TypeError) as error:
            _tell_once(f"column {self.model._meta.table_name}.{self.name}: {error}: {str(value)[:40]!r}")
            return Unreadable()


def part(column: Any, path: str) -> Any:
    """SQL: what is at `path` in a JSON column; NULL where that can't be read, which would end the whole statement."""
    return peewee.Case(None, [(peewee.fn.json_valid(column), peewee.fn.json_extract(column, path))], None)


class Unreadable(dict[str, Any]):
    """In place of a JSON value that cannot be read: empty, true, and what is made of it lacks its fields, so that
    the row it belongs to is refused and no other."""

    def __bool__(self) -> bool:
        return True


def finite(value: Any) -> bool:
    """Whether all numbers in a plain value are."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(finite(one) for one in value.values())
    if isinstance(value, list | tuple | set | frozenset):
        return all(finite(one) for one in value)
    if isinstance(value, msgspec.Struct):
        return finite(msgspec.to_builtins(value))
    return True


@lru_cache(256)
def _tell_once(what: str) -> None:
    LOG.error("the store: %s: it cannot be read, and what it belongs to is left out", what)


def new_id() -> str:
    return str(uuid.uuid4())


def now() -> float:
    return time.time()
