"""What a host asks comes in pages: each bounded, together everything; and one that fails leaves the others."""

from __future__ import annotations

import pytest
from nova0.agents import conductor as agent

from nova0.controller.conductor import instance_view, reports
from nova0.controller.db.base_table import new_id
from nova0.controller.db.compute_tables import InstanceRow
from nova0.controller.db.network_tables import NetworkRow, SecurityGroupRow, SecurityGroupRuleRow, SubnetRow
from nova0.controller.network import making, views
from nova0.host.compute.networks import fetch_views
from nova0.objects.errors import NotSupported
from nova0.objects.host import GuestInfo
from nova0.objects.states import PowerState
from nova0.rpcapi.conductor import ConductorAPI
from tests.unit.conductor.conftest import TINY

SERVERS = 7


@pytest.fixture
def host(cloud):
    """A host with SERVERS servers: each has a port on one of two networks, all are in a group that admits itself."""
    host = cloud.host("lab1", memory_mb=65536, vcpus=64)

    def networks() -> tuple[str, list[str]]:
        group = SecurityGroupRow.create(id=new_id(), name="g", project_id="p").id
        SecurityGroupRuleRow.create(
            id=new_id(), security_group_id=group, project_id="p", direction="ingress", remote_group_id=group
        )
        made = []
        for number in range(2):
            made.append(making.network(name=f"net{number}", project_id="p").id)
            SubnetRow.create(
                network_id=made[-1], project_id="p", cidr=f"10.{number}.0.0/24", gateway_ip=f"10.{number}.0.1",
                allocation_pools=[{"start": f"10.{number}.0.2", "end": f"10.{number}.0.99"}],
            )  # fmt: skip
        return group, made

    group, made = cloud.store.write(networks)

    def server(number: int) -> None:
        uuid = new_id()
        InstanceRow.create(
            uuid=uuid, name=f"s{number}", hostname=f"s{number}", project_id="p", user_id="u", vm_state="active",
            power_state=PowerState.RUNNING, host="lab1", reservation_id="r", flavor={
                name: getattr(TINY, name) for name in ("flavor_id", "name", "vcpus", "memory_mb", "root_gb")},
        )  # fmt: skip
        making.port(
            NetworkRow.known("id", made[number % 2]), project_id="p", device_id=uuid, device_owner="compute:nova",
            host="lab1", security_groups=[group],
        )  # fmt: skip

    cloud.store.write(lambda: [server(number) for number in range(SERVERS)] and None)
    return host


def pages_of_instances(conductor):
    pages, number = [], 0
    while page := conductor.instances_after(number):
        pages.append(page)
        number = page[-1].number
    return pages


def pages_of_networks(conductor):
    pages, after = [], None
    while after != "":
        pages.append(conductor.networks_after(after or ""))
        after = pages[-1].after
    return pages


def test_servers_come_in_pages_and_all_of_them(host, monkeypatch):
    monkeypatch.setattr(instance_view, "PAGE", 3)
    conductor = host.bus.stub(ConductorAPI)
    pages = pages_of_instances(conductor)
    assert [len(page) for page in pages] == [3, 3, 1]
    at_once = {one.uuid: one for one in conductor.instances_of()}
    assert sorted(one.uuid for page in pages for one in page) == sorted(at_once)
    for page in pages:
        for one in page:
            [port], [known] = one.ports, at_once[one.uuid].ports
            assert (port.id, port.ip, port.mac, port.hostname) == (known.id, known.ip, known.mac, one.hostname)
            assert known.rules and not port.rules


def test_a_page_is_cut_by_its_bytes_too(cloud, host, monkeypatch):
    monkeypatch.setattr(instance_view, "PAGE_BYTES", 3000)
    cloud.store.write(lambda: InstanceRow.update(user_data="x" * 1500).execute() and None)
    assert [len(page) for page in pages_of_instances(host.bus.stub(ConductorAPI))] == [2, 2, 2, 1]


@pytest.mark.parametrize("most", [1, 2, 3, 5, 100])
def test_networks_come_in_pieces_that_make_the_whole(cloud, host, monkeypatch, most):
    monkeypatch.setattr(views, "PIECE", most)
    monkeypatch.setattr(views, "EACH", 1)
    conductor = host.bus.stub(ConductorAPI)
    for page in pages_of_networks(conductor):
        assert sum(len(piece.view.neighbours) for piece in page.pieces) <= most

    def known(view):
        return view.id, sorted(view.ports, key=lambda port: port.id), sorted(view.neighbours, key=lambda one: one.ip)

    at_once = cloud.store.read(lambda: views.views_for("lab1"))
    assert [known(view) for view in fetch_views(conductor)] == [known(view) for view in at_once]


def test_a_network_that_changes_between_its_pieces_is_told_as_the_older(cloud, host, monkeypatch):
    """So that what is heard of the change has the host ask again."""
    monkeypatch.setattr(views, "PIECE", 2)
    conductor = host.bus.stub(ConductorAPI)
    before = {view.id: view.revision for view in fetch_views(conductor)}
    ask, pieces = conductor.networks_after, []

    class Changing:
        def networks_after(self, after):
            pieces.append(ask(after))
            cloud.store.write(lambda: NetworkRow.update(revision=NetworkRow.revision + 1).execute() and None)
            return pieces[-1]

    told = {view.id: view.revision for view in fetch_views(Changing())}
    first = min(before)
    assert len(pieces) > 2 and told[first] == before[first]


def test_a_host_of_an_earlier_version_is_told_to_upgrade_when_there_is_too_much(host, monkeypatch):
    monkeypatch.setattr(agent, "READ", SERVERS - 1)
    monkeypatch.setattr(views, "PIECE", 2)
    conductor = host.bus.stub(ConductorAPI)
    for ask in (conductor.instances_of, conductor.networks_of):
        with pytest.raises(NotSupported, match="upgrade nova0 there"):
            ask()


def test_a_comparison_comes_in_pieces_and_one_that_fails_leaves_the_others(cloud, host, monkeypatch):
    monkeypatch.setattr(agent, "READ", 3)
    monkeypatch.setattr(agent, "WRITTEN", 2)
    uuids = [one.uuid for page in pages_of_instances(host.bus.stub(ConductorAPI)) for one in page]
    off = [GuestInfo(uuid=uuid, generation=1, power_state=PowerState.SHUTDOWN) for uuid in uuids[:-1]]
    report = reports.power_reported

    def bad(row, power_state):
        if row.uuid == uuids[0]:
            raise RuntimeError("this one cannot be looked at")
        report(row, power_state)

    monkeypatch.setattr(reports, "power_reported", bad)
    assert host.bus.stub(ConductorAPI).compare(off) == []
    states = [(cloud.row(uuid).vm_state, cloud.row(uuid).power_state) for uuid in uuids]
    assert states[:2] == [("active", PowerState.RUNNING)] * 2, "the piece that failed"
    assert states[2:-1] == [("stopped", PowerState.SHUTDOWN)] * (SERVERS - 3)
    assert states[-1] == ("active", PowerState.NOSTATE), "the host did not tell of it"
