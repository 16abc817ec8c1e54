"""The network's books as the conductor uses them: a server's ports from its boot to its end."""

from gevent import monkey

monkey.patch_all()

import sqlite3  # noqa: E402

import peewee  # noqa: E402
import pytest  # noqa: E402

from nova0.controller.api.errors import ApiError  # noqa: E402
from nova0.controller.context import RequestContext  # noqa: E402
from nova0.controller.db import migrations  # noqa: E402
from nova0.controller.db.compute_tables import HostRow, InstanceRow  # noqa: E402
from nova0.controller.db.network_tables import (  # noqa: E402
    FixedAddressRow,
    NetworkRow,
    PortGroupRow,
    PortRow,
    SecurityGroupRow,
    SecurityGroupRuleRow,
    SubnetRow,
)
from nova0.controller.db.store import Store  # noqa: E402
from nova0.controller.network import addresses, books, making  # noqa: E402

DEMO = RequestContext(request_id="req-1", project_id="p", roles=frozenset({"member", "reader"}))


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("books") / "store.sqlite")
    yield store
    store.close()


@pytest.fixture
def store(opened):
    tables = (InstanceRow, NetworkRow, SubnetRow, PortRow, FixedAddressRow, SecurityGroupRow, SecurityGroupRuleRow)
    opened.write(lambda: [table.delete().execute() for table in tables])
    return opened


def network(cidr="10.1.0.0/24", project_id="p", **values):
    from ipaddress import IPv4Network

    row = making.network(name="net", project_id=project_id, **values)
    SubnetRow.create(
        network_id=row.id,
        project_id=project_id,
        cidr=cidr,
        gateway_ip=addresses.default_gateway(IPv4Network(cidr)),
        allocation_pools=addresses.default_pools(IPv4Network(cidr), addresses.default_gateway(IPv4Network(cidr))),
        dns_nameservers=["9.9.9.9"],
    )
    return row


def server(name="vm", **values):
    return InstanceRow.create(
        **{"name": name, "hostname": name, "project_id": "p", "user_id": "u", "vm_state": "building", "flavor": {}}
        | {"reservation_id": "r"}
        | values
    )


@pytest.mark.covers("S296", "S371")
def test_a_server_gets_its_ports_once_however_often_it_asks(store):
    net, vm = store.write(lambda: (network(), server()))
    first = store.write(lambda: books.allocate(vm, [{"uuid": net.id}, {"uuid": net.id}]))
    again = store.write(lambda: books.allocate(vm, [{"uuid": net.id}, {"uuid": net.id}]))
    assert [row.id for row in first] == [row.id for row in again]
    ports = store.read(lambda: books.ports_of(vm.uuid))
    assert [port.ip for port in ports] == ["10.1.0.2", "10.1.0.3"]
    assert (ports[0].gateway, ports[0].dns, ports[0].prefix_length) == ("10.1.0.1", ("9.9.9.9",), 24)
    assert ports[0].hostname == "vm"


@pytest.mark.covers("S301")
def test_a_port_carries_the_default_groups_rules(store):
    net = store.write(network)
    one, two = store.write(lambda: (server("one"), server("two")))
    store.write(lambda: (books.allocate(one, [{"uuid": net.id}]), books.allocate(two, [{"uuid": net.id}])))
    [port] = store.read(lambda: books.ports_of(one.uuid))
    ingress = [rule for rule in port.rules if rule.direction == "ingress" and rule.ethertype == "IPv4"]
    assert [rule.remotes for rule in ingress] == [("10.1.0.2", "10.1.0.3")]
    assert not any(rule.any_remote for rule in ingress)
    assert all(rule.any_remote for rule in port.rules if rule.direction == "egress")


@pytest.mark.covers("S171")
def test_release_frees_everything_and_keeps_a_users_own_port(store):
    def closure():
        net, vm = network("10.2.0.0/29"), server()
        mine = making.port(net, project_id="p")
        books.allocate(vm, [{"port": mine.id}, {"uuid": net.id}])
        books.bind(vm.uuid, "lab1")
        return net, vm, mine

    _, vm, mine = store.write(closure)
    for _ in range(2):
        store.write(lambda: books.release(vm.uuid))
    [left] = store.read(lambda: list(PortRow.select()))
    assert (left.id, left.device_id, left.host, left.status) == (mine.id, "", None, "DOWN")
    assert store.read(lambda: [row.port_id for row in FixedAddressRow.select()]) == [mine.id]


def test_a_used_up_network_says_so_and_leaves_nothing_behind(store):
    net = store.write(lambda: network("10.3.0.0/30"))
    one, two = store.write(lambda: (server("one"), server("two")))
    store.write(lambda: books.allocate(one, [{"uuid": net.id}]))
    with pytest.raises(ApiError, match=r"10\.3\.0\.0/30 is used up"):
        store.write(lambda: books.allocate(two, [{"uuid": net.id}]))
    assert store.read(lambda: PortRow.select().count()) == 1


def test_a_view_has_the_hosts_ports_and_every_neighbour(store):
    net = store.write(network)
    one, two = store.write(lambda: (server("one"), server("two")))

    def closure():
        for host, address in tunnels.items():
            state = {"host": host, "tunnel_address": address}
            HostRow.create(host=host, state=state, vcpus=1, memory_mb=1, disk_gb=1)
        for vm, host in ((one, "lab1"), (two, "lab2")):
            books.allocate(vm, [{"uuid": net.id}])
            books.bind(vm.uuid, host)

    tunnels = {"lab1": "192.0.2.1", "lab2": "192.0.2.2"}
    store.write(closure)
    [view] = store.read(lambda: books.views_for("lab1"))
    assert [port.hostname for port in view.ports] == ["one"]
    assert {(each.host, each.tunnel_address) for each in view.neighbours} == set(tunnels.items())
    assert view.gateway_mac == store.read(lambda: books.view(net.id, "lab2")).gateway_mac
    assert store.read(lambda: books.views_for("lab3")) == []


def test_every_change_raises_the_revision(store):
    net, vm = store.write(lambda: (network(), server()))
    seen = [net.revision]

    def step(closure):
        store.write(closure)
        seen.append(store.read(lambda: NetworkRow.get(NetworkRow.id == net.id).revision))

    step(lambda: books.allocate(vm, [{"uuid": net.id}]))
    step(lambda: books.bind(vm.uuid, "lab1"))
    step(lambda: books.bind(vm.uuid, None))
    step(lambda: books.release(vm.uuid))
    assert seen == sorted(set(seen))


@pytest.mark.covers("S184")
def test_networks_that_name_a_servers_groups_hear_of_it(store):
    near, far = store.write(lambda: (network(), network("10.5.0.0/24")))
    one, two = store.write(lambda: (server("one"), server("two")))
    store.write(lambda: (books.allocate(one, [{"uuid": near.id}]), books.allocate(two, [{"uuid": far.id}])))
    before = store.read(lambda: NetworkRow.get(NetworkRow.id == far.id).revision)
    assert store.read(lambda: books.heard_by(one.uuid)) == sorted([near.id, far.id])
    store.write(lambda: books.release(one.uuid))
    assert store.read(lambda: NetworkRow.get(NetworkRow.id == far.id).revision) > before
    [port] = store.read(lambda: books.ports_of(two.uuid))
    assert {remote for rule in port.rules for remote in rule.remotes} == {port.ip}


def test_a_port_is_active_only_once_wired(store):
    net, vm = store.write(lambda: (network(), server()))
    store.write(lambda: (books.allocate(vm, [{"uuid": net.id}]), books.bind(vm.uuid, "lab1")))
    assert store.read(lambda: books.rows_of(vm.uuid))[0].status == "DOWN"
    store.write(lambda: books.activate(vm.uuid))
    assert store.read(lambda: books.rows_of(vm.uuid))[0].status == "ACTIVE"


@pytest.mark.covers("S307")
def test_requests_are_checked_in_the_fields_words(store):
    def closure():
        net, other = network(), network("10.9.0.0/24", project_id="theirs")
        bare = making.network(name="bare", project_id="p")
        port = making.port(net, project_id="p")
        used = making.port(net, project_id="p", device_id="somebody")
        return net, other, bare, port, used

    net, other, bare, port, used = store.write(closure)

    def check(requested, count=1):
        return store.read(lambda: books.validate_request(DEMO, requested, count))

    assert check("none") == "none"
    assert check("auto") == check(None) == check([]) == [{"uuid": net.id}]
    assert check([{"port": port.id, "uuid": net.id, "tag": "t"}]) == [{"port": port.id, "tag": "t"}]
    assert check([{"uuid": net.id, "fixed_ip": "10.1.0.200"}]) == [{"uuid": net.id, "fixed_ip": "10.1.0.200"}]
    for requested, count, words in (
        ([{"uuid": other.id}], 1, "could not be found"),
        ([{"uuid": bare.id}], 1, "requires a subnet"),
        ([{"uuid": net.id, "fixed_ip": "10.7.0.1"}], 1, "not a valid IP"),
        ([{"uuid": net.id, "fixed_ip": "10.1.0.2"}], 1, "already in use"),
        ([{"uuid": net.id, "fixed_ip": "10.1.0.99"}], 2, "several servers"),
        ([{"uuid": net.id}], 1000, "No more fixed IP"),
        ([{"port": "nonsense"}], 1, "could not be found"),
        ([{"port": used.id}], 1, "still in use"),
        ([{"port": port.id}], 2, "single configured port"),
        ([{"port": port.id}, {"port": port.id}], 1, "twice"),
        ([{}], 1, "uuid or port"),
    ):
        with pytest.raises(ApiError, match=words):
            check(requested, count)
    store.write(lambda: network("10.10.0.0/24"))
    with pytest.raises(ApiError, match="Multiple possible networks"):
        check(None)


def test_numbers_on_the_wire_are_not_used_again_at_once(store):
    first = store.write(lambda: making.network(project_id="p"))
    store.write(first.delete_instance)
    second = store.write(lambda: making.network(project_id="p"))
    assert second.vni == first.vni + 1
    assert second.gateway_mac == making.gateway_mac(second.id) != first.gateway_mac


def carrying(group):
    return {row.port_id for row in PortGroupRow.select().where(PortGroupRow.group_id == group)}


def test_ports_are_found_by_their_groups_whatever_is_done_to_them(store):
    def closure():
        net = network()
        one = making.port(net, project_id="p", security_groups=["g1", "g2"])
        two = making.port(net, project_id="p", security_groups=["g2", "g2"])
        assert (carrying("g1"), carrying("g2")) == ({one.id}, {one.id, two.id})
        one.security_groups = ["g3"]
        one.save()
        assert (carrying("g1"), carrying("g2"), carrying("g3")) == (set(), {two.id}, {one.id})
        one.name = "other"
        one.save()
        PortRow.update(security_groups=[]).where(PortRow.id == two.id).execute()
        assert (carrying("g2"), carrying("g3")) == (set(), {one.id})
        PortRow.delete().execute()
        assert not PortGroupRow.select().exists()

    store.write(closure)


def test_a_store_of_an_earlier_version_learns_the_groups_of_its_ports(tmp_path):
    path = tmp_path / "old.sqlite"
    base = sqlite3.connect(path)
    for number, file in migrations.numbered():
        if number < 4:
            base.executescript(file.read_text())
            base.execute(f"PRAGMA user_version = {number}")
    columns = {name: "" for name, required in
               ((row[1], row[3]) for row in base.execute("PRAGMA table_info('port')")) if required}  # fmt: skip
    columns |= {"id": "p1", "security_groups": '["g1","g2"]'}
    names = ", ".join(f'"{name}"' for name in columns)
    base.execute(f"INSERT INTO port ({names}) VALUES ({', '.join('?' * len(columns))})", list(columns.values()))
    base.commit()
    base.close()
    migrated = peewee.SqliteDatabase(str(path))
    migrations.run(migrated)
    found = migrated.execute_sql("SELECT group_id, port_id FROM port_group ORDER BY group_id").fetchall()
    migrated.close()
    assert found == [("g1", "p1"), ("g2", "p1")]
