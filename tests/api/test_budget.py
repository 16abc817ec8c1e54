"""No request keeps the loop's thread for more than 50 ms of processor time at a stretch, nor the store's for more
than 250 ms: measured with thousands of servers, over every list and the requests that look at many rows."""

from __future__ import annotations

import gc
import io
import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gevent
import msgspec
import pytest
from crowd import fill
from nova0.agents.conductor import ConductorAgent
from nova0.agents.images import ImagesAgent
from served import PASSWORD, FakeGuests, FakeHosts, login
from stretches import Stretches

from nova0.controller.api.application import make_app
from nova0.controller.api.compute.server_create import SERVERS_MOST
from nova0.controller.assembly import Controller
from nova0.controller.compute.flavors import seed_flavors
from nova0.controller.conductor import claims
from nova0.controller.db.compute_tables import FlavorRow, InstanceRow
from nova0.controller.db.identity_tables import ProjectRow
from nova0.controller.db.image_tables import ImageRow
from nova0.controller.db.network_tables import NetworkRow, PortRow, SubnetRow
from nova0.controller.db.operation_tables import OperationRow
from nova0.controller.db.store import Store
from nova0.controller.identity.bootstrap import bootstrap
from nova0.controller.quota import limits
from nova0.controller.services import HostLife, Services
from nova0.host.compute.networks import fetch_views
from nova0.mesh.local import LocalNet
from nova0.objects.host import GuestInfo
from nova0.objects.instance import Instance
from nova0.objects.states import PowerState
from nova0.rpcapi.conductor import ConductorAPI
from nova0.rpcapi.images import ImagesAPI
from tests.unit.conductor.conftest import ScriptedHost

LOOP_S, STORE_S = 0.050, 0.250
WORST = ("/servers/detail?all_tenants=1", "ip=10.64", "end=2030-01-01T00:00:00", "/ports", "sort_key=mac_address")
TRIES = 3  # the best counts: caches are warm, and what else runs on the machine was out of the way


@dataclass
class Crowd:
    """A cloud full of servers, asked without sockets: `ask` measures one request."""

    app: Any
    store: Store
    servers: list[str]
    stretches: Stretches
    token: str = ""

    def ask(self, method: str, path: str, body: Any = None, version: str = "2.100") -> tuple[int, bytes]:
        path, _, query = path.partition("?")
        raw = b"" if body is None else msgspec.json.encode(body)
        environ = {
            "REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query, "SERVER_NAME": "t",
            "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1", "wsgi.url_scheme": "http", "REMOTE_ADDR": "127.0.0.1",
            "wsgi.input": io.BytesIO(raw), "wsgi.errors": io.StringIO(), "CONTENT_LENGTH": str(len(raw)),
            "CONTENT_TYPE": "application/json", "HTTP_X_AUTH_TOKEN": self.token,
            "HTTP_OPENSTACK_API_VERSION": f"compute {version}", "HTTP_HOST": "t",
        }  # fmt: skip
        told: list[Any] = []

        def asked() -> bytes:
            def start(status: str, headers: Any, exc_info: Any = None) -> None:
                told.append((int(status.split()[0]), dict(headers)))

            return b"".join(self.app(environ, start))

        answer = gevent.spawn(asked).get()
        status, headers = told[0]
        if "X-Subject-Token" in headers:
            self.token = headers["X-Subject-Token"]
        return status, answer

    def measured(self, method: str, path: str, body: Any = None, version: str = "2.100") -> tuple[int, float, float]:
        """(status, the loop's longest stretch, the store's), the best of several."""
        loop, store, status = [], [], 0
        for _ in range(TRIES if method == "GET" else 1):
            self.stretches.reset()
            status, _ = self.ask(method, path, body, version)
            gevent.sleep(0)
            loop.append(self.stretches.loop_s)
            store.append(self.stretches.store_s)
            if max(loop[-1] / LOOP_S, store[-1] / STORE_S) < 0.5:
                break
        return status, min(loop), min(store)


def crowd_of(place: Path, servers: int, hosts: int, projects: int, images: int = 250) -> Crowd:
    path = place / "store.sqlite"
    store = Store(path)
    bootstrap(store, PASSWORD)
    store.write(seed_flavors)
    store.close()
    names = [f"node{number:03d}" for number in range(hosts)]
    made = fill(path, servers=servers, hosts=names, projects=projects, images=images)
    store = Store(path)
    lives = FakeHosts({name: HostLife(host=name, alive=True, status="up", age_s=0.1) for name in names})
    services = Services(store=store, hosts=lives, guests=FakeGuests(), state_dir=place, public_url="http://t")
    stretches = Stretches()
    stretches.watch(store)
    return Crowd(make_app(services), store, made, stretches)


def routes(crowd: Crowd) -> list[tuple[str, str]]:
    """GETs: every list that grows with servers, in its heaviest forms."""
    one, some = crowd.servers[0], crowd.servers[len(crowd.servers) // 2]
    everyone = "all_tenants=1"
    servers = [
        "", "/detail", f"?{everyone}", f"/detail?{everyone}", f"/detail?{everyone}&marker={some}",
        f"/detail?{everyone}&limit=1000&sort_key=display_name&sort_dir=asc",
        f"/detail?{everyone}&name=9", f"/detail?{everyone}&ip=10.64", f"/detail?{everyone}&ip=%5C.7%24",
        f"/detail?{everyone}&tags=all", f"/detail?{everyone}&not-tags=t1,t2", f"/detail?{everyone}&tags-any=t1,t2",
        f"/detail?{everyone}&metadata=%7B%22key1%22:%20%22value%201%20of%205%22%7D",
        f"/detail?{everyone}&status=ACTIVE", f"/detail?{everyone}&host=node000", f"/detail?{everyone}&flavor=1",
        f"/detail?{everyone}&sort_key=image_ref&sort_key=instance_type_id", f"/detail?{everyone}&locked=false",
        f"/detail?{everyone}&changes-since=2026-01-01T00:00:00Z", f"/detail?{everyone}&sort_key=uuid&marker={some}",
        f"/{one}", f"/{one}/os-interface", f"/{one}/os-security-groups", f"/{one}/ips", f"/{one}/tags",
        f"/{one}/metadata", f"/{one}/os-instance-actions", f"/{one}/diagnostics",
    ]  # fmt: skip
    compute = [
        "/flavors/detail", "/os-hypervisors/detail", "/os-hypervisors", "/os-hypervisors/detail?with_servers=true",
        "/os-services", "/os-availability-zone/detail", "/limits", "/os-server-groups", "/os-keypairs",
        "/os-simple-tenant-usage?detailed=1&start=2026-01-01T00:00:00&end=2030-01-01T00:00:00",
        "/os-instance_usage_audit_log", "/os-aggregates", "/os-migrations", "/os-hypervisors/statistics",
        "/os-hosts", "/os-hosts/node000", "/os-hypervisors/node/servers", "/os-security-groups?all_tenants=1",
        "/os-networks", "/os-quota-sets/x/detail", "/os-tenant-networks",
    ]  # fmt: skip
    network = [
        "/ports", "/ports?fields=id", "/ports?limit=1000", "/ports?device_owner=compute:nova&sort_key=mac_address",
        f"/ports?device_id={one}", "/ports?fixed_ips=ip_address_substr=.7", "/ports?tags=a", "/networks", "/subnets",
        "/security-groups", "/security-group-rules", "/ports?status=ACTIVE", "/ports?name=x&admin_state_up=true",
    ]  # fmt: skip
    image = ["/images?limit=1000", "/images", "/images?sort=name:asc&limit=250", "/images?tag=a&limit=1000",
             "/images?os_distro=7+distro"]  # fmt: skip
    identity = ["/projects", "/users", "/roles", "/role_assignments?include_names", "/auth/projects"]
    return [
        *(("2.100", f"/v2.1/servers{path}") for path in servers),
        *(("2.1", f"/v2.1/servers{path}") for path in servers[:4]),
        *(("2.100", f"/v2.1{path}") for path in compute),
        *(("2.1", f"/v2.1{path}") for path in compute),
        *(("2.100", f"/network/v2.0{path}") for path in network),
        *(("2.100", f"/image/v2{path}") for path in image),
        *(("2.100", f"/identity/v3{path}") for path in identity),
    ]


def over_budget(crowd: Crowd, few: tuple[str, ...] | None) -> list[str]:
    """Lines for what takes more than the budget; of `few` of the routes."""
    status, _ = crowd.ask("POST", "/identity/v3/auth/tokens", login("admin", "admin", PASSWORD))
    assert status == 201
    found = []
    with crowd.stretches:
        for version, path in routes(crowd):
            if few is not None and not path.endswith(few):
                continue
            status, loop_s, store_s = crowd.measured("GET", path, version=version)
            if os.environ.get("NOVA0_BUDGET_SHOWN"):
                print(f"{status} loop {loop_s * 1000:6.1f} ms store {store_s * 1000:6.1f} ms {version} {path}")
            assert status < 500 or status == 501, path
            if loop_s > LOOP_S or store_s > STORE_S:
                found.append(
                    f"{version} GET {path}: loop {loop_s * 1000:.0f} ms, store {store_s * 1000:.0f} ms at a stretch"
                )
    return found


@pytest.fixture(scope="module")
def crowd(request, tmp_path_factory):
    """(servers, hosts, projects): all in one project, group and network on one host; or spread."""
    made = crowd_of(tmp_path_factory.mktemp("crowd"), *request.param)
    gc.collect()
    gc.freeze()  # as the controller does when it has started
    yield made
    made.store.close()
    gc.unfreeze()


CROWDS = [
    pytest.param((2_000, 1, 1), id="some"),
    pytest.param((10_000, 1, 1), id="one_host", marks=pytest.mark.slow),
    pytest.param((10_000, 50, 20), id="fifty_hosts", marks=pytest.mark.slow),
]
in_every_crowd = pytest.mark.parametrize("crowd", CROWDS, indirect=True)


@in_every_crowd
def test_no_list_keeps_the_loop_or_the_store(crowd):
    few = WORST if len(crowd.servers) < 10_000 else None
    assert over_budget(crowd, few) == []


@dataclass
class Host:
    """A compute host of the crowd, which asks over an in-process bus; its answers to a controller are instant."""

    controller: Controller
    bus: Any
    stretches: Stretches

    def measured(self, what: Callable[[], Any], tries: int) -> tuple[Any, float, float]:
        """(its result, the loop's longest stretch, the store's), the best of several."""
        best = []
        for _ in range(tries):
            self.stretches.reset()
            result = gevent.spawn(what).get()
            best.append((max(self.stretches.loop_s / LOOP_S, self.stretches.store_s / STORE_S), self.stretches.loop_s,
                         self.stretches.store_s))  # fmt: skip
            if best[-1][0] < 0.5:
                break
        return result, *min(best)[1:]


@pytest.fixture
def host(crowd, tmp_path):
    net = LocalNet(timers=False)
    bus = net.bus("ctl", "controller", ("controller",))
    controller = Controller(crowd.store, bus, state_dir=tmp_path, cluster_id="c", public_url="http://t", owner="ctl#1")
    agent = ConductorAgent(controller)
    bus.offer(agent)
    bus.offer(ImagesAgent(controller))
    bus.start()
    asking = ScriptedHost(net, "node000")
    yield Host(controller, asking.bus, crowd.stretches)
    controller.stop()


@in_every_crowd
def test_what_a_host_asks_at_its_start_comes_in_pieces(crowd, host):
    """All of it arrives, whole; and nobody else waits for it."""
    conductor = host.bus.stub(ConductorAPI)
    found = list(_instances(conductor))
    expected = crowd.store.read(
        lambda: InstanceRow.select().where(InstanceRow.host == "node000", InstanceRow.deleted_at.is_null()).count()
    )
    assert len({one.uuid for one in found}) == len(found) == expected
    views = fetch_views(conductor)
    assert sum(len(view.ports) for view in views) == expected
    for view in views:
        of_network = crowd.store.read(lambda id=view.id: PortRow.select().where(PortRow.network_id == id).count())
        assert len(view.neighbours) == of_network
        [inward] = {rule.remotes for port in view.ports for rule in port.rules if rule.direction == "ingress"}
        assert len(inward) == of_network, "each may hear all of its group"


@in_every_crowd
def test_no_call_of_a_host_keeps_the_loop_or_the_store(crowd, host):
    conductor, images = host.bus.stub(ConductorAPI), host.bus.stub(ImagesAPI)
    instances = list(_instances(conductor))
    guests = [GuestInfo(uuid=one.uuid, generation=1, power_state=PowerState.RUNNING) for one in instances]
    none = [GuestInfo(uuid=str(uuid.uuid4()), generation=1, power_state=PowerState.RUNNING) for _ in guests]
    last = instances[len(instances) // 2].number
    image = instances[-1].image.id
    asked: dict[str, Callable[[], Any]] = {
        "instances_after": lambda: conductor.instances_after(last),
        "networks_after": lambda: conductor.networks_after(""),
        "all networks, by the host": lambda: fetch_views(conductor),
        "compare, all well": lambda: conductor.compare(guests),
        "compare, a thousand gone": lambda: conductor.compare(guests[1000:]),
        "compare, all strange": lambda: conductor.compare(none),
        "image stat": lambda: images.stat(image),
        "audit of claims": lambda: crowd.store.write(claims.audit),
        "who is where": lambda: (host.controller.scheduler.stale(), host.controller.scheduler.views()),
        "one host changed": lambda: (host.controller.scheduler.stale("node000"), host.controller.scheduler.views()),
    }
    once = {"compare, a thousand gone"}  # what it writes it writes the first time
    over = []
    with crowd.stretches:
        for name, what in asked.items():
            _, loop_s, store_s = host.measured(what, 1 if name in once else TRIES)
            if os.environ.get("NOVA0_BUDGET_SHOWN"):
                print(f"    loop {loop_s * 1000:6.1f} ms store {store_s * 1000:6.1f} ms {name}")
            if loop_s > LOOP_S or store_s > STORE_S:
                over.append(f"{name}: loop {loop_s * 1000:.0f} ms, store {store_s * 1000:.0f} ms at a stretch")
    assert over == []


@in_every_crowd
def test_no_change_of_what_thousands_use_keeps_the_loop_or_the_store(crowd):
    """Refused or done: networks, subnets, groups, rules, ports, quotas that ten thousand servers are of."""
    crowd.ask("POST", "/identity/v3/auth/tokens", login("admin", "admin", PASSWORD))

    def first() -> tuple[str, ...]:
        demo = ProjectRow.get(ProjectRow.name == "demo").id
        port = PortRow.get(PortRow.project_id == demo)
        return demo, port.network_id, SubnetRow.get(SubnetRow.network_id == port.network_id).id, port.id, *(
            port.security_groups
        )  # fmt: skip

    demo, network, subnet, port, group = crowd.store.read(first)
    server = crowd.servers[0]
    rule = {"security_group_id": group, "direction": "ingress", "ethertype": "IPv4", "remote_group_id": group}
    limits = {"instances": 20_000, "cores": 20_000, "ram": 20_000_000}
    asked = [
        ("PUT", f"/network/v2.0/networks/{network}", {"network": {"name": "other", "shared": True}}),
        ("PUT", f"/network/v2.0/networks/{network}", {"network": {"shared": False}}),
        ("DELETE", f"/network/v2.0/networks/{network}", None),
        ("PUT", f"/network/v2.0/subnets/{subnet}", {"subnet": {"dns_nameservers": ["9.9.9.9"]}}),
        ("DELETE", f"/network/v2.0/subnets/{subnet}", None),
        ("POST", "/network/v2.0/security-group-rules", {"security_group_rule": rule | {"protocol": "tcp"}}),
        ("DELETE", f"/network/v2.0/security-groups/{group}", None),
        ("PUT", f"/network/v2.0/security-groups/{group}", {"security_group": {"description": "other"}}),
        ("POST", "/network/v2.0/ports", {"port": {"network_id": network, "project_id": demo}}),
        ("PUT", f"/network/v2.0/ports/{port}", {"port": {"security_groups": []}}),
        ("PUT", f"/network/v2.0/ports/{port}", {"port": {"security_groups": [group]}}),
        ("PUT", f"/v2.1/servers/{server}", {"server": {"name": "other"}}),
        ("POST", f"/v2.1/servers/{server}/metadata", {"metadata": {"a": "b"}}),
        ("PUT", f"/v2.1/servers/{server}/tags/new", None),
        ("POST", f"/v2.1/servers/{server}/action", {"lock": None}),
        ("PUT", f"/v2.1/os-quota-sets/{demo}", {"quota_set": limits}),
    ]
    over = []
    with crowd.stretches:
        for method, path, body in asked:
            status, loop_s, store_s = crowd.measured(method, path, body)
            if os.environ.get("NOVA0_BUDGET_SHOWN"):
                print(f"{status} loop {loop_s * 1000:6.1f} ms store {store_s * 1000:6.1f} ms {method} {path}")
            assert status < 500, path
            if loop_s > LOOP_S or store_s > STORE_S:
                over.append(f"{method} {path}: loop {loop_s * 1000:.0f} ms, store {store_s * 1000:.0f} ms")
    assert over == []


@in_every_crowd
def test_no_server_made_or_deleted_keeps_the_loop_or_the_store(crowd, host):
    """From the request to the end of the operation, a network, a group and a quota of thousands beside it."""
    crowd.ask("POST", "/identity/v3/auth/tokens", login("demo", "demo", PASSWORD))

    def chosen() -> tuple[str, str, str]:
        quota = limits.set_limits
        project = ProjectRow.get(ProjectRow.name == "demo").id
        quota(project, {"instances": 20_000, "cores": 20_000, "ram": 20_000 * 1024})
        image = ImageRow.select().first().id
        return NetworkRow.get(NetworkRow.project_id == project).id, image, FlavorRow.get(FlavorRow.flavor_id == "1").id

    network, image, _ = crowd.store.write(chosen)
    host.controller.start()
    over = []

    def measured(name: str, ask: Callable[[], tuple[int, bytes]], ended: Callable[[], bool]) -> bytes:
        best = []
        for _ in range(TRIES):
            crowd.stretches.reset()
            status, answer = gevent.spawn(ask).get()
            assert status in (202, 204), answer
            with gevent.Timeout(60):
                while not crowd.store.read(ended):
                    gevent.sleep(0.05)
            loop_s, store_s = crowd.stretches.loop_s, crowd.stretches.store_s
            best.append((max(loop_s / LOOP_S, store_s / STORE_S), loop_s, store_s, answer))
            if name == "delete" or best[-1][0] < 0.5:
                break
        _, loop_s, store_s, answer = min(best)
        if os.environ.get("NOVA0_BUDGET_SHOWN"):
            print(f"    loop {loop_s * 1000:6.1f} ms store {store_s * 1000:6.1f} ms {name}")
        if loop_s > LOOP_S or store_s > STORE_S:
            over.append(f"{name}: loop {loop_s * 1000:.0f} ms, store {store_s * 1000:.0f} ms at a stretch")
        return answer

    body = {"server": {"name": "one", "imageRef": image, "flavorRef": "1", "networks": [{"uuid": network}]}}
    nothing_left = lambda: not OperationRow.select().where(OperationRow.state.in_(("ready", "running"))).exists()  # noqa: E731
    with crowd.stretches:
        answer = measured("create", lambda: crowd.ask("POST", "/v2.1/servers", body), nothing_left)
        made = msgspec.json.decode(answer)["server"]["id"]
        assert crowd.store.read(lambda: InstanceRow.one("uuid", made).vm_state) == "active"
        measured("delete", lambda: crowd.ask("DELETE", f"/v2.1/servers/{made}"), nothing_left)
        assert crowd.store.read(lambda: InstanceRow.one("uuid", made).deleted_at) is not None
    assert over == []


def _instances(conductor: ConductorAPI) -> Iterator[Instance]:
    number = 0
    while page := conductor.instances_after(number):
        yield from page
        number = page[-1].number


@pytest.mark.slow
@in_every_crowd
def test_much_in_one_request_does_not_keep_the_loop_or_the_store(crowd, host):
    """A hundred ports, a hundred rules of a large group, a server with 64 ports, all on a network of thousands."""
    crowd.ask("POST", "/identity/v3/auth/tokens", login("demo", "demo", PASSWORD))

    def chosen() -> tuple[str, str]:
        project = ProjectRow.get(ProjectRow.name == "demo").id
        limits.set_limits(project, {"instances": -1, "cores": -1, "ram": -1, "port": -1, "security_group_rule": -1})
        return NetworkRow.get(NetworkRow.project_id == project).id, ImageRow.select().first().id

    network, image = crowd.store.write(chosen)
    _, answer = crowd.ask("POST", "/network/v2.0/security-groups", {"security_group": {"name": f"g{uuid.uuid4()}"}})
    group = msgspec.json.decode(answer)["security_group"]["id"]
    rule = {"security_group_id": group, "direction": "ingress", "protocol": "tcp"}
    host.controller.start()
    over = []

    def measured(name: str, path: str, body: Any, tries: int = TRIES) -> None:
        loop, store = [], []
        for _ in range(tries):
            crowd.stretches.reset()
            status, answer = crowd.ask("POST", path, body)
            assert status in (201, 202), answer
            with gevent.Timeout(60):
                while crowd.store.read(_anything_under_way):
                    gevent.sleep(0.05)
            loop.append(crowd.stretches.loop_s)
            store.append(crowd.stretches.store_s)
        if os.environ.get("NOVA0_BUDGET_SHOWN"):
            print(f"    loop {min(loop) * 1000:6.1f} ms store {min(store) * 1000:6.1f} ms {name}")
        if min(loop) > LOOP_S or min(store) > STORE_S:
            over.append(f"{name}: loop {min(loop) * 1000:.0f} ms, store {min(store) * 1000:.0f} ms at a stretch")

    with crowd.stretches:
        for first in range(1, 1001, 100):
            several = [rule | {"port_range_min": at, "port_range_max": at} for at in range(first, first + 100)]
            measured("rules", "/network/v2.0/security-group-rules", {"security_group_rules": several}, 1)
        measured("ports", "/network/v2.0/ports", {"ports": [{"network_id": network}] * 100})
        more = {"security_groups": [{"name": f"g{uuid.uuid4()}"} for _ in range(8)]}
        _, answer = crowd.ask("POST", "/network/v2.0/security-groups", more)
        groups = [one["id"] for one in msgspec.json.decode(answer)["security_groups"]]
        port = {"network_id": network, "security_groups": groups}
        measured("ports of many groups", "/network/v2.0/ports", {"ports": [port] * 100})
        server = {"name": "one", "imageRef": image, "flavorRef": "1", "networks": [{"uuid": network}] * 64}
        measured("a server of 64 ports", "/v2.1/servers", {"server": server})
        server = server | {"max_count": SERVERS_MOST, "networks": "none", "user_data": "eHh4" * 16_000}
        server["metadata"] = {f"k{number}": "v" * 255 for number in range(128)}
        host.controller.stop()  # that they are asked for is what is measured
        store = []
        for _ in range(TRIES):
            crowd.stretches.reset()
            assert crowd.ask("POST", "/v2.1/servers", {"server": server})[0] == 202
            store.append(crowd.stretches.store_s)
        if min(store) > STORE_S:
            over.append(f"{SERVERS_MOST} servers: store {min(store) * 1000:.0f} ms at a stretch")
    assert over == []


def _anything_under_way() -> bool:
    return bool(OperationRow.select().where(OperationRow.state.in_(("ready", "running"))).exists())
