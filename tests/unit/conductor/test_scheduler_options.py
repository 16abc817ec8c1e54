"""Filters and weighers are chosen in the configuration, by name or by class path of one's own."""

from __future__ import annotations

import pytest

from nova0.config import CONF
from nova0.controller.scheduler.filter import Filter
from nova0.controller.scheduler.scheduler import Scheduler
from nova0.controller.scheduler.weigher import Weigher
from nova0.objects.states import VmState


class OnlyLab2(Filter):
    """As a user would write it in a file of their own."""

    def host_passes(self, host, request):
        return host.host == "lab2"


class ByName(Weigher):
    def weigh(self, host, request):
        return float(host.host[-1])


@pytest.fixture
def options():
    yield lambda **chosen: [CONF.set_override(name, value, "scheduler") for name, value in chosen.items()]
    for name in ("enabled_filters", "weight_classes", "ram_weight_multiplier"):
        CONF.clear_override(name, "scheduler")


def restarted(cloud):
    cloud.crash()
    cloud.open()


@pytest.mark.covers("S129", "S132", "S048")
def test_a_filter_of_ones_own_decides(cloud, options):
    for name in ("lab1", "lab2", "lab3"):
        cloud.host(name)
    options(enabled_filters=["ComputeFilter", f"{__name__}:OnlyLab2"])
    restarted(cloud)
    assert {cloud.settled(cloud.boot()).host for _ in range(4)} == {"lab2"}


def test_a_weigher_of_ones_own_decides(cloud, options):
    for name in ("lab1", "lab2", "lab3"):
        cloud.host(name)
    options(weight_classes=[f"{__name__}:ByName"])
    restarted(cloud)
    assert cloud.settled(cloud.boot()).host == "lab3"


@pytest.mark.covers("S133")
@pytest.mark.parametrize("name, said", [("RamFlter", "built in are"), ("no.such:Thing", "does not load")])
def test_an_unknown_name_fails_at_start_and_says_what_there_is(cloud, options, name, said):
    options(enabled_filters=["ComputeFilter", name])
    with pytest.raises(ValueError, match=said):
        Scheduler(cloud.store, cloud.controller.lives)


@pytest.mark.covers("S135")
@pytest.mark.parametrize("multiplier, hosts", [(1.0, 4), (-1.0, 1)])
def test_a_negative_multiplier_packs(cloud, options, multiplier, hosts):
    for n in range(4):
        cloud.host(f"lab{n}")
    options(weight_classes=["RAMWeigher"], ram_weight_multiplier=multiplier)
    restarted(cloud)
    rows = [cloud.settled(cloud.boot()) for _ in range(4)]
    assert {row.vm_state for row in rows} == {VmState.ACTIVE}
    assert len({row.host for row in rows}) == hosts


@pytest.mark.covers("S147", "S148")
def test_hints_keep_servers_apart_and_together(cloud):
    cloud.host("lab1"), cloud.host("lab2")
    first = cloud.settled(cloud.boot())
    apart = cloud.settled(cloud.boot(scheduler_hints={"different_host": [first.uuid]}))
    together = cloud.settled(cloud.boot(scheduler_hints={"same_host": first.uuid}))
    assert apart.host != first.host == together.host


@pytest.mark.covers("S143", "S144")
def test_zones_and_disabled_hosts_are_respected(cloud):
    from nova0.controller.db.compute_tables import AggregateRow, HostRow

    cloud.host("lab1"), cloud.host("lab2")
    metadata = {"availability_zone": "east"}
    cloud.store.write(lambda: AggregateRow.create(name="e", hosts=["lab2"], metadata=metadata) and None)
    cloud.controller.scheduler.stale()
    assert {cloud.settled(cloud.boot(requested_zone="east")).host for _ in range(3)} == {"lab2"}
    cloud.store.write(lambda: HostRow.update(disabled=True).where(HostRow.host == "lab2").execute())
    cloud.controller.scheduler.stale()
    assert cloud.settled(cloud.boot(requested_zone="east")).vm_state == VmState.ERROR
    assert cloud.settled(cloud.boot()).host == "lab1"
