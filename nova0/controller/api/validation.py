"""JSON Schema checks with messages that name the field. Schemas are plain dicts beside their routes.

`check` compiles a schema once and tells of the first error only, bounds before all else (see keywords.py). On the
legacy path unknown fields are dropped instead of refused.
"""

from __future__ import annotations

import ipaddress
import re
import uuid
from typing import Any

import jsonschema
from jsonschema.exceptions import ValidationError

from nova0.controller.api import keywords
from nova0.controller.api.errors import ApiError
from nova0.controller.api.times import seconds_of

FORMATS = jsonschema.FormatChecker(formats=())

# Values that come as text or as themselves, as the field's schemas allow.
BOOLEAN = {"enum": [True, "True", "TRUE", "true", "1", "ON", "On", "on", "YES", "Yes", "yes",
                    False, "False", "FALSE", "false", "0", "OFF", "Off", "off", "NO", "No", "no"]}  # fmt: skip
UUID = {"type": "string", "format": "uuid", "maxLength": 36}
IP = {"type": "string", "format": "ip", "maxLength": 45}
CIDR = {"type": "string", "format": "cidr", "maxLength": 64}
MAC = {"type": "string", "format": "mac", "maxLength": 17}
TIME = {"type": "string", "format": "date-time", "maxLength": 64}
PRINTABLE = r"[^\x00-\x1f\x7f]*"  # no control characters; a newline is one
VISIBLE = r"[^\x00-\x1f\x7f]*[^\s\pZ\x{85}\x00-\x1f\x7f][^\x00-\x1f\x7f]*"  # and something that is no blank
NAME = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": PRINTABLE}
TEXT = {"type": "string", "maxLength": 255}
LONG_TEXT = {"type": "string", "maxLength": 4096}
KEY = {"type": "string", "minLength": 1, "maxLength": 255}  # of an object with names of the user's
MOST_PROPERTIES = 128
MOST_REPEATED = 256  # values of one name in a query; the target's length bounds it, too


def obj(properties: dict[str, Any], required: list[str] | None = None, *, extra: bool = False) -> dict[str, Any]:
    """A schema for an object with these fields and, unless `extra`, no others."""
    more = {"maxProperties": MOST_PROPERTIES, "propertyNames": KEY} if extra else {}
    return {
        "type": "object",
        "properties": properties,
        "required": required or [],
        "additionalProperties": extra,
        **more,
    }


def mapping(values: dict[str, Any], keys: dict[str, Any] = KEY, most: int = MOST_PROPERTIES) -> dict[str, Any]:
    """A schema for an object whose names are the user's: at most `most`, each as `keys`, each value as `values`."""
    return {"type": "object", "maxProperties": most, "propertyNames": keys, "additionalProperties": values}


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
        seconds_of(value)
    return True


@FORMATS.checks("ip", ValueError)
def _ip(value: object) -> bool:
    """Without a zone (fe80::1%x): what stands behind the percent sign may be anything."""
    return not isinstance(value, str) or ("%" not in value and bool(ipaddress.ip_address(value)))


@FORMATS.checks("cidr", ValueError)
def _cidr(value: object) -> bool:
    return not isinstance(value, str) or ("%" not in value and bool(ipaddress.ip_network(value, strict=False)))


@FORMATS.checks("mac", ValueError)
def _mac(value: object) -> bool:
    return not isinstance(value, str) or bool(re.fullmatch(r"([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}", value))


_compiled: dict[tuple[int, bool], tuple[Any, Any]] = {}


def _validator(schema: dict[str, Any], legacy: bool) -> Any:
    key = (id(schema), legacy)
    if key not in _compiled:
        made = keywords.Validator(schema, FORMATS, legacy=legacy)
        _compiled[key] = (made, schema)  # the schema is kept so that its id stays its own
    return _compiled[key][0]


def check(schema: dict[str, Any], value: Any, *, legacy: bool = False) -> None:
    """ApiError 400 naming the field where `value` is not as `schema` says; `schema` lives as long as the process."""
    found = _validator(schema, legacy).first_error(value)
    if found is not None:
        raise ApiError(400, message(_closest(found)), kind="HTTPBadRequest")


def _closest(error: ValidationError) -> ValidationError:
    """Of alternatives that all failed, the one that was meant: the only one that fits the value's kind."""
    while error.context:
        meant = [one for one in error.context if one.path or one.validator not in ("type", "enum", "const")]
        if len(meant) != 1:
            break
        error = meant[0]
    return error


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
        what = f"{keywords.shown(error.instance)} is not a {error.validator_value!r}"
    value = error.instance if isinstance(error.instance, str) else keywords.shown(error.instance)
    return f"Invalid input for field/attribute {where}. Value: {_shortened(value)}. {_shortened(what)}"


def _shortened(text: str, most: int = 400) -> str:
    return text if len(text) <= most else text[:most] + "..."
