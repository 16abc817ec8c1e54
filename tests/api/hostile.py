"""Requests that mean harm, made from the routes and schemas of every API, and one way to send them and take the time.

For each route: each value of its body replaced by something too long, too many, too deep, too large or of another
script; each name of its query with such texts, once and often; each part of its path, and the headers read anywhere.
"""

import importlib
import json
import pkgutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any
from urllib.parse import quote, quote_from_bytes

from nova0.controller import api
from nova0.controller.api import compute, identity, image, mesh, network
from nova0.controller.api import nova0 as own
from nova0.controller.api.microversion import MAXIMUM, MINIMUM
from nova0.controller.api.resource import Route, at, routes_of

CPU_MOST_S = 0.05
MOUNTS = {
    "/v2.1": compute,
    "/v2": compute,
    "/identity/v3": identity,
    "/image/v2": image,
    "/network/v2.0": network,
    "/mesh/v1": mesh,
    "/nova0/v1": own,
}
# singular names of what the network service makes: its routes check their bodies themselves
NETWORK_BODIES = {
    "networks": "network",
    "subnets": "subnet",
    "ports": "port",
    "security-groups": "security_group",
    "security-group-rules": "security_group_rule",
    "quotas": "quota",
}


@dataclass(kw_only=True)
class Asked:
    """One request; `shown` says what is hostile about it."""

    method: str
    path: str
    shown: str
    query: str = ""
    body: bytes | None = None
    value: Any = None  # the body before it is written as JSON
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.method} {self.path[:120]} {self.shown}"


@dataclass(kw_only=True)
class Answered:
    status: int
    body: bytes
    loop_s: float  # processor time of the loop's thread
    store_s: float


class Client:
    """Asks the WSGI application in this thread."""

    def __init__(self, app: Any, services: Any, token: str) -> None:
        self.app, self.store, self.token = app, services.store, token

    def ask(self, asked: Asked) -> Answered:
        body = json.dumps(asked.value).encode() if asked.value is not None else asked.body
        environ = {
            "REQUEST_METHOD": asked.method,
            "PATH_INFO": asked.path,
            "QUERY_STRING": asked.query,
            "SCRIPT_NAME": "",
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "wsgi.url_scheme": "http",
            "wsgi.errors": BytesIO(),
            "wsgi.input": BytesIO(body or b""),
            "REMOTE_ADDR": "127.0.0.1",
            "HTTP_X_AUTH_TOKEN": self.token,
            "HTTP_OPENSTACK_API_VERSION": f"compute {MAXIMUM}",
        }
        if body is not None:
            environ |= {"CONTENT_LENGTH": str(len(body)), "CONTENT_TYPE": asked.content_type}
        environ |= asked.headers
        told: list[Any] = []
        store_begun = self.store.read(time.thread_time)
        begun = time.thread_time()
        answer = b"".join(self.app(environ, lambda *words: told.extend(words)))
        loop_s = time.thread_time() - begun
        return Answered(
            status=int(told[0].split()[0]),
            body=answer,
            loop_s=loop_s,
            store_s=self.store.read(time.thread_time) - store_begun,
        )


LONG = 300_000
TEXTS = {
    "long": "a" * LONG,
    "nearly a name": "a" * 50_000 + "!",
    "blanks": " " * LONG,
    "a newline at its end": "abc\n",
    "control characters": "\x00\x1b[31m\r\n",
    "digits of another script": "\u00b2\u0663\uff19",
    "five thousand digits": "9" * 5000,
    "2**63": str(2**63),
    "dashes": "-" * 100_000,
    "brackets": "[" * 100_000,
    "dots": "1." * 50_000,
    "a time before all": "0001-01-01T00:00:00+23:59",
    "a time after all": "9999-12-31T23:59:59-23:59",
    "an address with a zone": "fe80::1%\nx",
    "a uuid with a zone": "{00000000-0000-0000-0000-00000000000\u0661}",
}
MIXED = [one for number in range(2400) for one in (number, str(number))]
VALUES: dict[str, Any] = {
    **TEXTS,
    "2**63 itself": 2**63,
    "a number of 4000 digits": 10**4000,
    "-1": -1,
    "1e308": 1e308,
    "0.1": 0.1,
    "true": True,
    "null": None,
    "mixed items": MIXED,
    "equal items": ["x"] * 9000,
    "objects": [{"uuid": "x", "name": "x", "id": "x"}] * 2000,
    "empty lists": [[]] * 9000,
    "a list of long": ["a" * 3000] * 100,
    "many names": {f"n{number}": "x" for number in range(9000)},
    "a long name": {"n" * 100_000: "x"},
    "numbers by name": {f"n{number}": number for number in range(9000)},
    "an empty object": {},
    "deep": json.loads("[" * 60 + "]" * 60),
    "deep objects": json.loads('{"a":' * 60 + "1" + "}" * 60),
}
RAW = {
    "deeper": b"[" * 100_000 + b"]" * 100_000,
    "half a million numbers": b"[" + b"1," * 500_000 + b"1]",
    "small lists": b"[" + b"[[[[]]]]," * 100_000 + b"1]",
    "many names": b"{" + b",".join(b'"%d":1' % number for number in range(90_000)) + b"}",
    "a number without end": b'{"a":' + b"9" * 900_000 + b"}",
    "no JSON": b"\xff\xfe{",
    "a text without end": b'{"a":"' + b'\\"' * 400_000,
    "commas in a text": b'{"a":"' + b",[{" * 300_000 + b'"}',
    "nothing": b"null",
    "a text": b'"a"',
}
QUERY_TEXTS = [
    "\u00b2",
    "\u0663",
    "9" * 4000,
    str(2**63),
    "-1",
    "1e9",
    "a*a*a*a*x",
    "(a|a|b?)*(a|b)*[ab]{200}c",
    "(?=a)b",
    "\\1",
    "(",
    "x" * 4000,
    "\x00",
    "\n",
    "a\n",
    'in:"a\rb',
    "in:a,b",
    "in:a\rb",
    "gt:0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59-23:59",
    "0001-01-01T00:00:00+23:59",
    "{" * 3000,
    '{"a":' * 500,
    ",".join("abcdefgh") * 200,
    "%",
    "ACTIVE",
    "asc",
    "None",
    "true",
    "name:asc," * 300,
    "ip_address=\u00b2",
    "Infinity",
    "nan",
    "",
    "1_000",
    " 5",
    "[[[[",
    "\ud7ff\U0010ffff",
]
OPEN_NAMES = (
    "created_at",
    "size_min",
    "size_max",
    "protected",
    "sort",
    "limit",
    "tag",
    "id",
    "name",
    "status",
    "min_ram",
)
PATH_TEXTS = [
    "\u00b2",
    "9" * 4000,
    str(2**63),
    str(2**31),
    "a\n",
    "\x00",
    "..",
    "a" * 3000,
    "-1",
    "%",
    "a,b",
    "\u0663",
    "1_0",
]
HEADERS = {
    "HTTP_OPENSTACK_API_VERSION": [
        "compute 2." + "9" * 5000,
        "compute \u00b2.1".encode().decode("latin-1"),
        "compute",
        "," * 8000,
        "compute 2.1," * 500,
        "compute 99999999999999999999.1",
        "compute 2.1\n",
    ],
    "HTTP_X_OPENSTACK_NOVA_API_VERSION": ["2." + "9" * 5000, "2.\xb2"],
    "HTTP_X_AUTH_TOKEN": ["a" * 8000, "\xff" * 100, "", "gAAAAA" + "A" * 2000],
    "HTTP_X_SUBJECT_TOKEN": ["a" * 8000, "\xff" * 100, "gAAAAA" + "=" * 2000],
    "HTTP_X_OPENSTACK_REQUEST_ID": ["req-" + "0" * 8000, "req-00000000-0000-0000-0000-000000000000\n"],
    "HTTP_TRACEPARENT": ["00-" + "0" * 8000, "00-" + "a" * 32 + "-" + "b" * 16 + "-01\n"],
    "HTTP_RANGE": [
        "bytes=0-" + "9" * 5000,
        "bytes=-" + "9" * 5000,
        "bytes=\xb2-",
        "bytes=-0",
        "bytes=5-1",
        "bytes=0-0," * 800,
    ],
    "CONTENT_LENGTH": ["9" * 5000, "\xb2", "-1", " 1", "1_0", "18446744073709551616"],
    "HTTP_TRANSFER_ENCODING": ["chunked, chunked", "x" * 8000],
    "CONTENT_TYPE": ["a" * 8000, "application/json;" * 400],
    "HTTP_UPGRADE": ["nova0-tunnel", "x" * 8000],
}


def routes() -> Iterator[tuple[str, Route]]:
    for mount, service in MOUNTS.items():
        for route in routes_of(service.RESOURCES):
            yield mount, route


def schemas() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema of the API's modules, those of routes included, with where it stands."""
    for _, name, _ in pkgutil.walk_packages(api.__path__, api.__name__ + "."):
        if name.endswith("image.schemas"):
            continue  # what it publishes is for clients; nothing is checked by it
        module = importlib.import_module(name)
        for variable, value in vars(module).items():
            for schema in _within(value, module):
                yield f"{name}.{variable}", schema


def _within(value: Any, module: Any, depth: int = 0) -> Iterator[dict[str, Any]]:
    """Schemas in a module's variable: itself, by version, by name, or of the routes of a function."""
    if isinstance(value, dict) and depth < 3:
        if isinstance(value.get("type"), str | list) or "anyOf" in value or "enum" in value:
            yield value
        else:
            for one in value.values():
                yield from _within(one, module, depth + 1)
    elif callable(value) and getattr(value, "__module__", "") == module.__name__:
        for route in getattr(value, "__dict__", {}).get("routes", ()):
            yield from (one for one in (*route.body.values(), *route.query.values()) if one)


FITTING = {
    "uuid": "70a599e0-31e7-49b7-b260-868f441e862b",
    "ip": "192.0.2.1",
    "cidr": "10.0.0.0/24",
    "mac": "fa:16:3e:00:00:01",
}


def sample(schema: dict[str, Any]) -> Any:
    """A value that fits, or nearly."""
    if "enum" in schema:
        return schema["enum"][0]
    if "const" in schema:
        return schema["const"]
    for name in ("anyOf", "oneOf"):
        if name in schema:
            return sample(schema[name][0])
    kinds = schema.get("type", "null")
    kind = kinds if isinstance(kinds, str) else kinds[0]
    if kind == "object":
        return {name: sample(schema["properties"][name]) for name in schema.get("required", ())}
    if kind == "array":
        return [sample(schema["items"])] if schema.get("minItems") else []
    if kind == "string":
        return FITTING.get(schema.get("format", ""), "1" if "0-9" in schema.get("pattern", "") else "name")
    return {"integer": max(1, schema.get("minimum", 1)), "number": 1, "boolean": False}.get(kind)


def spoilt(schema: dict[str, Any], whole: Any) -> Iterator[tuple[str, Any]]:
    """`whole` with one part after another replaced by every hostile value."""
    for name, value in VALUES.items():
        yield name, value
    if schema.get("type") == "object" and isinstance(whole, dict):
        for key, inner in schema.get("properties", {}).items():
            for name, value in spoilt(inner, sample(inner)):
                yield f"{key}: {name}", whole | {key: value}
    elif schema.get("type") == "array" and "items" in schema:
        for name, value in spoilt(schema["items"], sample(schema["items"])):
            yield f"0.{name}", [value]
    for part in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        if part.get("type") in ("object", "array"):
            for name, value in spoilt(part, sample(part)):
                yield name, value


def body_schema(mount: str, route: Route) -> dict[str, Any] | None:
    found = at(route.body, MAXIMUM if route.until >= MAXIMUM else route.until)
    if found is not None or mount != "/network/v2.0" or route.method not in ("POST", "PUT"):
        return found
    name = NETWORK_BODIES.get(route.path.split("/")[1])
    schema = route.function.__globals__.get("_CREATE" if route.method == "POST" else "_UPDATE")
    return {"type": "object", "properties": {name: schema}, "required": [name]} if name and schema else None


def version_of(route: Route) -> str:
    """The latest version the route is offered at."""
    return str(max(MINIMUM, min(route.until, MAXIMUM)))


def of_route(mount: str, route: Route, ids: dict[str, str]) -> Iterator[Asked]:
    """All hostile requests of one route; `ids`: what stands for `<name>` in paths."""
    parts = [ids.get(part.strip("<>"), "name") if part.startswith("<") else part for part in route.path.split("/")]
    path = mount + "/".join(parts)
    headers = {"HTTP_OPENSTACK_API_VERSION": f"compute {version_of(route)}"}
    kind = route.content_types[0]

    def made(shown: str, **more: Any) -> Asked:
        usual = {"method": route.method, "path": path, "headers": headers, "content_type": kind}
        return Asked(**usual | {"shown": shown} | more)

    schema = body_schema(mount, route)
    if route.method in ("POST", "PUT", "PATCH"):
        wrap = (lambda value: {route.action: value}) if route.action else (lambda value: value)
        plain = sample(schema) if schema else {}
        yield made("as meant", body=json.dumps(wrap(plain)).encode())
        if not route.raw:
            for name, raw in RAW.items():
                yield made(name, body=raw)
            for name, value in spoilt(schema or {"type": "object"}, plain):
                yield made(name, value=wrap(value))
        with_body = json.dumps(wrap(plain)).encode()
    else:
        yield made("as meant")
        with_body = None
    for version, query in route.query.items():
        told = headers | {"HTTP_OPENSTACK_API_VERSION": f"compute {max(MINIMUM, version)}"}
        for name in query["properties"] or ("x",) * route.query_open:
            for text in QUERY_TEXTS:
                pair = f"{name}={quote(text)}"
                yield made(f"?{pair[:80]}", query=pair[:8000], body=with_body, headers=told)
            for text in ("ACTIVE", "a", "\u00b2", "name"):
                many = "&".join([f"{name}={quote(text)}"] * 250)
                yield made(f"?{name}={text} 250 times", query=many[:7900], body=with_body, headers=told)
    yield made("many names", query="&".join(f"n{number}=1" for number in range(600)), body=with_body)
    yield made("a long query", query="a=" + "x" * 100_000, body=with_body)
    if route.query_open:
        for name in OPEN_NAMES:
            for text in QUERY_TEXTS:
                yield made(f"?{name}={text[:40]}", query=f"{name}={quote(text)}"[:8000])
    for at_part, part in enumerate(route.path.split("/")):
        if part.startswith("<"):
            for text in PATH_TEXTS:
                parts = path.removeprefix(mount).split("/")
                parts[at_part] = text
                sent = (mount + "/".join(parts)).encode().decode("latin-1")  # as WSGI has it
                yield made(f"{part} {quote_from_bytes(text.encode())[:60]}", path=sent, body=with_body)
    for name, texts in HEADERS.items():
        for text in texts:
            yield made(f"{name} {text[:40]!r}", headers=headers | {name: text}, body=with_body)
