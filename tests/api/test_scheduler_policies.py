"""Policies through the API: a configuration file chooses one, servers are asked for, and the host each went to is
looked at."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack

import gevent
import pytest
from scheduler_cloud import Template, host_of

from nova0.controller.db.compute_tables import HostRow
from nova0.mesh.identity import create_cluster
from nova0.objects.errors import DriverError

pytestmark = pytest.mark.slow  # a cloud for each; test_scheduling and tests/unit/scheduler are quick


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return Template(tmp_path_factory.mktemp("policies"))


@pytest.fixture
def cloud(template):
    """`cloud(options, hosts)`: a running one; the one before it has ended."""
    running = ExitStack()

    def make(options="", hosts=("lab1", "lab2", "lab3")):
        running.close()
        return running.enter_context(template.cloud(options, hosts))

    yield make
    running.close()


@pytest.fixture
def own(tmp_path):
    """`own(text)`: the path of a user's own file of Python that holds it."""

    def write(text):
        file = tmp_path / "mine.py"
        file.write_text(text)
        return str(file)

    return write


def broken(uuid, *_):
    raise DriverError("the disk is on fire")


# no host


@pytest.mark.covers("S111")
@pytest.mark.parametrize("driver", ["filter", "chance", "simple", "zone", "least_cost", "multi", "caching", "vsa"])
def test_with_every_host_down_a_server_ends_in_error_and_says_so(cloud, driver):
    lab = cloud(f"scheduler_driver = {driver}\ngathering_s = 0")
    for name in list(lab.machines):
        lab.kill(name)
    said = lab.where()
    assert said.startswith("No valid host was found")
    assert "No compute host is up" in said or "ComputeFilter left 0" in said


# chance


@pytest.mark.slow
@pytest.mark.covers("S112", "S130")
def test_chance_is_even_and_takes_no_host_that_is_down(cloud):
    lab = cloud("scheduler_driver = chance", {f"lab{n}": {"vcpus": 1000, "memory_mb": 10**7} for n in range(5)})
    lab.kill("lab4")
    for machine in lab.machines.values():  # the choice is made before a host is asked for anything
        machine.script["prepare"] = lambda *_: gevent.sleep(600)
    found = Counter(host_of(one) for one in lab.together(250, flavor=lab.flavor(memory_mb=64), placed=True))
    assert set(found) == {"lab0", "lab1", "lab2", "lab3"} and all(30 < number < 95 for number in found.values())


# simple


@pytest.mark.covers("S113", "S089", "S130")
def test_simple_takes_the_host_with_fewest_cores_in_use(cloud):
    lab = cloud("scheduler_driver = simple\nmax_cores = 3")
    for host, number in {"lab1": 3, "lab2": 1, "lab3": 2}.items():
        for _ in range(number):
            assert lab.where(availability_zone=f"nova:{host}") == host
    assert lab.where() == "lab2"
    assert {lab.where(), lab.where()} == {"lab2", "lab3"}
    assert "max_cores = 3" in lab.where()


@pytest.mark.covers("S114")
def test_simple_leaves_a_stopped_server_on_its_host(cloud):
    lab = cloud("scheduler_driver = simple")
    server = lab.boot()
    host = host_of(lab.settled(server))
    lab.post(f"/v2.1/servers/{server}/action", {"os-stop": None})
    with gevent.Timeout(60):
        while lab.get(f"/v2.1/servers/{server}")["server"]["status"] != "SHUTOFF":
            gevent.sleep(0.01)
    for _ in range(4):
        lab.where(availability_zone=f"nova:{host}")
    lab.post(f"/v2.1/servers/{server}/action", {"os-start": None})
    assert host_of(lab.settled(server)) == host


# zone and multi

ZONES = {"east": ("lab1",), "west": ("lab2", "lab3")}


@pytest.mark.covers("S124", "S130")
@pytest.mark.parametrize("driver", ["zone", "multi\ncompute_scheduler_driver = zone"])
def test_zone_never_leaves_the_zone_asked_for(cloud, driver):
    lab = cloud(f"scheduler_driver = {driver}")
    for zone, hosts in ZONES.items():
        lab.aggregate(zone, *hosts, availability_zone=zone)
    assert {lab.where(availability_zone="east") for _ in range(3)} == {"lab1"}
    assert {host_of(one) for one in lab.together(8, availability_zone="west")} <= {"lab2", "lab3"}
    lab.kill("lab1")
    assert "No compute host is up in zone east" in lab.where(availability_zone="east")


@pytest.mark.covers("S123", "S131")
@pytest.mark.parametrize("volumes", ["simple", "vsa", "chance"])
def test_multi_places_servers_by_its_own_option_whatever_volumes_have(cloud, volumes):
    lab = cloud(
        f"scheduler_driver = multi\ncompute_scheduler_driver = simple\nvolume_scheduler_driver = {volumes}\n"
        "max_cores = 1"
    )
    assert {lab.where() for _ in range(3)} == {"lab1", "lab2", "lab3"}
    assert "max_cores = 1" in lab.where()


# forms for one's own


@pytest.mark.covers("S109", "S129", "S130", "S048")
def test_a_class_with_one_method_in_a_file_of_ones_own_decides(cloud, own):
    mine = own(
        "from nova0.controller.scheduler.driver import Driver\n"
        "class Last(Driver):\n"
        "    def schedule(self, request, *, topic, method, count):\n"
        "        return [sorted(host.host for host in self.hosts_up())[-1]]\n"
    )
    lab = cloud(f"scheduler_driver = {mine}:Last")
    assert {lab.where() for _ in range(3)} == {"lab3"}
    lab.kill("lab3")
    assert lab.where() == "lab2"


@pytest.mark.covers("S110")
def test_a_policy_with_schedule_run_instance_alone_inherits_the_rest(cloud, own):
    mine = own(
        "from nova0.controller.scheduler.drivers.filter_scheduler import FilterScheduler\n"
        "class Odd(FilterScheduler):\n"
        "    def schedule_run_instance(self, request, *, count):\n"
        "        return ['lab2']\n"
    )
    lab = cloud(f"scheduler_driver = {mine}:Odd", {"lab1": {"memory_mb": 16384}, "lab2": {}})
    assert {lab.where() for _ in range(3)} == {"lab2"}
    assert lab.order() == ["lab1", "lab2"], "what it inherits explains by filters and weights as before"


@pytest.mark.parametrize(("named", "said"), [("['lab9']", "named lab9, and there is no such"), ("[]", "named none")])
def test_what_a_policy_of_ones_own_may_not_say_is_said(cloud, own, named, said):
    mine = own(
        "from nova0.controller.scheduler.driver import Driver\n"
        f"class Mine(Driver):\n    def schedule(self, request, **more):\n        return {named}\n"
    )
    assert said in cloud(f"scheduler_driver = {mine}:Mine\ngathering_s = 0").where()


@pytest.mark.covers("S120")
def test_a_subclass_of_abstract_scheduler_overrides_one_step(cloud, own):
    mine = own(
        "from nova0.controller.scheduler.drivers.abstract_scheduler import AbstractScheduler\n"
        "class Filters(AbstractScheduler):\n"
        "    def filter_hosts(self, request, hosts):\n"
        "        return [host for host in hosts if host.host != 'lab1']\n"
        "class Weighs(AbstractScheduler):\n"
        "    def weigh_hosts(self, request, hosts):\n"
        "        return [(host.free_memory_mb, host) for host in hosts]\n"
    )
    lab = cloud(f"scheduler_driver = {mine}:Filters")
    assert {host_of(one) for one in lab.together(8)} <= {"lab2", "lab3"}
    sizes = {"lab1": {}, "lab2": {"memory_mb": 4096}, "lab3": {"memory_mb": 512}}
    lab = cloud(f"scheduler_driver = {mine}:Weighs", sizes)
    large = lab.flavor(memory_mb=1024)
    assert {lab.where(flavor=large) for _ in range(4)} == {"lab2"}, "enough memory is still asked for; the least wins"
    assert lab.where(flavor=large) == "lab1"


@pytest.mark.covers("S121")
def test_base_scheduler_fills_hosts_in_turn_and_keeps_the_filters(cloud):
    lab = cloud("scheduler_driver = BaseScheduler", {"lab1": {}, "lab2": {}, "small": {"memory_mb": 512}})
    wanted = lab.flavor(memory_mb=600)
    assert [lab.where(flavor=wanted) for _ in range(6)] in (["lab1", "lab2"] * 3, ["lab2", "lab1"] * 3)


# filter, by options


@pytest.mark.covers("S005", "S125", "S368")
def test_the_host_with_most_memory_free_among_those_that_fit(cloud):
    ssd = {"traits": ["CUSTOM_SSD"]}
    sizes = {"lab1": {"memory_mb": 4096} | ssd, "lab2": {"memory_mb": 16384}, "lab3": {"memory_mb": 8192} | ssd}
    lab = cloud("", sizes)
    assert lab.where(flavor=lab.flavor(specs={"trait:CUSTOM_SSD": "required"})) == "lab3"
    assert lab.where() == "lab2"
    said = lab.where(flavor=lab.flavor(memory_mb=20000))
    assert said.startswith("No valid host was found. 3 hosts; RamFilter left 0")


FIELD = """[DEFAULT]
scheduler_driver = nova.scheduler.filter_scheduler.FilterScheduler
scheduler_available_filters = nova.scheduler.filters.standard_filters, {mine}:OnlyLab2
scheduler_default_filters = AvailabilityZoneFilter, RamFilter, ComputeFilter, OnlyLab2
"""
OWN_FILTER = """
from nova0.controller.scheduler.filter import Filter
class OnlyLab2(Filter):
    def host_passes(self, host, request):
        return host.host == "lab2"
"""
OWN_WEIGHER = """
from nova0.controller.scheduler.weigher import Weigher
class ByName(Weigher):
    def weigh(self, host, request):
        return float(host.host[-1])
"""


def enabled(lab):
    """Filters in force, without those of the claim."""
    names = [one["name"] for one in lab.explain()["filters"]]
    return [name for name in names if not name.startswith("claim:")]


@pytest.mark.covers("S129", "S130", "S132", "S133")
def test_the_fields_own_lines_choose_driver_and_filters(cloud, own):
    lab = cloud(FIELD.format(mine=own(OWN_FILTER)))
    assert {lab.where() for _ in range(3)} == {"lab2"}
    assert enabled(lab) == ["AvailabilityZoneFilter", "RamFilter", "ComputeFilter", "OnlyLab2"]
    lab = cloud("[DEFAULT]\nscheduler_driver = nova.scheduler.chance.ChanceScheduler\n")
    assert lab.where() in lab.machines
    assert lab.cloud.admin.post("/nova0/v1/schedule/explain", {"flavor": lab.flavor()}).status_code == 501


@pytest.mark.covers("S133")
def test_filters_run_in_the_order_of_the_option(cloud):
    hosts = {"lab1": {"memory_mb": 512, "vcpus": 1}, "lab2": {"memory_mb": 512}}
    for order in (["RamFilter", "CoreFilter"], ["CoreFilter", "RamFilter"]):
        lab = cloud(f"enabled_filters = {', '.join(order)}", hosts)
        assert f"{order[0]} left 0" in lab.where(flavor=lab.flavor(vcpus=64, memory_mb=4096))
        assert enabled(lab) == order


@pytest.mark.covers("S129", "S132")
def test_filters_and_weighers_of_ones_own_file_by_path(cloud, own):
    mine = own(OWN_FILTER.replace('== "lab2"', '!= "lab3"') + OWN_WEIGHER)
    lab = cloud(f"enabled_filters = ComputeFilter, {mine}:OnlyLab2\nweight_classes = {mine}:ByName")
    assert {lab.where() for _ in range(3)} == {"lab2"}


# costs

FILL = "scheduler_driver = least_cost\ncompute_fill_first_cost_fn_weight = {}"
TEN = [f"lab{n}" for n in range(10)]


@pytest.mark.covers("S122", "S135", "S138")
@pytest.mark.parametrize(("weight", "most"), [("-1.0", 1), ("1.0", 10)])
def test_fill_first_spreads_or_stacks_by_the_sign_of_its_weight(cloud, weight, most):
    lab = cloud(FILL.format(weight), TEN)
    found = Counter(host_of(one) for one in lab.together(10))
    assert max(found.values()) == most and sum(found.values()) == 10


@pytest.mark.covers("S135", "S141")
@pytest.mark.parametrize(("multiplier", "hosts"), [("1.0", 4), ("-1.0", 1)])
def test_a_weigher_spreads_or_stacks_by_the_sign_of_its_multiplier(cloud, multiplier, hosts):
    lab = cloud(f"weight_classes = RAMWeigher\nram_weight_multiplier = {multiplier}", TEN[:4])
    assert len({lab.where() for _ in range(4)}) == hosts


SIZES = {"lab1": {"memory_mb": 3000}, "lab2": {"memory_mb": 1000}, "lab3": {"memory_mb": 2000}}


@pytest.mark.covers("S136", "S140", "S122")
@pytest.mark.parametrize("weight", ["1.0", "-5.0"])
def test_a_cost_that_is_the_same_everywhere_changes_no_order(cloud, weight):
    lab = cloud(
        f"{FILL.format(-1)}\nleast_cost_functions = noop_cost_fn, compute_fill_first_cost_fn\n"
        f"noop_cost_fn_weight = {weight}",
        SIZES,
    )
    assert lab.order() == ["lab1", "lab3", "lab2"]
    shown = lab.explain()["order"][0]
    assert shown["weights"]["noop_cost_fn"]["weighted"] == float(weight)
    assert lab.where() == "lab1"


@pytest.mark.covers("S134", "S138")
def test_cost_functions_add_up_and_one_named_twice_counts_twice(cloud, own):
    mine = own("def by_name_cost_fn(host, request):\n    return 10000.0 * int(host.host[-1])\n")
    twice = "compute_fill_first_cost_fn, compute_fill_first_cost_fn"
    lab = cloud(f"{FILL.format(1)}\nleast_cost_functions = {twice}", SIZES)
    assert {one["host"]: one["sum"] for one in lab.explain()["order"]} == {"lab1": 6000, "lab2": 2000, "lab3": 4000}
    lab = cloud(f"{FILL.format(1)}\nleast_cost_functions = compute_fill_first_cost_fn, {mine}:by_name_cost_fn", SIZES)
    assert lab.order() == ["lab1", "lab2", "lab3"] and lab.where() == "lab1"


@pytest.mark.covers("S137", "S139")
@pytest.mark.parametrize(("weight", "again"), [("1.0", False), ("-1.0", True)])
def test_a_host_that_failed_ranks_last_or_first_by_the_sign(cloud, weight, again):
    lab = cloud(
        "scheduler_driver = least_cost\nleast_cost_functions = retry_host_cost_fn\n"
        f"retry_host_cost_fn_weight = {weight}\nmax_attempts = 2"
    )
    for machine in lab.machines.values():
        machine.script["prepare"] = broken
    server = lab.boot()
    assert lab.settled(server)["status"] == "ERROR"
    tried = Counter({name: sum(asked == ("prepare", server) for asked in m.asked) for name, m in lab.machines.items()})
    assert sorted(tried.values()) == ([0, 0, 2] if again else [0, 1, 1])


@pytest.mark.covers("S141")
@pytest.mark.parametrize(("cost", "multiplier"), [("-1.0", "1.0"), ("1.0", "-1.0")])
def test_smallest_cost_and_largest_weight_give_the_same_order(cloud, cost, multiplier):
    by_cost = cloud(FILL.format(cost), SIZES)
    costs = by_cost.order(), by_cost.where()
    by_weight = cloud(f"weight_classes = RAMWeigher\nram_weight_multiplier = {multiplier}", SIZES)
    assert (by_weight.order(), by_weight.where()) == costs


# what one choice knows of those before it


@pytest.mark.slow
@pytest.mark.covers("S126", "S089")
def test_caching_reads_the_hosts_once_a_period_and_its_own_placements_count(cloud):
    lab = cloud("scheduler_driver = caching\ncaching_period_s = 3600", TEN[:4])
    lab.where()
    lab.machines["lab1"].report(memory_mb=10**6)
    large = lab.flavor(memory_mb=10**5)
    assert "RamFilter left 0" in lab.where(flavor=large), "what changed is not read before the period ends"
    found = Counter(host_of(one) for one in lab.together(40, flavor=lab.flavor(memory_mb=700)))
    assert set(found.values()) == {10}, "each choice sees those before it"
    assert lab.controller.scheduler.book.reads == 1
    lab = cloud("scheduler_driver = caching\ncaching_period_s = 0", TEN[:4])
    lab.where()
    lab.machines["lab1"].report(memory_mb=10**6)
    assert lab.where(flavor=lab.flavor(memory_mb=10**5)) == "lab1"


def test_caching_reads_a_host_that_refused_a_claim_before_the_period_ends(cloud):
    packing = "weight_classes = RAMWeigher\nram_weight_multiplier = -1.0"
    lab = cloud(f"scheduler_driver = caching\ncaching_period_s = 3600\n{packing}", TEN[:2])
    first = lab.where()
    lab.service(first, "disabled")  # the picture in memory still has it enabled, and packs there
    assert {lab.where() for _ in range(3)} == set(TEN[:2]) - {first}


@pytest.mark.slow
@pytest.mark.covers("S084", "S159")
def test_of_a_hundred_boots_at_once_on_a_host_with_room_for_ten_ten_succeed(cloud):
    lab = cloud("", {"lab1": {"memory_mb": 10 * 512 + 100}})
    flavor = lab.flavor(memory_mb=512)
    boots = [gevent.spawn(lab.boot, flavor=flavor) for _ in range(100)]
    gevent.joinall(boots, raise_error=True)
    states = Counter(lab.settled(boot.value)["status"] for boot in boots)
    assert states == {"ACTIVE": 10, "ERROR": 90}
    shown = lab.hypervisors()[0]
    assert (shown["running_vms"], shown["memory_mb_used"]) == (10, 5120)


@pytest.mark.covers("S160")
def test_a_request_for_many_spreads_and_overbooks_nothing(cloud):
    lab = cloud("", {name: {"memory_mb": 1024} for name in TEN[:5]})
    flavor = lab.flavor(memory_mb=512)
    found = Counter(host_of(one) for one in lab.together(5, flavor=flavor))
    assert found == dict.fromkeys(TEN[:5], 1)
    states = Counter(one["status"] for one in lab.together(9, at_least=2, flavor=lab.flavor(memory_mb=512)))
    assert states == {"ACTIVE": 5, "ERROR": 4}
    shown = lab.hypervisors()
    assert [one["memory_mb_used"] for one in shown] == [1024] * 5


@pytest.mark.covers("S161")
def test_when_a_host_fails_the_server_goes_to_the_next_best(cloud):
    lab = cloud("", {name: {"memory_mb": 8192 * (4 - n)} for n, name in enumerate(TEN[:4])})
    order = lab.order()
    assert order == TEN[:4]
    lab.machines["lab0"].script["prepare"] = lab.machines["lab1"].script["prepare"] = broken
    assert lab.where() == "lab2"


@pytest.mark.covers("S162")
def test_sums_kept_by_claims_are_those_of_the_audit(cloud):
    lab = cloud("", TEN[:2])
    servers = [lab.boot(flavor=lab.flavor(vcpus=1 + n % 2, memory_mb=300 + n)) for n in range(6)]
    for server in servers:
        assert lab.settled(server)["status"] == "ACTIVE"
    for server in servers[:2]:
        lab.cloud.admin.delete(f"/v2.1/servers/{server}")
    with gevent.Timeout(60):
        while len(lab.get("/v2.1/servers?all_tenants=1")["servers"]) > 4:
            gevent.sleep(0.01)

    def shown():
        of = ("vcpus_used", "memory_mb_used", "local_gb_used", "running_vms")
        listed = lab.hypervisors()
        return {one["hypervisor_hostname"]: [one[name] for name in of] for one in listed}

    by_claims = shown()
    left = [lab.get(f"/v2.1/servers/{server}", version="2.47")["server"]["flavor"] for server in servers[2:]]
    assert sum(used[1] for used in by_claims.values()) == sum(flavor["ram"] for flavor in left)
    lab.conductor.audit_claims()
    assert shown() == by_claims
    lab.cloud.store.write(lambda: HostRow.update(vcpus_used=99, memory_mb_used=0, servers=1).execute() and None)
    assert shown() != by_claims
    lab.conductor.audit_claims()
    assert shown() == by_claims


# a configuration that does not load


@pytest.mark.covers("S130", "S131", "S132", "S133", "S134")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("scheduler_driver = fliter", "there is no driver 'fliter'; built in are AbstractScheduler"),
        ("scheduler_driver = multi\ncompute_scheduler_driver = best", "there is no driver 'best'"),
        ("scheduler_driver = multi\nvolume_scheduler_driver = best", "there is no driver 'best'"),
        ("scheduler_driver = least_cost\nleast_cost_functions = cheap", "least_cost_functions built in are"),
        ("scheduler_driver = mine.py:Odd", "'mine.py:Odd' does not load: mine.py: write the whole path"),
        ("enabled_filters = /no/such/mine.py:Odd", "'/no/such/mine.py:Odd' does not load"),
        ("available_filters = no.such.Odd", "'no.such.Odd' does not load"),
        ("weight_classes = RamWeigher", "there is no weigher 'RamWeigher'"),
        ("enabled_filters = RAMWeigher", "there is no filter 'RAMWeigher'"),
        ("enabled_filters = nova0.controller.scheduler.selection:order", "is not a class"),
        ("weight_classes = nova0.controller.scheduler.filters.ram_filter:RamFilter", "is not a Weigher"),
    ],
)
def test_a_name_that_does_not_load_is_an_error_that_says_what_there_is(cloud, options, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        cloud(options)


@pytest.mark.slow
@pytest.mark.covers("S133")
def test_a_filter_that_does_not_exist_ends_the_start_in_one_line(tmp_path):
    conf, state = tmp_path / "nova0.conf", tmp_path / "state"
    conf.write_text(
        f"[DEFAULT]\nstate_path = {state}\nhost = lab1\n[mesh]\nmdns = false\n"
        "[scheduler]\nenabled_filters = ComputeFilter, RamFlter\n"
    )
    create_cluster(state / "mesh", "lab1")
    words = [sys.executable, "-m", "nova0.cli.main", "agent", "run", "controller", "--config-file", str(conf)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=240)
    assert done.returncode == 1
    said = done.stderr.splitlines()[-1]
    assert said.startswith("nova0 controller: scheduler: there is no filter 'RamFlter'; built in are AggregateCoreFil")
    assert "Traceback" not in done.stderr


# what is not there yet


@pytest.mark.covers("S163", "S165", "S115", "S127")
def test_what_is_not_there_says_so_and_changes_nothing(cloud):
    lab = cloud()
    server = lab.boot()
    before = lab.settled(server)
    for where in ({"host": None}, {"host": "lab2"}):
        answer = lab.cloud.admin.post(
            f"/v2.1/servers/{server}/action", {"os-migrateLive": {"block_migration": "auto"} | where}, version="2.30"
        )
        assert (answer.status_code, "os-migrateLive" in answer.text) == (501, True)
    after = lab.settled(server)
    assert (host_of(after), after["OS-EXT-STS:task_state"]) == (host_of(before), None)

    body = {"name": "s", "flavorRef": lab.flavor(), "imageRef": lab.images["plain"], "networks": "none"}
    for hint in ({"target_cell": "east"}, {"different_cell": ["west"]}):
        answer = lab.cloud.admin.post("/v2.1/servers", {"server": body, "os:scheduler_hints": hint}, version="2.37")
        assert (answer.status_code, "nova0 has one cell" in answer.text) == (501, True)
        assert next(iter(hint)) in answer.text
    assert lab.cloud.admin.get("/v2.1/os-cells").status_code == 410
    assert lab.cloud.admin.post("/v2.1/servers", {"server": body | {"availability_zone": "mars"}}).status_code == 400
    assert [one["id"] for one in lab.get("/v2.1/servers?all_tenants=1")["servers"]] == [server]

    for path in ("/os-volumes", "/os-volumes/detail", "/os-snapshots"):
        assert "no block storage yet" in lab.cloud.demo.get(f"/v2.1{path}").text
    answer = lab.cloud.demo.post("/v2.1/os-volumes", {"volume": {"size": 1, "availability_zone": "nova"}})
    assert (answer.status_code, "no block storage yet" in answer.text) == (501, True)
    assert lab.cloud.demo.get("/v2.1/os-volumes", version="2.36").status_code == 404


# what the claim would refuse is not chosen, whatever the policy


@pytest.mark.covers("S084")
@pytest.mark.parametrize(
    "driver", ["filter", "chance", "simple", "zone", "least_cost", "AbstractScheduler", "BaseScheduler", "vsa", "multi"]
)
def test_no_policy_chooses_a_host_whose_room_the_claim_would_refuse(cloud, driver):
    lab = cloud(f"scheduler_driver = {driver}\ncompute_scheduler_driver = simple\nenabled_filters = ComputeFilter")
    full = lab.flavor(memory_mb=8000)
    for host in ("lab1", "lab2"):
        assert lab.where(flavor=full, availability_zone=f"nova:{host}") == host
    for _ in range(2):  # lab3 has more processors in use than the full ones, and no other has memory left
        assert lab.where(flavor=lab.flavor(vcpus=2, memory_mb=1024)) == "lab3"
    said = lab.where(flavor=full)
    assert said.startswith("No valid host was found. 3 hosts; claim:RamFilter left 0")


@pytest.mark.covers("S154")
@pytest.mark.parametrize("driver", ["chance", "simple", "zone", "least_cost", "AbstractScheduler"])
def test_every_policy_keeps_to_a_groups_policy(cloud, driver):
    lab = cloud(f"scheduler_driver = {driver}\nenabled_filters = ComputeFilter, RamFilter", TEN[:4])
    apart, together = {"group": lab.group("anti-affinity")}, {"group": lab.group("affinity")}
    assert {lab.where(hints=apart) for _ in range(4)} == set(TEN[:4])
    assert len({lab.where(hints=together) for _ in range(3)}) == 1
    said = lab.where(hints=apart)
    assert said.startswith("No valid host was found. 4 hosts; claim:ServerGroupAntiAffinityFilter left 0")


# many hosts, where filters and weighers work on all at once


@pytest.mark.slow
@pytest.mark.covers("S125", "S128")
def test_among_many_hosts_a_server_goes_where_explain_says(cloud):
    """`explain` asks host by host, the choice works on arrays and keeps answers: both say the same."""
    cells = {at: [{"cpus": 2 if at > 100 else 8, "memory_mb": 4096}] * 2 for at in range(0, 130, 5)}
    hosts = {
        f"lab{at:03}": {
            "vcpus": 4 + at % 7, "memory_mb": 4096 + 37 * at, "traits": ["CUSTOM_SSD"] if at % 3 else [],
            "numa": cells.get(at, []), "resources": {"CUSTOM_GPU": at % 2}, "arch": "x86_64" if at % 4 else "aarch64",
        }
        for at in range(130)
    }  # fmt: skip
    filters = (
        "enabled_filters = ComputeFilter, ComputeCapabilitiesFilter, TraitsFilter, ImagePropertiesFilter, "
        "NUMATopologyFilter, CustomResourcesFilter, RamFilter, CoreFilter, DifferentHostFilter"
    )
    lab = cloud(f"{filters}\nshuffle_best_same_weighed_hosts = false", hosts)
    first = lab.boot()
    lab.settled(first)
    for asked in (
        {}, {"specs": {"trait:CUSTOM_SSD": "forbidden"}}, {"specs": {"trait:CUSTOM_SSD": "required"}, "vcpus": 4},
        {"specs": {"capabilities:vcpus": "<= 5", "resources:CUSTOM_GPU": "1"}}, {"specs": {"hw:numa_nodes": "2"}},
        {"specs": {"hw:numa_nodes": "2"}, "vcpus": 10}, {"specs": {"hw:numa_nodes": "2"}, "memory_mb": 8000},
        {"memory_mb": 8900},
    ):  # fmt: skip
        flavor = lab.flavor(**asked)
        for hints, image in (({}, "plain"), ({"different_host": [first]}, "arm")):
            order = lab.order(flavor=flavor, hints=hints, image=lab.images[image])
            found = lab.where(flavor=flavor, hints=hints, image=image)
            assert found == order[0] if order else "left 0" in found, asked
