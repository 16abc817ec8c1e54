"""What travels between machines fits its type or is refused: every text of every record and call, and the forms."""

from __future__ import annotations

import ipaddress
import random
import re
import types
import typing

import msgspec
import pytest

from nova0.cli.surfaces import surfaces
from nova0.mesh.codec import codecs_of
from nova0.mesh.errors import BadArguments
from nova0.mesh.mesh_api import MeshAPI
from nova0.objects import fields
from nova0.objects.flavor import Flavor
from nova0.objects.host import Disowned, GuestInfo, HeldGuest, HostState
from nova0.objects.image import ImageHolders, ImageRef
from nova0.objects.instance import Instance, Keypair
from nova0.objects.network import Neighbour, NetworkPiece, NetworkPieces, NetworkView, Port, Rule
from nova0.rpcapi.compute import ComputeAPI
from nova0.rpcapi.conductor import ConductorAPI
from nova0.rpcapi.images import ImagesAPI
from nova0.rpcapi.network import NetworkAPI

RECORDS = (
    *(Flavor, HostState, GuestInfo, Disowned, HeldGuest, ImageRef, ImageHolders, Keypair, Instance),
    *(Rule, Port, Neighbour, NetworkView, NetworkPiece, NetworkPieces),
)
SURFACES = (ComputeAPI, ConductorAPI, ImagesAPI, NetworkAPI)
# free by their nature, and nothing but a value of JSON on their way to a guest or a person
FREE = {
    "Flavor.description",
    "Flavor.extra_specs",
    "Instance.metadata",
    "Instance.admin_password",
    "HostState.cpu_info",
}
STEERING = ["a\nb", "a\n", "\na", "a\rb", "a\0b", "a\x1b[2Jb", "\x7f"]


def texts(annotation, path):
    """(path, type) of each text in an annotation, however deep; records are walked by themselves."""
    if typing.get_origin(annotation) is typing.Annotated:
        inner = typing.get_args(annotation)[0]
        if inner is str:
            yield path, annotation
        else:
            yield from texts(inner, path)
    elif annotation is str:
        yield path, annotation
    elif isinstance(annotation, types.UnionType) or typing.get_args(annotation):
        for part in typing.get_args(annotation):
            yield from texts(part, path)


def all_texts():
    for record in RECORDS:
        for name, annotation in typing.get_type_hints(record, include_extras=True).items():
            yield from texts(annotation, f"{record.__name__}.{name}")
    for surface in SURFACES:
        for method in surface.methods().values():
            for name, annotation in {**method.arguments, "answer": method.returns}.items():
                yield from texts(annotation, f"{surface.topic}.{method.name}.{name}")


def fits(kind, value):
    try:
        msgspec.msgpack.decode(msgspec.msgpack.encode(value), type=kind)
    except msgspec.ValidationError:
        return False
    return True


@pytest.mark.parametrize("path, kind", [pytest.param(*one, id=one[0]) for one in all_texts() if one[0] not in FREE])
def test_no_text_of_a_record_or_call_takes_what_ends_a_line_or_steers_a_terminal(path, kind):
    wanted = [text for text in STEERING if kind is not fields.Text or not re.fullmatch(r"[ab\n\r]*", text)]
    assert [text for text in wanted if fits(kind, text)] == []
    assert not fits(kind, "a" * (2 << 20)), "it has no bound"


def test_every_surface_of_the_application_is_walked_here():
    assert set(SURFACES) | {MeshAPI} == set(surfaces())
    told = {kind.__name__ for surface in SURFACES for m in surface.methods().values() for kind in _records(m)}
    assert told - {"Ticket"} <= {record.__name__ for record in RECORDS}


def _records(method):
    waiting, found = [*method.arguments.values(), method.returns], set()
    while waiting:
        kind = waiting.pop()
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind not in found:
            found.add(kind)
            waiting += typing.get_type_hints(kind, include_extras=True).values()
        waiting += [part for part in typing.get_args(kind) if part is not Ellipsis and not isinstance(part, str)]
    return found


def test_addresses_are_what_the_standard_library_takes():
    chance = random.Random(8)
    for _ in range(30_000):
        text = "".join(chance.choice("0123459abfF::::...") for _ in range(chance.randrange(20)))
        try:
            known = ipaddress.ip_address(text)
        except ValueError:
            assert not fits(fields.Address, text), text
        else:
            mixed = ":" in text and "." in text  # a form that nobody here writes
            assert fits(fields.Address, text) is not mixed, text
            assert fits(fields.Ipv4, text) is (known.version == 4)
    for _ in range(5_000):
        address = ipaddress.ip_address(chance.getrandbits(128) & chance.getrandbits(128))
        assert fits(fields.Address, str(address)) and fits(fields.Address, address.exploded)


@pytest.mark.parametrize(
    "kind, good, bad",
    [
        (fields.Uuid, ["0a1b2c3d-0000-4000-8000-000000000001"], ["0A1B", "../../etc", "", "0a1b2c3d" * 4]),
        (fields.PathPart, ["a", "0a1b-x.qcow2"], [".", "..", "", "a/b", ".a", "-rf", "a" * 129, "ä"]),
        (fields.Mac, ["fa:16:3e:00:00:01", "FA:16:3E:00:00:01"], ["01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff",
                                                                "00:00:00:00:00:00", "fa:16:3e:00:00", "fa-16"]),
        (fields.Ipv4, ["10.0.0.1", "0.0.0.0"], ["10.0.0.256", "010.0.0.1", "10.0.0", "10.0.0.1 ",
                                                       "\u0661\u0660.0.0.1", "::1"]),
        (fields.AddressOrNone, ["", "10.0.0.1", "fe80::1"], ["fe80::1%eth0", "10.0.0.1/8", " "]),
        (fields.CidrOrNone, ["", "10.0.0.0/8", "0.0.0.0/0"], ["10.0.0.0/33", "10.0.0.0", "fd00::/8"]),
        (fields.Remote, ["10.0.0.1", "10.0.0.0/8", "fd00::/8"], ["10.0.0.0/33", "fd00::/129", "any", "0/0"]),
        (fields.GuestName, ["", "vm1", "a.b.c"], ["-a", "a-", "a b", "a,b", "a\n", "set:x", "*"]),
        (fields.HostName, ["lab1", "lab-1.example_x", "лаб"], ["", ".", "..", "a b", "a/b", "a~b", "a" * 65]),
        (fields.PortNumber, [1, 65535], [0, 65536, -1, 2**64 - 1]),
        (fields.PrefixLength, [0, 24, 32], [33, 47, 128, -1]),
        (fields.Vni, [1, 2**24 - 1], [0, 2**24]),
        (fields.Ratio, [0.0, 16.0], [-1.0, float("nan"), float("inf"), 1e7]),
        (fields.Measure, [-1.0, 1e12], [float("nan"), float("inf"), float("-inf"), 1e300]),
        (fields.Size, [0, 2**40], [-1, 2**60, 2**63]),
    ],
)  # fmt: skip
def test_a_type_holds_its_form_and_nothing_else(kind, good, bad):
    assert [value for value in good if not fits(kind, value)] == []
    assert [value for value in bad if fits(kind, value)] == []


def test_a_tunnels_end_is_one_machines_address():
    held = ["10.0.0.1", "192.168.1.255", "fd00::7", "127.0.0.1"]
    refused = ["", "224.0.0.1", "255.255.255.255", "0.0.0.0", "::", "ff02::1", "lab2", None, 7, "10.0.0.1%x"]
    assert all(map(fields.one_machines, held)) and not any(map(fields.one_machines, refused))
    assert fields.reachable("10.0.0.2", "10.0.0.1") and not fields.reachable("fd00::1", "10.0.0.1")


def test_a_call_is_refused_with_the_field_that_does_not_fit():
    codec = codecs_of(ComputeAPI)["inspect"]
    with pytest.raises(BadArguments) as refused:
        codec.unpack_arguments(codec.pack_arguments(("../../etc/passwd",), {}))
    assert refused.value.data["field"] == "uuid"
