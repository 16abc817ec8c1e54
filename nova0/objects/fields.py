"""Types of what travels between machines: each holds its form and nothing else.

A value ends in a batch, a configuration file, a path, nft, XML or a terminal of another machine, so its type says
what it may be, and both sides check it where they decode it. A newline or another control character fits none
but `Text`. All patterns are anchored (\\A, \\Z: `$` would take a newline) and take time linear in the length.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

_NO_GUEST_NAME = re.compile(r"[^A-Za-z0-9.-]")
_BLANKS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
T = TypeVar("T", bound=msgspec.Struct)

_CONTROL = r"\x00-\x1f\x7f"  # what the API refuses in names; what else a terminal or XML minds is minded there
_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_V4 = rf"{_OCTET}(?:\.{_OCTET}){{3}}"


def _v6() -> str:
    """Eight groups, or fewer around one "::"; no scope and no dotted end."""
    group = "[0-9A-Fa-f]{1,4}"
    forms = [f"(?:{group}:){{7}}{group}"]
    for before in range(8):
        left = f"(?:{group}:){{{before - 1}}}{group}" if before else ""
        right = f"(?:(?:{group}:){{0,{6 - before}}}{group})?" if before < 7 else ""
        forms.append(f"{left}::{right}")
    return f"(?:{'|'.join(forms)})"


_V6 = _v6()


def _whole(pattern: str) -> str:
    return rf"\A(?:{pattern})\Z"


# names and texts
Line = Annotated[str, Meta(pattern=rf"\A[^{_CONTROL}]*\Z", max_length=4096)]
Name = Annotated[str, Meta(pattern=rf"\A[^{_CONTROL}]*\Z", max_length=255)]
Text = Annotated[str, Meta(pattern=rf"\A(?:[^{_CONTROL}]|[\t\n\r])*\Z", max_length=1 << 20)]
Word = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_.:+-]*\Z", max_length=255)]
# a machine in the cluster: no wider than what the mesh takes as a name (who joins gets letters, digits and -._ only)
HostName = Annotated[
    str, Meta(pattern=r"\A(?!\.\.?\Z)[^\x00-\x20\x7f-\xa0/~\u2028-\u202e\u2066-\u2069]+\Z", max_length=64)
]
GuestName = Annotated[str, Meta(pattern=r"\A(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)?\Z", max_length=255)]

# ids; a path part is no ".", no ".." and holds no "/"
Uuid = Annotated[str, Meta(pattern=_whole(_UUID), max_length=36)]
PathPart = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._-]*\Z", max_length=128)]
# where a list in pages goes on: a network, and the port that was last, or "~" past its ports
PageMark = Annotated[str, Meta(pattern=_whole(rf"(?:{_UUID} (?:{_UUID}|~)?)?"), max_length=73)]
Sha512 = Annotated[str, Meta(pattern=r"\A[0-9a-fA-F]*\Z", max_length=128)]

# networks; "" stands for none only where the name says so
Mac = Annotated[
    str, Meta(pattern=r"\A(?!00:00:00:00:00:00)[0-9A-Fa-f][02468ACEace](?::[0-9A-Fa-f]{2}){5}\Z", max_length=17)
]
Ipv4 = Annotated[str, Meta(pattern=_whole(_V4), max_length=15)]
Address = Annotated[str, Meta(pattern=_whole(f"{_V4}|{_V6}"), max_length=45)]
AddressOrNone = Annotated[str, Meta(pattern=_whole(f"(?:{_V4}|{_V6})?"), max_length=45)]
Cidr = Annotated[
    str, Meta(pattern=_whole(rf"{_V4}/(?:3[0-2]|[12]?[0-9])|{_V6}/(?:12[0-8]|1[01][0-9]|[1-9]?[0-9])"), max_length=49)
]
CidrOrNone = Annotated[str, Meta(pattern=_whole(rf"(?:{_V4}/(?:3[0-2]|[12]?[0-9]))?"), max_length=18)]
Remote = Annotated[
    str,
    Meta(
        pattern=_whole(rf"{_V4}(?:/(?:3[0-2]|[12]?[0-9]))?|{_V6}(?:/(?:12[0-8]|1[01][0-9]|[1-9]?[0-9]))?"),
        max_length=49,
    ),
]
Direction = Annotated[str, Meta(pattern=r"\A(?:ingress|egress)\Z")]
Ethertype = Annotated[str, Meta(pattern=r"\AIPv[46]\Z")]
PrefixLength = Annotated[int, Meta(ge=0, le=32)]  # of IPv4; there are no others yet
RuleNumber = Annotated[int, Meta(ge=0, le=65535)]  # a port, an ICMP type or code
PortNumber = Annotated[int, Meta(ge=1, le=65535)]
Mtu = Annotated[int, Meta(ge=68, le=65535)]
Vni = Annotated[int, Meta(ge=1, le=(1 << 24) - 1)]

# numbers, with ends that no machine reaches and sums of ten thousand hosts keep below 2**63
Count = Annotated[int, Meta(ge=0, le=(1 << 31) - 1)]
Size = Annotated[int, Meta(ge=0, le=1 << 48)]  # MiB, GiB or bytes
Generation = Annotated[int, Meta(ge=0, le=(1 << 62) - 1)]
Ratio = Annotated[float, Meta(ge=0, le=1e6)]  # bounds refuse NaN too
Measure = Annotated[float, Meta(ge=-1e18, le=1e18)]
Patience = Annotated[float, Meta(ge=0, le=1e7)]  # seconds
Instant = Annotated[float, Meta(ge=0, le=1e11)]  # seconds since the epoch

# a value of free form that is stored and shown, never executed: bounded, finite, and not deep
Short = Annotated[str, Meta(max_length=255)]
Free = Annotated[str, Meta(max_length=1 << 20)]  # shown as JSON, made into nothing
Number = Annotated[int, Meta(ge=-(1 << 62), le=1 << 62)]
_Some = Short | Number | bool | None
Described = Annotated[
    dict[
        Short,
        Short
        | Number
        | bool
        | Annotated[list[_Some], Meta(max_length=4096)]
        | Annotated[dict[Short, _Some], Meta(max_length=1024)]
        | None,
    ],
    Meta(max_length=1024),
]


def one_line(text: str) -> str:
    """A text as `Line` takes it: control characters are blanks."""
    return " ".join(_BLANKS.sub(" ", text).split())[:4096]


def holds_control(text: str) -> bool:
    """Whether a line on its way into a file or batch holds what would end it, or steer a terminal."""
    return _BLANKS.search(text) is not None


def name(text: str) -> str:
    """The same, as `Name` takes it."""
    return one_line(text)[:255]


def guest_name(text: str) -> str:
    """A host name of a server as `GuestName` takes it: what does not belong in one is left out."""
    return _NO_GUEST_NAME.sub("", text)[:255].strip("-.")


def checked(value: T) -> T:
    """The same, read as its receiver will read it. Raises msgspec.ValidationError naming the field that it would
    refuse; constructing a record checks nothing."""
    found: T = msgspec.msgpack.decode(msgspec.msgpack.encode(value), type=type(value))
    return found


def reachable(address: str, from_address: str) -> bool:
    """Whether `address` can be the other end of a tunnel from `from_address`: of the same family, one machine's."""
    try:
        there, here = ipaddress.ip_address(address), ipaddress.ip_address(from_address)
    except ValueError:
        return False
    return there.version == here.version and one_machines(address)


@lru_cache(16384)
def one_machines(address: Any) -> bool:
    """Whether it is the address of one machine: not a group's, not everybody's, not nobody's."""
    try:
        found = ipaddress.ip_address(address) if isinstance(address, str) else None
    except ValueError:
        return False
    if found is None or "%" in str(found):
        return False
    return not (found.is_multicast or found.is_unspecified or str(found) == "255.255.255.255")
