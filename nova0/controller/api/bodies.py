"""Request bodies within bounds: JSON is refused by its declared size before a byte of it is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from nova0.controller.api.errors import ApiError

JSON_MOST_BYTES = 1024 * 1024
_PIECE = 256 * 1024  # bytes held at once of a streamed body


def declared_length(environ: Mapping[str, Any]) -> int | None:
    """Content-Length; None for a chunked body or none at all. ApiError 400 when it is no number."""
    text = environ.get("CONTENT_LENGTH") or ""
    if not text:
        return None
    if not text.isascii() or not text.isdigit():
        raise ApiError(400, f"Content-Length must be a number, not {text!r}.")
    return int(text)


def is_chunked(environ: Mapping[str, Any]) -> bool:
    return "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower()


def read_json(environ: dict[str, Any], content_types: tuple[str, ...] = ("application/json",)) -> Any:
    """The body as plain values, or None where there is none.

    ApiError: 413 over JSON_MOST_BYTES (declared, or received when chunked), 415 not one of `content_types`,
    400 malformed or cut short.
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
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ApiError(400, f"The body is not valid JSON: {error}") from None


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
