"""Every schema of the APIs says how much it takes, and each of its patterns is one that can't be slow."""

import re2
from hostile import routes, schemas

from nova0.controller.api.keywords import ORDER, inner
from nova0.controller.api.validation import MOST_REPEATED

PROGRAM_MOST = 3000  # steps of RE2's program for a pattern of ours


def unbounded(schema: dict, where: str = "") -> list[str]:
    """What a schema leaves open, with where in it."""
    found = [f"{where}: unknown keyword {name}" for name in schema if name not in ORDER]
    if "enum" in schema or "const" in schema:
        return found
    kinds = schema.get("type", [])
    kinds = {kinds} if isinstance(kinds, str) else set(kinds)
    if not kinds and not {"anyOf", "oneOf"} & set(schema):
        found.append(f"{where}: takes anything")
    if "string" in kinds and "maxLength" not in schema:
        found.append(f"{where}: a string without maxLength")
    if kinds & {"integer", "number"} and not ({"minimum", "exclusiveMinimum"} & set(schema) and "maximum" in schema):
        found.append(f"{where}: a number without minimum and maximum")
    if "array" in kinds and ("maxItems" not in schema or (schema["maxItems"] and "items" not in schema)):
        found.append(f"{where}: an array without maxItems or items")
    named = "maxProperties" in schema and "maxLength" in schema.get("propertyNames", {})
    if "object" in kinds and schema.get("additionalProperties", True) is not False and not named:
        found.append(f"{where}: an object of any names without maxProperties and a length of names")
    if ("pattern" in schema or "format" in schema) and "maxLength" not in schema:
        found.append(f"{where}: a pattern or format without maxLength")
    if "pattern" in schema:
        found += [f"{where}: {why}" for why in not_linear(schema["pattern"])]
    names = list(schema.get("properties", {})) or ["*"]
    for at, one in enumerate(inner(schema)):
        found += unbounded(one, f"{where}.{names[min(at, len(names) - 1)]}")
    return found


def not_linear(pattern: str) -> list[str]:
    try:
        read = re2.compile(pattern)
    except re2.error as error:
        return [f"pattern {pattern!r} is not RE2's: {error}"]
    found = [] if read.programsize <= PROGRAM_MOST else [f"pattern {pattern!r} is too large"]
    if "$" in pattern or pattern.startswith("^"):
        found.append(f"pattern {pattern!r} has anchors: patterns are of the whole text")
    return found


def test_every_schema_is_bounded_and_linear():
    every = list(schemas())
    assert len(every) > 300
    assert [line for where, schema in every for line in unbounded(schema, where)] == []


def test_every_route_that_takes_a_body_has_a_schema_or_leaves_it_unread():
    """`{}` is for actions whose value is never looked at."""
    empty = {
        f"{route.method} {route.path} {route.action}"
        for _, route in routes()
        for schema in route.body.values()
        if schema == {}
    }
    actions = {"os-start", "os-stop", "pause", "unpause", "lock", "unlock", "forceDelete"}
    assert empty == {f"POST /servers/<server_id>/action {name}" for name in actions}


def test_a_name_of_a_query_comes_so_often_and_no_more():
    for _, route in routes():
        for query in route.query.values():
            assert all(one["maxItems"] == MOST_REPEATED for one in query["properties"].values())


def test_the_walk_sees_what_is_open():
    """The walk itself: each kind of hole, in a schema that has it."""
    for schema, hole in (
        ({"type": "string"}, "maxLength"),
        ({"type": ["null", "string"]}, "maxLength"),
        ({"type": "array", "items": {"type": "null"}}, "maxItems"),
        ({"type": "array", "maxItems": 3}, "items"),
        ({"type": "integer", "minimum": 0}, "maximum"),
        ({"type": "object"}, "any names"),
        ({"type": "object", "additionalProperties": {"type": "null"}, "maxProperties": 3}, "any names"),
        ({}, "anything"),
        ({"type": "string", "maxLength": 5, "pattern": "(?=a)b"}, "RE2"),
        ({"type": "string", "maxLength": 5, "pattern": "^a$"}, "anchors"),
        ({"type": "string", "maxLength": 5, "patternProperties": {}}, "unknown"),
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, "maxLength"),
        ({"type": "object", "additionalProperties": False, "properties": {"a": {"type": "string"}}}, "maxLength"),
    ):
        assert any(hole in line for line in unbounded(schema)), schema
