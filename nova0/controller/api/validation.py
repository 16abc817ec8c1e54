"""JSON Schema checks with messages that name the field. Schemas are plain dicts beside their routes.

`check` compiles a schema once. On the legacy path unknown fields are dropped instead of refused.
"""

from __future__ import annotations

import datetime
import ipaddress
import re
import uuid
from collections.abc import Iterator
from typing import Any

import jsonschema
from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import best_match

from nova0.controller.api.errors import ApiError

FORMATS = jsonschema.FormatChecker(formats=())

# Values that come as text or as themselves, as the field's schemas allow.
BOOLEAN = {"enum": [True, "True", "TRUE", "true", "1", "ON", "On", "on", "YES", "Yes", "yes",
                    False, "False", "FALSE", "false", "0", "OFF", "Off", "off", "NO", "No", "no"]}  # fmt: skip
INTEGER_TEXT = {"type": "string", "pattern": r"^-?[0-9]+$", "maxLength": 20}
NON_NEGATIVE_TEXT = {"type": "string", "pattern": r"^[0-9]+$", "maxLength": 20}
UUID = {"type": "string", "format": "uuid"}
NAME = {"type": "string", "minLength": 1, "maxLength": 255}


def obj(properties: dict[str, Any], required: list[str] | None = None, *, extra: bool = False) -> dict[str, Any]:
    """A schema for an object with these fields and, unless `extra`, no others."""
    return {"type": "object", "properties": properties, "required": required or [], "additionalProperties": extra}


def wrapped(key: str, properties: dict[str, Any], required: list[str] | None = None, **more: Any) -> dict[str, Any]:
    """A schema for {key: {fields}}, the field's envelope."""
    return obj({key: obj(properties, required, **more)}, [key])


def truth(value: Any) -> bool:
    """A BOOLEAN value as bool."""
    return value if isinstance(value, bool) else str(value).lower() in ("true", "1", "on", "yes")


@FORMATS.checks("uuid", ValueError)
def _uuid(value: object) -> bool:
    if isinstance(value, str):
        return str(uuid.UUID(value)).replace("-", "") == value.lower().replace("-", "")
    return True


@FORMATS.checks("date-time", ValueError)
def _date_time(value: object) -> bool:
    if isinstance(value, str):
        datetime.datetime.fromisoformat(value)
    return True


@FORMATS.checks("ip", ValueError)
def _ip(value: object) -> bool:
    return not isinstance(value, str) or bool(ipaddress.ip_address(value))


@FORMATS.checks("cidr", ValueError)
def _cidr(value: object) -> bool:
    return not isinstance(value, str) or bool(ipaddress.ip_network(value, strict=False))


@FORMATS.checks("mac", ValueError)
def _mac(value: object) -> bool:
    return not isinstance(value, str) or bool(re.fullmatch(r"([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}", value))


@FORMATS.checks("regex", re.error)
def _regex(value: object) -> bool:
    return not isinstance(value, str) or bool(re.compile(value))


def _drop_unknown(validator: Any, allowed: Any, instance: Any, schema: dict[str, Any]) -> Iterator[Any]:
    """additionalProperties of the legacy API: what is not known is dropped, not refused."""
    if allowed is False and isinstance(instance, dict):
        patterns = [re.compile(pattern) for pattern in schema.get("patternProperties", {})]
        for key in [key for key in instance if key not in schema.get("properties", {})]:
            if not any(pattern.search(key) for pattern in patterns):
                del instance[key]
    return iter(())


_Legacy = validators.extend(Draft202012Validator, {"additionalProperties": _drop_unknown})
_compiled: dict[tuple[int, bool], tuple[Any, Any]] = {}


def _validator(schema: dict[str, Any], legacy: bool) -> Any:
    key = (id(schema), legacy)
    if key not in _compiled:
        made = (_Legacy if legacy else Draft202012Validator)(schema, format_checker=FORMATS)
        _compiled[key] = (made, schema)  # the schema is kept so that its id stays its own
    return _compiled[key][0]


def check(schema: dict[str, Any], value: Any, *, legacy: bool = False) -> None:
    """ApiError 400 naming the field where `value` is not as `schema` says; `schema` lives as long as the process."""
    found = best_match(_validator(schema, legacy).iter_errors(value))
    if found is not None:
        raise ApiError(400, message(found), kind="HTTPBadRequest")


def message(error: Any) -> str:
    """The field's wording: which field, its value, what is wrong."""
    where = ".".join(str(part) for part in error.absolute_path)
    if error.validator in ("additionalProperties", "required", "minProperties", "maxProperties"):
        prefix = f"Invalid input for field/attribute {where}. " if where else "Invalid input. "
        return prefix + _shortened(error.message)
    if not where:
        return f"Invalid input. {_shortened(error.message)}"
    what = error.message
    if error.validator == "format":
        what = f"{_shortened(repr(error.instance))} is not a {error.validator_value!r}"
    return f"Invalid input for field/attribute {where}. Value: {_shortened(str(error.instance))}. {_shortened(what)}"


def _shortened(text: str, most: int = 400) -> str:
    return text if len(text) <= most else text[:most] + "..."
