"""Reads from ELF files what the image needs to know: which shared libraries and which loader."""

from __future__ import annotations

import struct
from pathlib import Path

_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NEEDED, _DT_STRTAB = 1, 5


def needs(path: Path) -> list[str]:
    """Names of the libraries (and the full path of the loader) a 64-bit little-endian ELF file asks for.
    A static file: empty. Not ELF: ValueError."""
    data = path.read_bytes()
    if data[:6] != b"\x7fELF\x02\x01":
        raise ValueError(f"{path} is not a 64-bit little-endian ELF file")
    (table,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    segments = [struct.unpack_from("<IIQQQQQQ", data, table + index * size) for index in range(count)]

    def offset(address: int) -> int:
        for kind, _, start, virtual, _, length, _, _ in segments:
            if kind == _PT_LOAD and virtual <= address < virtual + length:
                return start + address - virtual
        raise ValueError(f"{path}: address {address:#x} is in no segment")

    wanted: list[str] = []
    names: list[int] = []
    strings = 0
    for kind, _, start, _, _, length, _, _ in segments:
        if kind == _PT_INTERP:
            wanted.append(data[start : start + length].rstrip(b"\0").decode())
        elif kind == _PT_DYNAMIC:
            for place in range(start, start + length, 16):
                tag, value = struct.unpack_from("<QQ", data, place)
                if tag == _DT_NEEDED:
                    names.append(value)
                elif tag == _DT_STRTAB:
                    strings = offset(value)
    for name in names:
        begin = strings + name
        wanted.append(data[begin : data.index(b"\0", begin)].decode())
    return wanted
