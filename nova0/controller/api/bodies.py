"""Request bodies within bounds: JSON is refused by its declared size before a byte of it is read, and by how much it
holds before anything looks at what it says."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

import gevent
import msgspec

from nova0.controller.api import connections
from nova0.controller.api.connections import GaveWay, NoRoom
from nova0.controller.api.errors import ApiError
from nova0.controller.numbers import whole

JSON_MOST_BYTES = 1024 * 1024
JSON_MOST_VALUES = 10_000  # lists, objects and what is in them, all together: what is done with each costs time
JSON_MOST_DEPTH = 64
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[{,]', re.DOTALL)  # a text, or what a value begins with
PUBLIC_MOST_BYTES = 256 * 1024  # where no token is asked for: log-ins are small
JSON_WITHIN_S = 60.0  # from its head to its last byte
_JSON_PIECE = 16 * 1024  # bytes set apart for each client whose body is awaited
_PIECE = 256 * 1024  # bytes held at once of a streamed body


def declared_length(environ: Mapping[str, Any]) -> int | None:
    """Content-Length; None for a chunked body or none at all. ApiError 400 when it is no number."""
    text = environ.get("CONTENT_LENGTH") or ""
    if not text:
        return None
    length = whole(text)
    if length is None:
        raise ApiError(400, f"Content-Length must be a number, not {text[:80]!r}.")
    return length


def is_chunked(environ: Mapping[str, Any]) -> bool:
    return "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower()


def read_json(
    environ: dict[str, Any], content_types: tuple[str, ...] = ("application/json",), most: int = JSON_MOST_BYTES
) -> Any:
    """The body as plain values, or None where there is none.

    ApiError: 413 over `most` bytes (declared, or received when chunked), 415 not one of `content_types`,
    400 malformed, cut short, nested deeper than JSON_MOST_DEPTH or with more than JSON_MOST_VALUES values, 408 not
    whole within JSON_WITHIN_S, 503 no room for so many bodies at once.
    """
    length = declared_length(environ)
    if length is not None and length > most:
        environ["nova0.unread"] = True  # the server closes rather than reading on
        without = "" if most == JSON_MOST_BYTES else f", and {most} without a token"
        raise ApiError(413, f"The body has {length} bytes; a JSON body may have at most {JSON_MOST_BYTES}{without}.")
    if not length and not is_chunked(environ):
        return None
    kind = (environ.get("CONTENT_TYPE") or "").split(";")[0].strip().lower()
    if kind not in content_types:
        raise ApiError(
            415, f"Content-Type {kind or '(none)'} is not supported here: send {' or '.join(content_types)}."
        )
    raw = _whole(environ, length, most)
    if not raw:
        return None
    _check_tokens(raw)
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ApiError(400, f"The body is not valid JSON: {error}") from None
    check_size(value)
    return value


def _check_tokens(raw: bytes) -> None:
    """ApiError 400 for a body that surely holds too much, before it is made into objects, which costs more."""
    if sum(raw.count(sign) for sign in (b",", b"[", b"{")) <= JSON_MOST_VALUES:
        return  # those in texts are counted too: else they are looked at one by one
    most = 3 * JSON_MOST_VALUES  # a value may have a name, and a sign before it
    for count, _ in enumerate(_TOKEN.finditer(raw)):
        if count > most:
            raise ApiError(400, f"The JSON body holds more than {JSON_MOST_VALUES} values.")


def check_size(value: Any) -> None:
    """ApiError 400 where a decoded value holds too much. Looks no further than the bounds."""
    level, values = [value], 0
    for _ in range(JSON_MOST_DEPTH):
        below: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                below += one.values()
            elif isinstance(one, list):
                below += one
        values += len(below)
        if values > JSON_MOST_VALUES:
            raise ApiError(400, f"The JSON body holds more than {JSON_MOST_VALUES} values.")
        if not below:
            return
        level = below
    raise ApiError(400, f"The JSON body is nested deeper than {JSON_MOST_DEPTH} levels.")


def _whole(environ: dict[str, Any], length: int | None, most: int) -> bytes:
    connection, source = connections.of(environ), environ["wsgi.input"]
    began, got = time.monotonic(), bytearray()
    late = ApiError(408, f"The body was not whole within {JSON_WITHIN_S:.0f} s.")
    try:
        with gevent.Timeout(JSON_WITHIN_S, late):
            while length is None or len(got) < length:
                count = _JSON_PIECE if length is None else min(_JSON_PIECE, length - len(got))
                connection.take_body(count)
                with connection.waiting(began):
                    piece = source.read(count)
                connection.leave_body(count - len(piece))
                got += piece
                if len(got) > most:
                    raise ApiError(413, f"A JSON body may have at most {most} bytes.")
                if not piece:
                    break
        if length is not None and len(got) < length:
            raise ApiError(400, f"The body was cut short: {length - len(got)} bytes are missing.")
    except ApiError:
        environ["nova0.unread"] = True
        raise
    except (OSError, NoRoom) as error:
        environ["nova0.unread"] = True
        raise _cut(connection, error) from None
    finally:
        connection.leave_body()
    return bytes(got)


def _cut(connection: connections.Connection, error: Exception) -> ApiError:
    if connection.gone.is_set() or isinstance(error, (GaveWay, NoRoom)):
        return ApiError(503, "Too many bodies are under way; send it again.", headers={"Retry-After": "1"})
    return ApiError(400, f"The body was cut short: {error}")  # connection gone, timed out, or a broken chunk


def stream(environ: dict[str, Any], length: int | None = None) -> Iterator[bytes]:
    """The body in pieces of up to 256 KiB, each as full as can be. ApiError 400 when the client stops early."""
    connection, source = connections.of(environ), environ["wsgi.input"]
    left = length
    while left is None or left > 0:
        piece, ended = bytearray(), False
        size = _PIECE if left is None else min(_PIECE, left)
        try:
            with connection.waiting():
                while len(piece) < size and not ended:
                    more = source.read(size - len(piece))
                    piece += more
                    ended = not more
        except OSError as error:
            environ["nova0.unread"] = True
            raise _cut(connection, error) from None
        if left is not None:
            left -= len(piece)
        if piece:
            yield bytes(piece)
        if ended:
            if left:
                environ["nova0.unread"] = True
                raise ApiError(400, f"The body was cut short: {left} bytes are missing.")
            return
