"""A surface told to people: types, units, patience, who may call."""

from __future__ import annotations

from typing import Annotated

import msgspec
import pytest
from cluster import Cluster

from nova0.cli import surfaces
from nova0.mesh.describing import described, records, type_name, unit_of
from nova0.mesh.local_client import connect
from nova0.mesh.surface import LONG, MEMBER, OPERATOR, Surface, call, cast


class Bread(msgspec.Struct):
    name: str
    weight_mb: int
    crumbs: Annotated[int, "grams"] = 0


class OvenAPI(Surface):
    topic = "user/oven"

    @call(allow=(MEMBER, OPERATOR), timeout=LONG)
    def bake(
        self, loaves: list[Bread], heat: Annotated[int, "degrees Celsius"], patience_s: float = 2.5
    ) -> Annotated[int, "loaves"]:
        """Bake them."""
        ...

    @cast(allow=MEMBER)
    def open_door(self) -> None: ...


class Oven(OvenAPI):
    def bake(self, loaves, heat, patience_s=2.5):
        return len(loaves) * heat


@pytest.mark.design("O7")
@pytest.mark.covers("S047")
def test_a_running_agent_tells_types_units_patience_and_roles(tmp_path):
    cluster = Cluster(tmp_path)
    path = str(tmp_path / "mesh.sock")
    node = cluster.bus("lab0", "controller", ("controller",), socket_path=path)
    node.offer(Oven())
    node.start()
    try:
        with connect(path) as client:
            bake, door = client.describe("user/oven")
            assert client.call("user/oven", "bake", {"loaves": [], "heat": "220"}) == 0  # the unit is no part of it
    finally:
        cluster.close()
    assert bake["signature"] == "bake(loaves: list[Bread], heat: int, patience_s: float = 2.5) -> int"
    assert bake["units"] == {"heat": "degrees Celsius", "patience_s": "seconds"} and bake["returns_unit"] == "loaves"
    assert (bake["timeout"], bake["silence_s"], bake["total_s"]) == ("long", 10, 1800)
    assert bake["allow"] == ["member", "operator"] and bake["required"] == ["loaves", "heat"]
    assert (door["kind"], door["returns"], door["units"]) == ("cast", "None", {})


def test_units_are_in_names_or_annotations():
    assert [unit_of(name) for name in ("size_mb", "wait_s", "most_bytes", "bytes_in", "s", "us", "alias", "of_us")] == [
        "MiB", "seconds", "bytes", "bytes", "", "", "", "",
    ]  # fmt: skip
    assert unit_of("size_mb", Annotated[int, "pages"]) == "pages"


def test_types_are_named_as_one_writes_them():
    assert type_name(dict[str, list[Bread]]) == "dict[str, list[Bread]]"
    assert type_name(Bread | None) == "Bread | None" and type_name(None) == "None"
    assert type_name(Annotated[list[int], "pages"]) == "list[int]"


def test_records_are_found_however_deep():
    found = records([dict[str, list[Bread | None]], int])
    assert list(found) == ["Bread"]
    assert [(one["name"], one["unit"], one["required"]) for one in found["Bread"]] == [
        ("name", "", True),
        ("weight_mb", "MiB", True),
        ("crumbs", "grams", False),
    ]


def test_every_declared_method_is_on_the_page_with_its_patience_and_callers():
    page = surfaces.page()
    count = 0
    for surface in surfaces.surfaces():
        for name, method in surface.methods().items():
            part = page.partition(f"\n### {surface.topic}.{name}\n")[2].partition("\n### ")[0]
            row = described(surface.topic, method)
            assert f"`{row['signature']}`" in part and f"for: {', '.join(method.allow)}" in part
            assert method.kind == "cast" or f"{method.timeout.total_s:g} s, " in part
            assert all(f"| {argument} | " in part for argument in method.arguments)
            count += 1
    assert count > 30
    [stop] = [row for row in surfaces.described()["compute"] if row["name"] == "stop"]
    assert stop["units"] == {"patience_s": "seconds"}
