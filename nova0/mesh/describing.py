"""An agent's surface as plain values, for people and programs: types, units, patience, who may call.

The unit of a number is in its name (`patience_s`, `size_bytes`, `memory_mb`), or annotated where the name is fixed:
`offset: Annotated[int, "bytes"]`. Numbers without a unit are counts, ports, numbers of things.
"""

from __future__ import annotations

import re
import types
import typing
from typing import Any

import msgspec

from nova0.mesh.surface import Method

UNITS = {
    "s": "seconds",
    "ms": "milliseconds",
    "bytes": "bytes",
    "kb": "KiB",
    "mb": "MiB",
    "gb": "GiB",
    "kib": "KiB",
    "mib": "MiB",
    "gib": "GiB",
    "percent": "percent",
}


class Described(msgspec.Struct):
    """What a row that another node says must have, to be shown; those of earlier versions have fewer fields."""

    agent: str
    method: str
    kind: str
    allow: list[str]
    timeout: str
    doc: str
    arguments: dict[str, str]
    returns: str
    silence_s: float = 0.0
    total_s: float = 0.0
    units: dict[str, str] = {}
    signature: str = ""
    returns_unit: str = ""


def described(topic: str, method: Method) -> dict[str, Any]:
    """One row of `nova0 agents describe`. `units` has the arguments that have one."""
    arguments = {name: type_name(kind) for name, kind in method.arguments.items()}
    units = {name: unit for name, kind in method.arguments.items() if (unit := unit_of(name, kind))}
    return {
        "agent": topic,
        "method": method.name,
        "kind": method.kind,
        "signature": _signature(method, arguments),
        "allow": [str(role) for role in method.allow],
        "timeout": method.timeout.name,
        "silence_s": method.timeout.silence_s,
        "total_s": method.timeout.total_s,
        "repeatable": method.repeatable,
        "destructive": method.destructive,
        "doc": method.doc,
        "arguments": arguments,
        "units": units,
        "required": list(method.required),
        "returns": type_name(method.returns),
        "returns_unit": unit_of("", method.returns),
    }


def _signature(method: Method, arguments: dict[str, str]) -> str:
    inner = ", ".join(
        f"{name}: {kind}" + ("" if name in method.required else f" = {method.defaults.get(name)!r}")
        for name, kind in arguments.items()
    )
    return f"{method.name}({inner}) -> {type_name(method.returns)}"


def unit_of(name: str, annotation: Any = None) -> str:
    """The unit of a number called so, or annotated so; "" for none."""
    for said in getattr(annotation, "__metadata__", ()):
        if isinstance(said, str):
            return said
    first, _, rest = name.partition("_")
    return UNITS.get(name.rpartition("_")[2], "bytes" if first == "bytes" else "") if rest else ""


def type_name(annotation: Any) -> str:
    """As one would write it, without modules, units and bounds."""
    if annotation is None or annotation is type(None):
        return "None"
    if annotation is ...:
        return "..."
    if hasattr(annotation, "__metadata__"):
        return type_name(annotation.__origin__)
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return " | ".join(type_name(part) for part in parts)
    if isinstance(origin, type) and parts and not any(isinstance(part, list) for part in parts):
        return f"{origin.__name__}[{', '.join(map(type_name, parts))}]"
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return annotation.__name__
    return re.sub(r"\b(?:[A-Za-z_]\w*\.)+(?=[A-Za-z_])", "", str(annotation))


def records(annotations: list[Any]) -> dict[str, list[dict[str, Any]]]:
    """Every record that these types hold, however deep: its name -> {name, type, unit, required} of each field."""
    found: dict[str, list[dict[str, Any]]] = {}
    waiting = list(annotations)
    while waiting:
        kind = waiting.pop()
        waiting += [part for part in typing.get_args(kind) if not isinstance(part, str)]
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind.__name__ not in found:
            hints = typing.get_type_hints(kind, include_extras=True)
            found[kind.__name__] = [
                {
                    "name": field.name,
                    "type": type_name(hints[field.name]),
                    "unit": unit_of(field.name, hints[field.name]),
                    "required": field.required,
                }
                for field in msgspec.structs.fields(kind)
            ]
            waiting += hints.values()
    return dict(sorted(found.items()))
