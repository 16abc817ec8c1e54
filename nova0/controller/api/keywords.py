"""JSON Schema keywords as this API reads them: bounds before all else, one error, never more than linear work.

Patterns are RE2's, tried on the whole text (`^` and `$` are not needed), so that none can be slow and none lets a
newline through at its end. The keywords that are not in ORDER do not exist.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import jsonschema
import msgspec
import re2
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

# In the order in which they are tried. What looks at one number comes before what looks at every item or letter.
ORDER = (
    "type", "const", "enum", "minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties",
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "required", "additionalProperties",
    "propertyNames", "pattern", "format", "anyOf", "oneOf", "properties", "items", "uniqueItems",
)  # fmt: skip
_RANK = {name: rank for rank, name in enumerate(ORDER)}
Errors = Iterator[ValidationError]

_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = _brief.maxlong = 120
_brief.maxdict = _brief.maxlist = 4
_brief.maxlevel = 3
shown: Callable[[Any], str] = _brief.repr  # of a value of any size, at the same small cost


def ordered(schema: Any) -> Any:
    """A copy of a schema whose keywords stand in the order of ORDER, all the way down."""
    if isinstance(schema, list):
        return [ordered(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found: dict[str, Any] = {}
    for name in sorted(schema, key=lambda name: _RANK.get(name, len(_RANK))):
        value = schema[name]
        if name == "properties":
            found[name] = {key: ordered(one) for key, one in value.items()}
        elif name in ("enum", "const", "required", "type"):
            found[name] = value
        else:
            found[name] = ordered(value)
    return found


@cache
def whole_text(pattern: str) -> Any:
    """`whole_text(p).Match(text)`: not empty where RE2's `p` is all of `text`. A set of one is its quickest search."""
    made = re2.Set.FullMatchSet()
    made.Add(pattern)
    made.Compile()
    return made


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Errors:
    if isinstance(instance, str) and not whole_text(pattern).Match(instance):
        yield ValidationError(f"{shown(instance)} does not match {pattern!r}")


_TYPES: dict[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: (
        not isinstance(value, bool) and (isinstance(value, int) or (isinstance(value, float) and value.is_integer()))
    ),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
}


def _type(validator: Any, types: str | list[str], instance: Any, schema: Any) -> Errors:
    if isinstance(types, str):
        if _TYPES[types](instance):
            return
        types = [types]
    elif any(_TYPES[name](instance) for name in types):
        return
    listed = ", ".join(repr(name) for name in types)
    yield ValidationError(f"{shown(instance)} is not of type {listed}")


def _enum(validator: Any, values: list[Any], instance: Any, schema: Any) -> Errors:
    if not any(one == instance and isinstance(one, bool) is isinstance(instance, bool) for one in values):
        yield ValidationError(f"{shown(instance)} is not one of {values!r}")


def _unique_items(validator: Any, wanted: bool, instance: Any, schema: Any) -> Errors:
    if not wanted or not isinstance(instance, list):
        return
    seen = set()
    for item in instance:
        key = msgspec.json.encode(item, order="sorted")
        if key in seen:
            yield ValidationError(f"{shown(instance)} has non-unique elements: {shown(item)} twice")
            return
        seen.add(key)


def _additional_properties(validator: Any, allowed: Any, instance: Any, schema: dict[str, Any]) -> Errors:
    if allowed is True or not isinstance(instance, dict):
        return
    known = schema.get("properties", {})
    extra = [name for name in instance if name not in known]
    if allowed is False:
        if extra:
            listed = ", ".join(shown(name) for name in sorted(extra)[:10])
            verb = "was" if len(extra) == 1 else "were"
            yield ValidationError(f"Additional properties are not allowed ({listed} {verb} unexpected)")
        return
    for name in extra:
        yield from validator.descend(instance[name], allowed, path=name)


def _drop_unknown(validator: Any, allowed: Any, instance: Any, schema: dict[str, Any]) -> Errors:
    """additionalProperties of the legacy API: what is not known is dropped, not refused."""
    if allowed is not False:
        yield from _additional_properties(validator, allowed, instance, schema)
    elif isinstance(instance, dict):
        for name in [name for name in instance if name not in schema.get("properties", {})]:
            del instance[name]


def _any_of(validator: Any, schemas: list[Any], instance: Any, schema: Any) -> Errors:
    """The first error of each; oneOf is read so too: our alternatives exclude one another."""
    found = []
    for index, one in enumerate(schemas):
        error = next(validator.descend(instance, one, schema_path=index), None)
        if error is None:
            return
        found.append(error)
    yield ValidationError(f"{shown(instance)} is not valid under any of the given schemas", context=found)


def _too_long(what: type[str] | type[list[Any]] | type[dict[str, Any]], unit: str) -> Callable[..., Errors]:
    def keyword(validator: Any, most: int, instance: Any, schema: Any) -> Errors:
        if isinstance(instance, what) and len(instance) > most:
            yield ValidationError(f"{shown(instance)} is too long: {len(instance)} {unit}, at most {most} are allowed")

    return keyword


_OWN: dict[str, Any] = {
    "type": _type,
    "enum": _enum,
    "pattern": _pattern,
    "uniqueItems": _unique_items,
    "additionalProperties": _additional_properties,
    "anyOf": _any_of,
    "oneOf": _any_of,
    "maxLength": _too_long(str, "characters"),
    "maxItems": _too_long(list, "items"),
    "maxProperties": _too_long(dict, "properties"),
}
_STRICT: dict[str, Any] = {name: _OWN.get(name) or Draft202012Validator.VALIDATORS[name] for name in ORDER}
_LEGACY = {**_STRICT, "additionalProperties": _drop_unknown}


class Validator:
    """What jsonschema's keywords run in. Its own makes a new one for every value it comes to: most of its time."""

    def __init__(self, schema: dict[str, Any], formats: jsonschema.FormatChecker, *, legacy: bool) -> None:
        """ValueError for a keyword that is not in ORDER."""
        self.format_checker = formats
        self._keywords = _LEGACY if legacy else _STRICT
        self._schema = ordered(schema)
        self._steps: dict[int, list[tuple[Any, str, Any]]] = {}
        self._compile(self._schema)

    def first_error(self, value: Any) -> ValidationError | None:
        return next(self.descend(value, self._schema), None)

    def descend(self, instance: Any, schema: Any, path: Any = None, schema_path: Any = None) -> Errors:
        for keyword, name, value in self._steps[id(schema)]:
            for error in keyword(self, value, instance, schema) or ():
                if not isinstance(error.validator, str):  # here it arose; on the way up only its path grows
                    error.validator, error.validator_value = name, value
                    error.instance, error.schema = instance, schema
                if path is not None:
                    error.path.appendleft(path)
                yield error

    @staticmethod
    def is_type(instance: Any, name: str) -> bool:
        return _TYPES[name](instance)

    def _compile(self, schema: dict[str, Any]) -> None:
        unknown = [name for name in schema if name not in _RANK]
        if unknown:
            raise ValueError(f"a schema uses {', '.join(unknown)}, which this API does not read")
        self._steps[id(schema)] = [
            (self._keywords[name], name, value)
            for name, value in schema.items()
            if not (name == "required" and not value) and not (name == "additionalProperties" and value is True)
        ]
        for one in inner(schema):
            self._compile(one)


def inner(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """The schemas that stand right in this one."""
    alone = [schema[name] for name in ("additionalProperties", "propertyNames", "items") if name in schema]
    several = [one for name in ("anyOf", "oneOf") for one in schema.get(name, ())]
    return [one for one in (*alone, *several, *schema.get("properties", {}).values()) if isinstance(one, dict)]
