"""Weighers one by one, and the policies that can stand in the filter scheduler's place."""

from __future__ import annotations

from collections import Counter

import pytest

from nova0.controller.scheduler import selection
from nova0.controller.scheduler.driver import Driver, dispatch
from nova0.controller.scheduler.drivers.abstract_scheduler import AbstractScheduler
from nova0.controller.scheduler.drivers.filter_scheduler import WEIGHTS
from nova0.controller.scheduler.filter import Filter
from nova0.controller.scheduler.loading import built_in
from nova0.controller.scheduler.selection import Weighing
from nova0.controller.scheduler.storage import Drives, NetworkRequest, StorageView, VolumeRequest
from nova0.controller.scheduler.weigher import Weigher
from nova0.objects.errors import NoValidHost
from tests.unit.scheduler.made import driver, flavor, host, request, taken

HALF = {"a": taken(vcpus=2, memory_mb=4096, disk_gb=50)}
GROUP = ("soft-affinity", "ab")
PREFERS = [  # weigher, option, multiplier, host preferred, the other, request
    ("RAMWeigher", 1.0, host("yes"), host("no", servers=HALF), request()),
    ("RAMWeigher", -1.0, host("yes", servers=HALF), host("no"), request()),
    ("CPUWeigher", 1.0, host("yes"), host("no", servers=HALF), request()),
    ("DiskWeigher", 1.0, host("yes"), host("no", servers=HALF), request()),
    ("IoOpsWeigher", -1.0, host("yes"), host("no", heavy={"a"}), request()),
    ("NumInstancesWeigher", 1.0, host("yes", servers=HALF), host("no"), request()),
    ("HypervisorVersionWeigher", 1.0, host("yes", hypervisor_version=9), host("no", hypervisor_version=8), request()),
    ("BuildFailureWeigher", 1e6, host("yes"), host("no", failed_builds=1), request()),
    ("CrossCellWeigher", 1e6, host("yes", cell="c1"), host("no", cell="c2"), request(cell="c1")),
    ("ServerGroupSoftAffinityWeigher", 1.0, host("yes", servers=HALF), host("no"), request(group=GROUP)),
    (
        "ServerGroupSoftAntiAffinityWeigher",
        1.0,
        host("yes"),
        host("no", servers=HALF),
        request(group=("soft-anti-affinity", "ab")),
    ),
    ("MetricsWeigher", 1.0, host("yes", metrics={"quiet": 2.0}), host("no", metrics={"quiet": 1.0}), request()),
    ("PCIWeigher", 1.0, host("yes"), host("no", resources={"CUSTOM_PCI_GPU": 1}), request()),
    (
        "PCIWeigher",
        1.0,
        host("yes", resources={"CUSTOM_PCI_GPU": 2}),
        host("no", resources={"CUSTOM_PCI_GPU": 1}),
        request(specs={"pci_passthrough:alias": "gpu:1"}),
    ),
    (
        "ImagePropertiesWeigher",
        1.0,
        host("yes", servers={"a": taken(image={"os_distro": "debian"})}),
        host("no", servers={"a": taken(image={"os_distro": "bsd"})}),
        request(properties={"os_distro": "debian"}),
    ),
]


@pytest.mark.covers("S088", "S141")
@pytest.mark.parametrize(("name", "multiplier", "yes", "no", "asked"), PREFERS, ids=[p[0] for p in PREFERS])
def test_a_weigher_prefers_the_host_it_should(option, name, multiplier, yes, no, asked):
    weigher = built_in(WEIGHTS)[name]
    option(**{weigher.multiplier_option: multiplier}, metrics_weight_setting=["quiet=1.0"])
    sums = selection.weigh_plain([no, yes], asked, [Weighing(name, weigher())])
    assert selection.order(["no", "yes"], sums, 2) == ["yes", "no"]


def test_every_weigher_stands_in_the_table():
    names = {name for name, found in built_in(WEIGHTS).items() if issubclass(found, Weigher)}
    assert names == {row[0] for row in PREFERS} and len(names) == 13


def test_a_host_without_a_metric_that_counts_is_an_error_or_last(option):
    option(metrics_weight_setting=["quiet=1.0"])
    asked, hosts = request(), [host("h1"), host("h2", metrics={"quiet": -5.0})]
    weighing = [Weighing("MetricsWeigher", built_in(WEIGHTS)["MetricsWeigher"]())]
    with pytest.raises(NoValidHost, match="h1 does not report the metric quiet"):
        selection.weigh_plain(hosts, asked, weighing)
    option(metrics_required=False)
    assert selection.weigh_plain(hosts, asked, weighing) == [0.0, 1.0]


def test_an_aggregate_sets_its_own_multiplier(option):
    option(weight_classes=["RAMWeigher"], ram_weight_multiplier=1.0)
    packing = [{"ram_weight_multiplier": "-1.0"}]
    hosts = [host("empty", aggregates=packing), host("half", servers=HALF, aggregates=packing)]
    assert driver("filter", hosts).schedule(request(), topic="compute", method="run_instance", count=1) == ["half"]


def run(made, asked=None, **more):
    return dispatch(made, "run_instance", asked or request(**more), count=3)


@pytest.mark.covers("S089", "S125", "S130")
@pytest.mark.parametrize(
    "name",
    ["filter", "caching", "chance", "simple", "multi", "zone", "least_cost", "vsa", "AbstractScheduler",
     "BaseScheduler", "VsaSchedulerLeastUsedHost", "VsaSchedulerMostAvailCapacity",
     "nova0.controller.scheduler.drivers.chance_scheduler:ChanceScheduler"],
)  # fmt: skip
def test_every_policy_places_a_server_on_a_host_that_is_up(name):
    assert run(driver(name, [host("up"), host("down", alive=False)])) == ["up"]


@pytest.mark.covers("S111")
@pytest.mark.parametrize("name", ["filter", "chance", "simple", "zone", "least_cost", "AbstractScheduler"])
def test_no_host_up_is_no_valid_host(name):
    with pytest.raises(NoValidHost, match="No valid host was found"):
        run(driver(name, [host("down", alive=False)]))


@pytest.mark.parametrize("name", ["filter", "chance", "simple", "zone", "least_cost", "AbstractScheduler"])
def test_a_forced_host_skips_every_policy_and_must_exist(name):
    made = driver(name, [host("h1"), host("h2")])
    assert run(made, forced_host="h2") == ["h2"]
    with pytest.raises(NoValidHost, match="There is no host h9"):
        run(made, forced_host="h9")


@pytest.mark.covers("S112")
def test_chance_is_even():
    made = driver("chance", [host(f"h{n}") for n in range(4)] + [host("down", alive=False)])
    found = Counter(run(made)[0] for _ in range(1000))
    assert set(found) == {"h0", "h1", "h2", "h3"} and all(180 < number < 320 for number in found.values())


@pytest.mark.covers("S113", "S114")
def test_simple_takes_the_least_loaded(option):
    hosts = [host(f"h{n}", servers={f"s{m}": taken() for m in range(n)}) for n in (3, 1, 2)]
    made = driver("simple", hosts)
    assert run(made)[0] == "h1"
    assert dispatch(made, "start_instance", request(), count=1) == ["h1"]
    option(max_cores=1)
    with pytest.raises(NoValidHost, match="max_cores = 1"):
        run(made)


@pytest.mark.covers("S115", "S116", "S127")
def test_simple_places_volumes_and_networks(option):
    storage = [StorageView(host="a", volumes_gb=10, networks=1), StorageView(host="b", volumes_gb=5, networks=2)]
    made = driver("simple", [], storage)
    assert dispatch(made, "create_volume", VolumeRequest(size_gb=1), topic="volume") == ["b"]
    assert dispatch(made, "create_volume", VolumeRequest(size_gb=1, forced_host="a"), topic="volume") == ["a"]
    assert dispatch(made, "set_network_host", NetworkRequest(network_id="n"), topic="network") == ["a"]
    option(max_gigabytes=5, max_networks=1)
    with pytest.raises(NoValidHost, match="max_gigabytes = 5"):
        dispatch(made, "create_volume", VolumeRequest(size_gb=1), topic="volume")
    with pytest.raises(NoValidHost, match="max_networks = 1"):
        dispatch(made, "set_network_host", NetworkRequest(network_id="n"), topic="network")


@pytest.mark.covers("S117", "S118", "S119")
def test_drives_go_to_hosts_that_report_their_type():
    def array(name, used, size=100, kind="ssd", total=4):
        return StorageView(host=name, drives={kind: Drives(size_gb=size, total=total, used=used)})

    storage = [array("busy", 3), array("idle", 1), array("full", 4), array("slow", 0, kind="sata")]
    storage.append(StorageView(host="large", drives={"ssd": Drives(size_gb=400, total=4, used=2)}))
    wanted = VolumeRequest(size_gb=50, drive_type="ssd")

    def chosen(name):
        return dispatch(driver(name, [], storage), "create_volume", wanted, topic="volume", count=1)

    assert {chosen("vsa")[0] for _ in range(60)} == {"busy", "idle", "large"}
    assert chosen("VsaSchedulerLeastUsedHost") == ["idle"]
    assert chosen("VsaSchedulerMostAvailCapacity") == ["large"]
    with pytest.raises(NoValidHost, match="type nvme"):
        made = driver("vsa", [], storage)
        dispatch(made, "create_volume", VolumeRequest(size_gb=1, drive_type="nvme"), topic="volume")


@pytest.mark.covers("S124")
def test_zone_never_leaves_the_zone():
    made = driver("zone", [host("a", zone="az1"), host("b", zone="az2")])
    assert {tuple(run(made, zone="az1")) for _ in range(20)} == {("a",)}
    with pytest.raises(NoValidHost, match="zone az3"):
        run(made, zone="az3")


@pytest.mark.covers("S123", "S131")
def test_multi_chooses_for_servers_and_volumes_apart(option):
    option(compute_scheduler_driver="zone", volume_scheduler_driver="simple")
    storage = [StorageView(host="v1", volumes_gb=1), StorageView(host="v2")]
    made = driver("multi", [host("a", zone="az1"), host("b")], storage)
    assert run(made, zone="az1") == ["a"]
    assert dispatch(made, "create_volume", VolumeRequest(size_gb=1), topic="volume") == ["v2"]


class OnlyFilter(AbstractScheduler):
    def filter_hosts(self, request, hosts):
        return [host for host in hosts if host.host.endswith("2")]


class OnlyRun(Driver):
    """One method of one's own; all others go to `schedule`, which it inherits."""

    def schedule_run_instance(self, request, *, count):
        return ["mine"]


@pytest.mark.covers("S109", "S110", "S120", "S129")
def test_a_class_with_one_method_is_a_policy():
    assert run(driver(f"{__name__}:OnlyFilter", [host("h1"), host("h2")])) == ["h2"]
    mine = driver(f"{__name__}:OnlyRun", [host("h1")])
    assert run(mine) == ["mine"]
    with pytest.raises(NotImplementedError, match="no schedule_create_volume and no schedule"):
        dispatch(mine, "create_volume", VolumeRequest(size_gb=1), topic="volume")


@pytest.mark.covers("S121")
def test_base_fills_hosts_in_turn_and_keeps_the_filters():
    made = driver("BaseScheduler", [host("h1"), host("h2"), host("small", vcpus=1)])
    asked = request(flavor=flavor(vcpus=2))
    assert {run(made, asked)[0] for _ in range(2)} == {"h1", "h2"}


@pytest.mark.covers("S122", "S134", "S135", "S136", "S137", "S138", "S139", "S140")
def test_least_cost_adds_up_and_the_smallest_wins(option):
    hosts = [host("empty"), host("half", servers=HALF)]
    assert run(driver("least_cost", hosts))[0] == "empty"  # weight -1 spreads
    option(compute_fill_first_cost_fn_weight=1.0)
    assert run(driver("least_cost", hosts))[0] == "half"
    option(least_cost_functions=["noop_cost_fn", "nova.scheduler.least_cost.compute_fill_first_cost_fn"])
    assert run(driver("least_cost", hosts))[0] == "half"
    option(least_cost_functions=["compute_fill_first_cost_fn"] * 2)
    asked = request()
    assert driver("least_cost", hosts).sums(hosts, asked) == {"empty": 2 * 8192.0, "half": 2 * 4096.0}
    option(least_cost_functions=["retry_host_cost_fn"], retry_host_cost_fn_weight=1.0)
    assert run(driver("least_cost", hosts), tried=("empty",)) == ["half", "empty"]


@pytest.mark.covers("S141")
@pytest.mark.parametrize("spread", [True, False])
def test_both_spellings_give_the_same_order(option, spread):
    hosts = [host(f"h{n}", servers={"a": taken(memory_mb=512 * n)}) for n in (2, 0, 1)]
    option(weight_classes=["RAMWeigher"], ram_weight_multiplier=1.0 if spread else -1.0)
    option(compute_fill_first_cost_fn_weight=-1.0 if spread else 1.0)
    assert run(driver("filter", hosts)) == run(driver("least_cost", hosts))


def test_an_unknown_name_says_what_there_is(option):
    with pytest.raises(ValueError, match=r"there is no driver 'fliter'; built in are .*FilterScheduler"):
        driver("fliter", [])
    option(least_cost_functions=["no.such.thing"])
    with pytest.raises(ValueError, match="does not load"):
        driver("least_cost", [])


@pytest.mark.covers("S132", "S133")
def test_a_filter_made_available_by_its_path_is_enabled_by_its_name(option):
    option(available_filters=[f"{__name__}:Odd"], enabled_filters=["Odd"])
    assert run(driver("filter", [host("h1"), host("h2")])) == ["h1"]


class Odd(Filter):
    def host_passes(self, host, request):
        return host.host[-1] in "13579"
