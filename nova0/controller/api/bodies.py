"""Request bodies within bounds: JSON is refused by its declared size before a byte of it is read, and by how much it
holds before anything looks at what it says."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from nova0.controller.api.errors import ApiError
from nova0.controller.numbers import whole

JSON_MOST_BYTES = 1024 * 1024
JSON_MOST_VALUES = 10_000  # lists, objects and what is in them, all together: what is done with each costs time
JSON_MOST_DEPTH = 64
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[{,]', re.DOTALL)  # a text, or what a value begins with
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


def read_json(environ: dict[str, Any], content_types: tuple[str, ...] = ("application/json",)) -> Any:
    """The body as plain values, or None where there is none.

    ApiError: 413 over JSON_MOST_BYTES (declared, or received when chunked), 415 not one of `content_types`,
    400 malformed, cut short, nested deeper than JSON_MOST_DEPTH or with more than JSON_MOST_VALUES values.
    """
    length = declared_length(environ)
    if length is not None and length > JSON_MOST_BYTES:
        environ["nova0.unread"] = True  # the server closes rather than reading on
        raise ApiError(413, f"The body has {length} bytes; a JSON body may have at most {JSON_MOST_BYTES}.")
    if not length and not is_chunked(environ):
        return None
    kind = (environ.get("CONTENT_TYPE") or "").split(";")[0].strip().lower()
    if kind not in content_types:
        raise ApiError(
            415, f"Content-Type {kind or '(none)'} is not supported here: send {' or '.join(content_types)}."
        )
    raw = b"".join(_pieces_upto(environ, length, JSON_MOST_BYTES))
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


def _pieces_upto(environ: dict[str, Any], length: int | None, most: int) -> Iterator[bytes]:
    got = 0
    for piece in stream(environ, length):
        got += len(piece)
        if got > most:
            environ["nova0.unread"] = True
            raise ApiError(413, f"A JSON body may have at most {most} bytes.")
        yield piece


def stream(environ: dict[str, Any], length: int | None = None) -> Iterator[bytes]:
    """The body piece by piece, in bounded memory. ApiError 400 when the client stops before its end."""
    source = environ["wsgi.input"]
    left = length
    while left is None or left > 0:
        try:
            piece = source.read(_PIECE if left is None else min(_PIECE, left))
        except OSError as error:  # connection gone, timed out, or a broken chunk
            environ["nova0.unread"] = True
            raise ApiError(400, f"The body was cut short: {error}") from None
        if not piece:
            if left:
                environ["nova0.unread"] = True
                raise ApiError(400, f"The body was cut short: {left} bytes are missing.")
            return
        if left is not None:
            left -= len(piece)
        yield piece
