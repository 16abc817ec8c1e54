"""The head of an HTTP request, read by the letter: what two readers could take in two ways is refused.

Which bytes end a body must not be a matter of opinion (RFC 9112, 6.3), or one client's bytes become another's
request at a proxy.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import BinaryIO
from urllib.parse import urlsplit

LINE_MOST_BYTES = 8192  # the request line
HEAD_MOST_BYTES = 32 * 1024  # all header fields together
FIELDS_MOST = 100
LENGTH_MOST_DIGITS = 19

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_NOT_IN_TARGET = re.compile(r"[\x00-\x20\x7f#]")
_VERSION = re.compile(r"HTTP/[0-9]\.[0-9]")
_NAME_AND_PORT = re.compile(r"(?:[A-Za-z0-9\-._~%!$&'()*+,;=]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
_ONCE = ("host", "content-length", "transfer-encoding", "content-type", "expect")


class BadRequest(Exception):
    """The request can't be read: the answer is `status` with the message, and the connection closes."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


@dataclass
class Head:
    """`path` and `query` as sent; `fields` in order, names in lower case. `length`: of the body, None when chunked
    or without one. `keep`: the connection may be used again."""

    method: str
    path: str
    query: str
    version: str
    fields: list[tuple[str, str]] = field(default_factory=list)
    length: int | None = None
    chunked: bool = False
    keep: bool = True
    asks_to_go_on: bool = False  # Expect: 100-continue
    authority: str | None = None  # of an absolute target: it counts, and not the header Host

    def get(self, name: str) -> str | None:
        """The first value under that name (lower case)."""
        return next((value for known, value in self.fields if known == name), None)


def read_head(request_line: str, lines: BinaryIO) -> Head:
    """The head that begins with `request_line`; its fields come from `lines`. Raises BadRequest, OSError."""
    head = _request_line(request_line)
    head.fields = _fields(lines)
    once = {name: [value for known, value in head.fields if known == name] for name in _ONCE}
    for name, values in once.items():
        if len(values) > 1:
            raise BadRequest(400, f"The header {name} must not be sent more than once.")
    _host(head, once["host"])
    _framing(head, once["content-length"], once["transfer-encoding"])
    words = [word.strip().lower() for known, value in head.fields if known == "connection" for word in value.split(",")]
    head.keep = head.version == "HTTP/1.1" and "close" not in words
    if once["expect"] and head.version == "HTTP/1.1":
        if once["expect"][0].lower() != "100-continue":
            raise BadRequest(417, "The header Expect can only be 100-continue.")
        head.asks_to_go_on = head.chunked or bool(head.length)
    return head


def _request_line(line: str) -> Head:
    if not line.endswith("\r\n"):
        raise BadRequest(400, "The request line must end in CRLF.")
    words = line[:-2].split(" ")
    if len(words) != 3 or not _TOKEN.fullmatch(words[0]):
        raise BadRequest(400, "The request line must be METHOD TARGET VERSION.")
    method, target, version = words
    if not _VERSION.fullmatch(version):
        raise BadRequest(400, "The version in the request line must be HTTP/1.1 or HTTP/1.0.")
    if version not in ("HTTP/1.1", "HTTP/1.0"):
        raise BadRequest(505, "Only HTTP/1.1 and HTTP/1.0 are spoken here.")
    if not target or _NOT_IN_TARGET.search(target):
        raise BadRequest(400, "The request target has characters that must be percent-encoded.")
    if target == "*" and method == "OPTIONS":
        target = "/"
    authority = None
    if not target.startswith("/"):
        authority, target = _absolute(target)
    path, _, query = target.partition("?")
    return Head(method, path, query, version, authority=authority)


def _absolute(target: str) -> tuple[str, str]:
    """(host[:port], path?query) of http://host/path."""
    scheme, mark, rest = target.partition("://")
    if not mark or scheme.lower() not in ("http", "https"):
        raise BadRequest(400, "The request target must be a path, or http://HOST/PATH.")
    end = min((at for at in (rest.find("/"), rest.find("?")) if at >= 0), default=len(rest))
    authority, target = rest[:end], rest[end:]
    if not _is_authority(authority):
        raise BadRequest(400, "The host in the request target is none.")
    return authority, target if target.startswith("/") else "/" + target


def _is_authority(text: str) -> bool:
    if not _NAME_AND_PORT.fullmatch(text):
        return False
    try:
        port = urlsplit("//" + text).port
    except ValueError:
        return False
    return port is None or port > 0


def _fields(lines: BinaryIO) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    left = HEAD_MOST_BYTES
    while True:
        raw = lines.readline(left + 1)
        left -= len(raw)
        if left < 0 or len(found) > FIELDS_MOST:
            raise BadRequest(431, f"Headers may have {HEAD_MOST_BYTES} bytes and {FIELDS_MOST} fields.")
        if raw == b"\r\n":
            return found
        if not raw.endswith(b"\r\n"):
            raise BadRequest(400, "A header line must end in CRLF.")
        line = raw[:-2].decode("latin-1")
        name, colon, value = line.partition(":")
        if not colon or not _TOKEN.fullmatch(name):
            raise BadRequest(400, "A header line must be NAME: VALUE, without a space before the colon or the name.")
        if _CONTROL.search(value):
            raise BadRequest(400, f"The header {name} has a control character.")
        found.append((name.lower(), value.strip(" \t")))


def _host(head: Head, sent: list[str]) -> None:
    """Exactly one good Host in HTTP/1.1; that of an absolute target counts in its place."""
    if not sent and head.version == "HTTP/1.1":
        raise BadRequest(400, "An HTTP/1.1 request needs the header Host.")
    if sent and not _is_authority(sent[0]):
        raise BadRequest(400, "The header Host must be a name or address, with a port or without.")
    if head.authority is not None:
        head.fields = [(name, head.authority if name == "host" else value) for name, value in head.fields]


def _framing(head: Head, lengths: list[str], codings: list[str]) -> None:
    if codings:
        if lengths:
            raise BadRequest(400, "Content-Length and Transfer-Encoding contradict each other: send one.")
        if head.version != "HTTP/1.1":
            raise BadRequest(400, "HTTP/1.0 has no Transfer-Encoding.")
        words = [word.strip().lower() for word in codings[0].split(",")]
        if words != ["chunked"]:
            known = set(words) <= {"chunked", "identity", ""}
            raise BadRequest(400 if known else 501, "Transfer-Encoding can only be chunked, once.")
        head.chunked = True
    elif lengths:
        text = lengths[0]
        if not text.isascii() or not text.isdigit() or len(text) > LENGTH_MOST_DIGITS:
            raise BadRequest(400, f"Content-Length must be a number of up to {LENGTH_MOST_DIGITS} digits.")
        head.length = int(text)
