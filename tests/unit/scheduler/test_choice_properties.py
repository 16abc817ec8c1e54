"""What holds for every choice, by generated hosts and requests: the fast way and the plain one agree, the order
of filters does not matter, room never shrinks a choice; and what the book of hosts remembers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nova0.config import CONF
from nova0.controller.scheduler import selection
from nova0.controller.scheduler.drivers.filter_scheduler import FILTERS, WEIGHTS
from nova0.controller.scheduler.filter import Filter
from nova0.controller.scheduler.host_columns import HostColumns
from nova0.controller.scheduler.loading import built_in
from nova0.controller.scheduler.selection import Trace, Weighing
from nova0.controller.scheduler.weigher import Weigher
from tests.unit.scheduler.made import flavor, host, image, request, taken

SERVERS = ["a", "b", "c", "d"]
names = st.integers(0, 10**6)
values = st.sampled_from(["1", "2", "x"])


@st.composite
def clouds(draw):
    """Up to twelve hosts of all kinds; each server is on one host at most."""
    places = {server: draw(st.integers(0, 11)) for server in SERVERS}
    hosts = []
    for number in range(draw(st.integers(1, 12))):
        aggregates = draw(
            st.lists(
                st.sampled_from(
                    [
                        {"ssd": "true"},
                        {"filter_tenant_id": "p"},
                        {"filter_tenant_id": "q"},
                        {"instance_type": "m1.tiny"},
                        {"max_instances_per_host": "1"},
                        {"max_io_ops_per_host": "1"},
                        {"os_distro": "debian"},
                        {"ram_weight_multiplier": "-2.0"},
                    ]
                ),
                max_size=3,
            )
        )
        sizes = st.builds(
            taken,
            vcpus=st.integers(0, 4),
            memory_mb=st.integers(0, 5000),
            disk_gb=st.integers(0, 60),
            flavor_id=st.sampled_from(["1", "2"]),
            image=st.sampled_from([{}, {"os_distro": "debian"}]),
        )
        hosts.append(
            host(
                f"h{number}",
                aggregates=aggregates,
                servers={server: draw(sizes) for server, place in places.items() if place == number},
                zone=draw(st.sampled_from(["nova", "az1"])),
                alive=draw(st.booleans()),
                enabled=draw(st.booleans()),
                heavy=draw(st.sets(st.sampled_from("xyz"))),
                failed_builds=draw(st.integers(0, 2)),
                hypervisor_version=draw(st.sampled_from([7_002_022, 8_000_000])),
                address=draw(st.sampled_from(["10.0.0.1", "10.0.1.1", ""])),
                traits=draw(st.lists(st.sampled_from(["T1", "T2"]), unique=True)),
                resources=draw(st.sampled_from([{}, {"CUSTOM_GPU": 1}, {"CUSTOM_PCI_NIC": 2}])),
                metrics=draw(st.sampled_from([{"m": 1.0}, {"m": 2.0}])),
                arch=draw(st.sampled_from(["x86_64", "aarch64"])),
            )
        )
    return hosts


@st.composite
def requests(draw):
    specs = draw(
        st.dictionaries(
            st.sampled_from(
                ["trait:T1", "resources:CUSTOM_GPU", "hypervisor_version", "aggregate_instance_extra_specs:ssd",
                 "pci_passthrough:alias", "free_ram_mb", "hw:numa_nodes"]
            ),
            st.sampled_from(["required", "1", ">= 8000000", "true", "nic:1"]),
            max_size=2,
        )
    )  # fmt: skip
    hints = draw(
        st.sampled_from(
            [{}, {"different_host": ["a"]}, {"same_host": ["b", "c"]}, {"build_near_host_ip": "10.0.0.9"},
             {"query": '[">=","$free_ram_mb",4000]'}]
        )
    )  # fmt: skip
    policy = draw(st.sampled_from([None, "affinity", "anti-affinity", "soft-affinity", "soft-anti-affinity"]))
    return request(
        flavor=flavor(vcpus=draw(st.integers(1, 4)), memory_mb=draw(st.integers(1, 8192)), specs=specs),
        image=draw(st.sampled_from([None, image(), image(hw_architecture="aarch64"), image(os_distro="debian")])),
        project_id=draw(st.sampled_from(["p", "q"])),
        zone=draw(st.sampled_from([None, "az1"])),
        hints=hints,
        group=(policy, SERVERS, {"placed_on": frozenset(["h0"])}) if policy else None,
    )


def every_filter():
    return [(name, found()) for name, found in sorted(built_in(FILTERS).items()) if issubclass(found, Filter)]


def every_weigher():
    return [Weighing(n, found()) for n, found in sorted(built_in(WEIGHTS).items()) if issubclass(found, Weigher)]


def columns_of(hosts):
    return HostColumns(hosts, {server: view.host for view in hosts for server in view.servers})


@pytest.fixture(scope="module", autouse=True)
def multipliers():
    """None is 0, so that every weigher counts."""
    chosen = {"num_instances_weight_multiplier": 0.7, "image_props_weight_multiplier": 0.3}
    chosen |= {"metrics_weight_setting": ["m=1.5"]}
    for name, value in chosen.items():
        CONF.set_override(name, value, "scheduler")
    yield
    for name in chosen:
        CONF.clear_override(name, "scheduler")


@pytest.mark.slow
@pytest.mark.covers("S125", "S128")
@given(hosts=clouds(), asked=st.lists(requests(), min_size=1, max_size=3))
def test_the_fast_way_and_the_plain_one_agree_filter_by_filter(hosts, asked):
    columns, filters = columns_of(hosts), every_filter()
    for one in [*asked, *asked]:  # the second time kept answers are used
        for name, filter_ in filters:
            plain, fast = Trace(), Trace()
            left = selection.filter_plain(hosts, one, [(name, filter_)], plain, named=False)
            mask = selection.filter_fast(columns, columns.all(), one, [(name, filter_)], fast)
            assert [columns.names[row] for row in np.flatnonzero(mask)] == [view.host for view in left], name
            assert plain.whole() == fast.whole()


@pytest.mark.slow
@given(hosts=clouds(), asked=requests())
def test_the_fast_way_and_the_plain_one_give_the_same_sums(hosts, asked):
    columns, weighers = columns_of(hosts), every_weigher()
    plain = selection.weigh_plain(hosts, asked, weighers)
    fast = selection.weigh_fast(columns, np.arange(len(hosts)), asked, weighers)
    assert plain == fast.tolist()
    best = selection.order_fast(columns, np.arange(len(hosts)), fast, 1)[0]
    assert plain[columns.row[best]] == max(plain)
    by_sum = {name: total for name, total in zip(columns.names, plain, strict=True)}
    for count in (1, 3, len(hosts)):
        ranked = [by_sum[name] for name in selection.order_fast(columns, np.arange(len(hosts)), fast, count)]
        assert ranked == sorted(plain, reverse=True)[:count]
        assert ranked == [by_sum[name] for name in selection.order(columns.names, plain, count)]


@given(hosts=clouds(), asked=requests(), change=clouds(), data=st.data())
def test_kept_answers_follow_what_hosts_report(hosts, asked, change, data):
    columns, filters = columns_of(hosts), every_filter()
    selection.filter_fast(columns, columns.all(), asked, filters, Trace())
    for view in change[: len(hosts)]:
        columns.replace(view)
    now = columns.views
    for name, filter_ in filters:
        key = filter_.key(asked)
        if key is not None and filter_.applies(asked):
            alone = selection.filter_fast(columns, columns.all(), asked, [(name, filter_)], Trace())
            assert alone.tolist() == [filter_.host_passes(v, asked) for v in now], name


@given(hosts=clouds(), asked=requests(), data=st.data())
def test_the_order_of_filters_does_not_change_who_is_left(hosts, asked, data):
    filters = every_filter()
    shuffled = data.draw(st.permutations(filters))
    first = selection.filter_plain(hosts, asked, filters, Trace(), named=False)
    assert selection.filter_plain(hosts, asked, shuffled, Trace(), named=False) == first


@given(hosts=clouds(), asked=requests())
def test_a_smaller_flavor_has_at_least_as_many_hosts(hosts, asked):
    room = [(name, f) for name, f in every_filter() if name in ("CoreFilter", "RamFilter", "DiskFilter")]
    less = request(flavor=flavor(vcpus=1, memory_mb=1, root_gb=0))
    large = {view.host for view in selection.filter_plain(hosts, asked, room, Trace(), named=False)}
    small = {view.host for view in selection.filter_plain(hosts, less, room, Trace(), named=False)}
    assert large <= small
