"""Arguments and results of one method as bytes: the only place that knows they are MessagePack.

Typed on the receiving side; a value that does not fit is refused with the name of its field.
"""

from __future__ import annotations

from typing import Any

import msgspec

from nova0.mesh.errors import BadArguments, RemoteError, to_wire
from nova0.mesh.surface import Method, Surface

MOST_BYTES = (8 << 20) - (64 << 10)  # arguments or a result: what a frame holds beside its envelope
encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder().decode


class MethodCodec:
    """Encodes and decodes for one `Method`; made once per surface and kept."""

    __slots__ = ("_arguments", "_lax", "_names", "_optional", "_result", "row", "shape")

    def __init__(self, row: Method) -> None:
        self.row = row
        self._names = tuple(row.arguments)
        self._optional = len(row.required) < len(row.arguments)
        # absent optional arguments stay UNSET, so that the callee's own default applies
        fields: list[Any] = [
            (name, kind) if name in row.required else (name, kind, msgspec.UNSET)
            for name, kind in row.arguments.items()
        ]
        # the arguments as one record, in the order of the signature; its values are taken out at once
        self.shape = msgspec.defstruct(row.name, fields, kw_only=True, forbid_unknown_fields=True, gc=False)
        self._arguments = msgspec.msgpack.Decoder(self.shape)
        self._lax = msgspec.msgpack.Decoder(self.shape, strict=False)
        self._result = msgspec.msgpack.Decoder(row.returns)

    def pack_arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        """What the caller wrote, by name. Raises TypeError as a plain call of the method would."""
        names = self._names
        if len(args) == len(names) and not kwargs:
            return encode(dict(zip(names, args, strict=True)))
        if len(args) > len(names):
            raise TypeError(f"{self.row.name}() takes {len(names)} arguments but {len(args)} were given")
        if args:
            bound = dict(zip(names, args, strict=False))
            for name in kwargs:
                if name in bound:
                    raise TypeError(f"{self.row.name}() got multiple values for argument {name!r}")
            bound.update(kwargs)
        else:
            bound = kwargs
        for name in bound:
            if name not in names:
                raise TypeError(f"{self.row.name}() got an unexpected argument {name!r}")
        for name in self.row.required:
            if name not in bound:
                raise TypeError(f"{self.row.name}() misses argument {name!r}")
        return encode(bound)

    def unpack_arguments(self, body: bytes | msgspec.Raw, *, lax: bool = False) -> dict[str, Any]:
        """Keyword arguments for the method. Raises BadArguments naming the field that does not fit.

        `lax`: text is taken for numbers and booleans where those are wanted (a person typed it).
        """
        try:
            shaped = (self._lax if lax else self._arguments).decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise BadArguments(f"{self.row.name}: {error}", field=_field(str(error))) from None
        values = msgspec.structs.asdict(shaped)
        if self._optional:
            return {name: value for name, value in values.items() if value is not msgspec.UNSET}
        return values

    def unpack_result(self, body: bytes | msgspec.Raw) -> Any:
        """The result in its declared type. Raises RemoteError where the answer is something else."""
        try:
            return self._result.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise RemoteError(f"{self.row.name}: the answer is not what its signature says: {error}") from None


_codecs: dict[type[Surface], dict[str, MethodCodec]] = {}


def codecs_of(surface: type[Surface]) -> dict[str, MethodCodec]:
    """Method name -> codec, for every method of the surface."""
    made = _codecs.get(surface)
    if made is None:
        made = _codecs[surface] = {name: MethodCodec(row) for name, row in surface.methods().items()}
    return made


def wire_form(error: BaseException) -> dict[str, Any]:
    """`to_wire`, made safe to encode: data that has no MessagePack form travels as text."""
    body = to_wire(error)
    try:
        encode(body)
    except (TypeError, ValueError, OverflowError):
        body = {
            "kind": body["kind"],
            "message": str(body["message"]),
            "data": {k: str(v) for k, v in body["data"].items()},
        }
    return body


def fits(body: bytes | msgspec.Raw, what: str, most: int = MOST_BYTES) -> None:
    """Raises BadArguments where `body` is more than one message may carry."""
    size = len(body) if type(body) is bytes else len(memoryview(body))
    if size > most:
        raise BadArguments(f"{what}: {size} bytes, and {most} travel at most: larger things are streams")


def _field(message: str) -> str:
    """The field in a msgspec message: `... - at `$.count`` or `missing required field `count``."""
    if "`$." in message:
        return message.rsplit("`$.", 1)[1].rstrip("`")
    return message.rsplit("`", 2)[1] if message.count("`") >= 2 else ""
