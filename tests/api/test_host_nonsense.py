"""What one host says wrongly of itself is refused to it and stays its own: servers go elsewhere as before.

The real API, controller and store; reports come over the bus as a host's do, packed by hand where a host of ours
could not say such a thing.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from types import SimpleNamespace

import gevent
import msgspec
import pytest
from gevent.event import Event
from scheduler_cloud import Template

from nova0.cli.checks import Look, reports
from nova0.controller.compute import host_records
from nova0.controller.db.compute_tables import AggregateRow, HostRow, InstanceRow
from nova0.controller.db.network_tables import NetworkRow, SubnetRow
from nova0.host.compute.guests import Guests
from nova0.mesh.errors import MeshError
from nova0.objects.errors import ControllerUnavailable
from nova0.objects.host import GuestInfo
from nova0.objects.states import PowerState
from nova0.rpcapi.conductor import ConductorAPI

NAN, INF = float("nan"), float("inf")
NONSENSE = {
    "NaN in its load": {"metrics": {"cpu.percent": NAN}},
    "infinite load": {"metrics": {"cpu.percent": INF}},
    "load below all": {"metrics": {"cpu.percent": -INF}},
    "a load's name in two lines": {"metrics": {"cpu\npercent": 0.5}},
    "ten thousand loads": {"metrics": {f"m{n}": 0.5 for n in range(10_000)}},
    "a load that is a list": {"metrics": [0.5]},
    "NaN as a ratio": {"ram_allocation_ratio": NAN},
    "a ratio below none": {"cpu_allocation_ratio": -1.0},
    "a ratio without end": {"disk_allocation_ratio": INF},
    "fewer processors than none": {"vcpus": -4},
    "processors as text": {"vcpus": "four"},
    "memory past 2**63": {"memory_mb": 2**63},
    "memory past all machines": {"memory_mb": 2**62},
    "a disk past 2**63": {"disk_gb": 2**64 - 1},
    "memory of 1.5 MiB": {"memory_mb": 1.5},
    "no memory said": {"memory_mb": None},
    "reserved below none": {"reserved_memory_mb": -(2**62)},
    "a tunnel's end in three lines": {"tunnel_address": "10.0.0.9\nfdb del fa:16:3e:00:00:01 dev x\n"},
    "a tunnel's end that is a word": {"tunnel_address": "any"},
    "a tunnel to everybody": {"tunnel_address": "255.255.255.255"},
    "a tunnel to a group": {"tunnel_address": "224.0.0.18"},
    "an address that is a path": {"address": "../../x"},
    "a name that steers a terminal": {"hypervisor_hostname": "lab1\x1b[2J"},
    "a version past all": {"hypervisor_version": 10**15},
    "a hundred thousand traits": {"traits": ["CUSTOM_A"] * 100_000},
    "a trait that is no word": {"traits": ["CUSTOM_A\0"]},
    "resources below none": {"resources": {"CUSTOM_GPU": -1}},
    "resources past 2**63": {"resources": {"CUSTOM_GPU": 2**63}},
    "cells without end": {"numa": [{"cpus": 2**63, "memory_mb": 1}]},
    "a processor told ten levels deep": {"cpu_info": {"a": {"b": {"c": {"d": {"e": 1}}}}}},
    "a processor with NaN": {"cpu_info": {"speed": NAN}},
    "a processor of a megabyte": {"cpu_info": {"model": "x" * (1 << 20)}},
    "a processor of many megabytes": {"cpu_info": {f"k{n}": ["x" * 250] * 100 for n in range(200)}},
    "notes of a megabyte": {"notes": ["x" * (1 << 20)]},
    "a note that rings": {"notes": ["\x07"]},
    "modes that are no threes": {"supported": [["x86_64", "kvm"]]},
    "bytes as its name": {"arch": b"x86_64"},
}


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return Template(tmp_path_factory.mktemp("nonsense"))


@pytest.fixture
def lab(template):
    with template.cloud(hosts={"lab1": {"memory_mb": 16384, "vcpus": 16, "disk_gb": 2000}, "lab2": {}}) as made:
        host_records._told.clear()
        yield made


def report(machine, **wrong):
    """The machine's report with some of it replaced, as bytes that only a stranger would send."""
    said = msgspec.to_builtins(machine.host_state()) | wrong
    machine.bus.stub(ConductorAPI).report({name: value for name, value in said.items() if value is not None})


def test_every_kind_of_nonsense_is_refused_to_its_host_and_servers_go_on(lab):
    assert lab.where() == "lab1"  # it has most room
    for what, wrong in NONSENSE.items():
        with pytest.raises(MeshError) as refused:
            report(lab.machines["lab1"], **wrong)
        assert next(iter(wrong)) in refused.value.message, f"{what}: {refused.value.message}"
        kept = lab.cloud.services.store.read(lambda: HostRow.known("host", "lab1")).state
        assert kept["memory_mb"] == 16384 and kept["metrics"] == {}, what
    assert lab.where() == "lab1" and lab.where(host="lab2") == "lab2"
    assert {one["hypervisor_hostname"] for one in lab.hypervisors()} == {"lab1", "lab2"}
    assert lab.order() and lab.get("/v2.1/os-services") and lab.get("/nova0/v1/schedule/hosts")
    lab.machines["lab1"].report(memory_mb=4096, vcpus=2, disk_gb=100)  # a good word counts at once
    assert lab.where() == "lab2"


def test_fields_it_does_not_know_are_left_out_and_do_no_harm(lab):
    report(lab.machines["lab1"], moon_phase=NAN, traits=["CUSTOM_A", "CUSTOM_A"])
    kept = lab.cloud.services.store.read(lambda: HostRow.known("host", "lab1")).state
    assert "moon_phase" not in kept and lab.where() == "lab1"


def test_nonsense_of_a_guest_is_refused_whole_and_changes_nothing(lab):
    server = lab.boot()
    host = lab.settled(server)["OS-EXT-SRV-ATTR:host"]
    kinds = [{"uuid": "../x"}, {"uuid": "a\nb"}, {"generation": -1}, {"generation": 2**63}, {"power_state": 99}]
    for wrong in [*kinds, {"power_state": "on"}, {"started_at": NAN}]:
        guest = {"uuid": server, "generation": 1, "power_state": int(PowerState.SHUTDOWN)} | wrong
        with pytest.raises(MeshError, match=next(iter(wrong))):
            lab.machines[host].bus.stub(ConductorAPI).compare([guest])
    assert lab.settled(server)["status"] == "ACTIVE"


def test_guests_past_all_machines_are_refused_and_one_comparison_of_a_host_runs_at_a_time(lab):
    conductor = lab.machines["lab1"].bus.stub(ConductorAPI)
    guests = [GuestInfo(uuid=f"5a0f8c9e-0000-4000-8000-{n:012}", generation=1, power_state=1) for n in range(20_001)]
    with pytest.raises(MeshError, match="guests"):
        conductor.compare(guests)
    asked, end, agent = [], Event(), lab.conductor
    real = agent._compare

    def slow(host, guests):
        asked.append(host)
        end.wait(20)
        return real(host, guests)

    def begun(*hosts):
        with gevent.Timeout(20):
            while asked != list(hosts):
                gevent.sleep(0.01)

    agent._compare = slow
    held = gevent.spawn(conductor.compare, [])
    begun("lab1")
    with pytest.raises(ControllerUnavailable, match="lab1: its guests are being compared"):
        conductor.compare([])
    other = gevent.spawn(lab.machines["lab2"].bus.stub(ConductorAPI).compare, [])
    begun("lab1", "lab2")
    end.set()
    assert held.get(20) == other.get(20) == []
    assert conductor.compare([]) == []


def test_a_power_state_that_is_none_is_not_taken(lab):
    server = lab.boot()
    conductor = lab.machines[lab.settled(server)["OS-EXT-SRV-ATTR:host"]].bus.stub(ConductorAPI)
    for power_state in (99, -1, 2**63 - 1, "on", None):
        conductor.power_changed(server, 1, power_state)
    conductor.power_changed(server, 1, int(PowerState.SHUTDOWN))  # this one is
    with gevent.Timeout(20):
        while lab.cloud.admin.get(f"/v2.1/servers/{server}").json()["server"]["status"] != "SHUTOFF":
            gevent.sleep(0.01)


def test_progress_that_is_nonsense_ends_no_boot(lab):
    percents = (NAN, [1], "x" * 999, -(2**63), 2**64 - 1)
    for progress in (*({"percent": percent} for percent in percents), 7, None):
        for machine in lab.machines.values():
            machine.script["prepare"] = lambda uuid, bus=machine.bus, value=progress: bus.progress(value)
        assert lab.where() == "lab1", progress


def spoil(lab, host, state):
    """As a store of an earlier version, or a hand in it, may have it."""
    text = state if isinstance(state, str) else json.dumps(state)
    lab.cloud.services.store.write(
        lambda: HostRow._meta.database.execute_sql("UPDATE host SET state = ? WHERE host = ?", (text, host))
    )
    lab.conductor.controller.scheduler.stale()


BROKEN = [{"metrics": {"cpu.percent": None}}, "{", "[]", "null", '{"host": "lab1"}', "7", "\x00"]


def test_a_record_that_cannot_be_read_takes_out_its_host_alone(lab, caplog):
    for state in BROKEN:
        taken_out(lab, state, caplog)
        lab.clear()
        caplog.clear()


def taken_out(lab, state, caplog):
    if isinstance(state, dict):
        state = lab.cloud.services.store.read(lambda: HostRow.known("host", "lab1")).state | state
    spoil(lab, "lab1", state)
    with caplog.at_level(logging.ERROR):
        assert [lab.where() for _ in range(3)] == ["lab2"] * 3
    told = [line for line in caplog.messages if "host lab1" in line]
    assert len(told) == 1 and "nova0 evict lab1" in told[0], "told once, with the remedy"
    assert {one["service"]["host"] for one in lab.hypervisors()} == {"lab1", "lab2"}
    assert lab.order() == ["lab2"] and len(lab.get("/nova0/v1/schedule/hosts")["hosts"]) == 1
    for path in ("/v2.1/os-services", "/v2.1/os-hypervisors/statistics", "/v2.1/os-aggregates", "/network/v2.0/agents",
                 "/v2.1/os-availability-zone/detail"):  # fmt: skip
        lab.get(path, version="2.1")
    lab.machines["lab1"].join()  # the next good report: it is back by itself
    assert lab.where() == "lab1"


def test_doctor_names_the_host_whose_record_cannot_be_read(lab, tmp_path):
    with sqlite3.connect(tmp_path / "store.sqlite") as store:
        store.execute("CREATE TABLE host (host TEXT, state TEXT)")
        good = lab.cloud.services.store.read(lambda: HostRow.known("host", "lab1")).state
        store.execute("INSERT INTO host VALUES ('lab1', ?)", (json.dumps(good),))
        store.execute("INSERT INTO host VALUES ('lab2', ?)", (json.dumps(good | {"vcpus": -1}),))
        store.execute("INSERT INTO host VALUES ('lab3', '{')")
    found = reports.check(Look(tmp_path))
    assert [one.found.partition(":")[0] for one in found] == ["lab2", "lab3"]
    assert all("log" in one.remedy and one.level == "warning" for one in found)
    assert reports.check(Look(tmp_path / "none")) == []


def test_doctor_on_the_controller_names_the_host_that_keeps_guests_in_doubt(lab, tmp_path):
    """What a host says in its report, as `Guests.doubts` words it."""
    kept = SimpleNamespace(host="lab1", disowned=SimpleNamespace(kept=lambda: {"a": 1, "b": 2}))
    report(lab.machines["lab1"], notes=["KVM does not answer", *Guests.doubts(kept)])
    states = lab.cloud.services.store.read(lambda: [(row.host, json.dumps(row.state)) for row in HostRow.select()])
    with sqlite3.connect(tmp_path / "store.sqlite") as store:
        store.execute("CREATE TABLE host (host TEXT, state TEXT)")
        store.executemany("INSERT INTO host VALUES (?, ?)", states)
    [found] = reports.check(Look(tmp_path))
    assert found.found.startswith("lab1: 2 guests") and "nova0 guests release" in found.remedy


def test_one_servers_record_that_cannot_be_read_leaves_lists_whole(lab):
    for column in ("flavor", "image", "metadata", "tags", "scheduler_hints", "security_groups"):
        left_whole(lab, column)
        lab.clear()


def left_whole(lab, column):
    servers = [lab.boot(name=f"s{n}") for n in range(3)]
    for server in servers:
        assert lab.settled(server)["status"] == "ACTIVE"
    lab.cloud.services.store.write(
        lambda: HostRow._meta.database.execute_sql(f"UPDATE instance SET {column} = '{{' WHERE uuid = ?", (servers[1],))
    )
    shown = {one["id"]: one for one in lab.get("/v2.1/servers/detail?all_tenants=1", version="2.96")["servers"]}
    assert set(shown) == set(servers)
    assert shown[servers[1]]["status"] == "UNKNOWN" and "cannot be read" in shown[servers[1]]["fault"]["message"]
    assert {shown[one]["status"] for one in (servers[0], servers[2])} == {"ACTIVE"}
    for path in ("servers/detail?all_tenants=1&sort_key=instance_type_id", "servers?all_tenants=1&flavor=none",
                 "servers?all_tenants=1&image=none", "os-simple-tenant-usage?detailed=1", "limits",
                 f"servers/{servers[1]}"):  # fmt: skip
        lab.get(f"/v2.1/{path}", version="2.1")
    assert lab.get("/nova0/v1/schedule/load")
    host = shown[servers[0]]["OS-EXT-SRV-ATTR:host"]
    told = {one.uuid for one in lab.machines[host].bus.stub(ConductorAPI).instances_of()}
    assert {servers[0], servers[2]} <= told
    assert lab.where() == "lab1"
    assert lab.cloud.admin.delete(f"/v2.1/servers/{servers[1]}").status_code == 204


def test_names_of_an_earlier_store_reach_their_host_without_what_it_does_not_take(lab):
    """Patterns that ended in `$` took a newline: such a server is told of, booted and changed as any other."""
    server = lab.boot()
    host = lab.settled(server)["OS-EXT-SRV-ATTR:host"]
    bus = lab.machines[host].bus
    [before] = bus.stub(ConductorAPI).instances_of()

    def closure():
        row = InstanceRow.known("uuid", server)
        row.hostname, row.name, row.key_name, row.key_data = "web\n", "web\n", "mine\n", "ssh-ed25519 AAAA\n"
        row.flavor = row.flavor | {"name": "small\n", "extra_specs": {"note": "a\x1bb"}}
        row.image = row.image | {"name": "debian\n", "properties": {"os_distro": "debian", "note": "a\x07b"}}
        row.save()

    lab.cloud.services.store.write(closure)
    [told] = bus.stub(ConductorAPI).instances_of()
    assert (told.hostname, told.name, told.keypair.name, told.flavor.name) == ("web", "web", "mine", "small")
    assert told.image.name == "debian" and told.image.properties == {"os_distro": "debian"}
    assert told.uuid == before.uuid
    lab.post("/nova0/v1/schedule/explain", {"server": server})
    assert len(lab.get("/nova0/v1/schedule/load")["servers"]) >= 1


def test_a_networks_name_that_hosts_do_not_take_keeps_no_server_from_it(lab):
    made = lab.post("/network/v2.0/networks", {"network": {"name": "n"}})["network"]["id"]
    subnet = {"network_id": made, "ip_version": 4, "cidr": "10.77.0.0/24"}
    lab.post("/network/v2.0/subnets", {"subnet": subnet})
    for name in ("a\nb", "net\x1b[2J", "n" * 400):
        lab.cloud.services.store.write(
            lambda name=name: NetworkRow.update(name=name).where(NetworkRow.id == made).execute()
        )
        assert lab.where(networks=[{"uuid": made}]) in lab.machines


def test_a_tunnels_end_of_an_earlier_store_is_told_to_nobody(lab):
    """What a host said before this was checked is still in the store: other hosts get a network they can build."""
    from nova0.controller.db.network_tables import FixedAddressRow, PortRow

    def closure():
        network = NetworkRow.create(name="n", project_id="p", vni=77, gateway_mac="fa:16:3e:ff:00:01", mtu=1400)
        subnet = SubnetRow.create(network_id=network.id, project_id="p", cidr="10.9.0.0/24", gateway_ip="10.9.0.1")
        for number, host in enumerate(("lab1", "lab2")):
            port = PortRow.create(
                network_id=network.id, project_id="p", mac_address=f"fa:16:3e:00:00:{number:02x}", host=host,
                device_id="0a1b2c3d-0000-4000-8000-00000000000" + str(number), device_owner="compute:nova",
            )  # fmt: skip
            FixedAddressRow.create(
                port_id=port.id, network_id=network.id, subnet_id=subnet.id, ip_address=f"10.9.0.{number + 5}"
            )
        return network.id

    network = lab.cloud.services.store.write(closure)
    good = lab.cloud.services.store.read(lambda: HostRow.known("host", "lab2")).state
    for said in ("10.0.0.9\nfdb del all", "any", "224.0.0.1", 7, None, ["10.0.0.1"], "10.0.0.7"):
        spoil(lab, "lab2", good | {"tunnel_address": said})
        [view] = lab.machines["lab1"].bus.stub(ConductorAPI).networks_of()
        ends = {one.host: one.tunnel_address for one in view.neighbours}
        assert view.id == network and ends["lab2"] == ("10.0.0.7" if said == "10.0.0.7" else ""), said
    spoil(lab, "lab2", "{")
    assert len(lab.machines["lab1"].bus.stub(ConductorAPI).networks_of()) == 1


def test_an_aggregate_that_cannot_be_read_is_as_one_without_hosts(lab):
    lab.aggregate("east", "lab1", availability_zone="east")
    lab.cloud.services.store.write(
        lambda: AggregateRow._meta.database.execute_sql("UPDATE aggregate SET metadata = '{'")
    )
    lab.conductor.controller.scheduler.stale()
    assert lab.where() in ("lab1", "lab2") and lab.get("/v2.1/os-aggregates")


def test_what_json_cannot_hold_is_never_written(lab):
    def closure():
        HostRow.change({"host": "lab1"}, state={"metrics": {"cpu.percent": NAN}})

    with pytest.raises(ValueError, match=r"state.*finite"):
        lab.cloud.services.store.write(closure)
    assert lab.where() == "lab1"
