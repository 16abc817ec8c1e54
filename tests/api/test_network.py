"""Network v2.0 as clients see it: networks, subnets, ports, security groups, and what is refused."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from served import client_env

V2 = "/network/v2.0"


def make_network(http, name="net", **more):
    answer = http.post(V2 + "/networks", {"network": {"name": name, **more}})
    assert answer.status_code == 201, answer.text
    return answer.json()["network"]


def make_subnet(http, network, cidr="10.20.0.0/24", **more):
    body = {"subnet": {"network_id": network["id"], "cidr": cidr, "ip_version": 4, **more}}
    answer = http.post(V2 + "/subnets", body)
    assert answer.status_code == 201, answer.text
    return answer.json()["subnet"]


def make_port(http, network, **more):
    answer = http.post(V2 + "/ports", {"port": {"network_id": network["id"], **more}})
    assert answer.status_code == 201, answer.text
    return answer.json()["port"]


def refused(answer, code, word):
    assert answer.status_code == code, answer.text
    assert word in answer.json()["NeutronError"]["message"], answer.text


@pytest.mark.covers("S033", "S181")
def test_a_network_and_its_subnet_from_making_to_removal(cloud):
    demo = cloud.demo
    network = make_network(demo, "n1", description="d")
    subnet = make_subnet(demo, network, dns_nameservers=["9.9.9.9"])
    assert subnet["gateway_ip"] == "10.20.0.1"
    assert subnet["allocation_pools"] == [{"start": "10.20.0.2", "end": "10.20.0.254"}]
    assert demo.get(f"{V2}/networks/{network['id']}").json()["network"]["subnets"] == [subnet["id"]]
    assert network["status"] == "ACTIVE"
    assert "provider:segmentation_id" not in network
    changed = demo.put(f"{V2}/networks/{network['id']}", {"network": {"name": "n1b"}}).json()["network"]
    assert changed["name"] == "n1b"
    assert changed["revision_number"] > network["revision_number"]
    assert [one["id"] for one in demo.get(f"{V2}/networks?name=n1b").json()["networks"]] == [network["id"]]
    assert demo.delete(f"{V2}/subnets/{subnet['id']}").status_code == 204
    assert demo.delete(f"{V2}/networks/{network['id']}").status_code == 204
    assert demo.get(f"{V2}/networks/{network['id']}").status_code == 404


@pytest.mark.covers("S341", "S342")
def test_another_projects_networks_do_not_exist(cloud):
    network = make_network(cloud.demo, "private-one")
    port = make_port(cloud.demo, network)
    for path in (f"/networks/{network['id']}", f"/ports/{port['id']}"):
        assert cloud.stranger.get(V2 + path).status_code == 404
        assert cloud.stranger.delete(V2 + path).status_code == 404
        assert cloud.admin.get(V2 + path).status_code == 200
    assert network["id"] not in cloud.stranger.get(V2 + "/networks").text
    body = {"port": {"network_id": network["id"]}}
    refused(cloud.stranger.post(V2 + "/ports", body), 404, network["id"])


@pytest.mark.covers("S341")
def test_a_shared_network_is_used_but_not_changed_by_others(cloud):
    network = make_network(cloud.admin, "everyones", shared=True)
    make_subnet(cloud.admin, network, "10.21.0.0/24")
    port = make_port(cloud.stranger, network)
    assert port["fixed_ips"][0]["ip_address"] == "10.21.0.2"
    path = f"{V2}/networks/{network['id']}"
    assert cloud.stranger.get(path).status_code == 200
    assert cloud.stranger.put(path, {"network": {"name": "mine"}}).status_code == 403
    assert cloud.stranger.delete(path).status_code == 403
    refused(cloud.admin.put(path, {"network": {"shared": False}}), 409, "tenants")
    refused(cloud.demo.post(V2 + "/networks", {"network": {"shared": True}}), 403, "shared")
    spoof = {"port": {"network_id": network["id"], "port_security_enabled": False}}
    refused(cloud.stranger.post(V2 + "/ports", spoof), 403, "port_security_enabled")


@pytest.mark.covers("S353")
def test_a_reader_looks_and_changes_nothing(cloud):
    assert cloud.reader.get(V2 + "/networks").status_code == 200
    assert cloud.reader.post(V2 + "/networks", {"network": {"name": "x"}}).status_code == 403
    assert cloud.reader.post(V2 + "/security-groups", {"security_group": {"name": "x"}}).status_code == 403


@pytest.mark.covers("S075")
@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"cidr": "10.0.0.0/33"}, "cidr"),
        ({"cidr": "10.0.0.5/24"}, "10.0.0.0/24"),
        ({"cidr": "fd00::/64", "ip_version": 6}, "IPv6"),
        ({"cidr": "10.0.0.0/31"}, "/30"),
        ({"cidr": "169.254.0.0/24"}, "guests"),
        ({"cidr": "0.0.0.0/8"}, "guests"),
        ({"cidr": "127.4.0.0/16"}, "loopback"),
        ({"cidr": "232.0.0.0/8"}, "multicast"),
        ({"cidr": "250.1.0.0/16"}, "guests"),
        ({"cidr": "255.255.255.0/24"}, "guests"),
        ({"cidr": 5}, "cidr"),
        ({"gateway_ip": "10.99.0.1"}, "gateway_ip"),
        ({"gateway_ip": "10.30.0.255"}, "gateway_ip"),
        ({"gateway_ip": "x"}, "gateway_ip"),
        ({"allocation_pools": [{"start": "10.30.0.9", "end": "10.30.0.5"}]}, "allocation_pools"),
        ({"allocation_pools": [{"start": "10.31.0.2", "end": "10.31.0.5"}]}, "allocation_pools"),
        ({"allocation_pools": [{"start": "fd00::1", "end": "fd00::2"}]}, "allocation_pools"),
        ({"allocation_pools": [{"start": "10.30.0.2"}]}, "end"),
        ({"dns_nameservers": ["not an address"]}, "dns_nameservers"),
        ({"host_routes": [{"destination": "0.0.0.0/0", "nexthop": "10.30.0.7"}]}, "host_routes"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_a_bad_subnet_names_its_field_and_makes_nothing(cloud, body, word):
    network = make_network(cloud.demo, "bad-subnet")
    wanted = {"network_id": network["id"], "cidr": "10.30.0.0/24", "ip_version": 4} | body
    refused(cloud.demo.post(V2 + "/subnets", {"subnet": wanted}), 400, word)
    assert cloud.demo.get(f"{V2}/networks/{network['id']}").json()["network"]["subnets"] == []
    cloud.demo.delete(f"{V2}/networks/{network['id']}")


@pytest.mark.parametrize("cidr", ["192.168.50.0/25", "8.8.8.0/24", "100.64.0.0/16"])
def test_networks_may_have_the_same_range_or_anybodys(cloud, cidr):
    for person, name in ((cloud.demo, "first"), (cloud.demo, "second"), (cloud.admin, "third")):
        assert make_subnet(person, make_network(person, f"same-range-{name}"), cidr)["cidr"] == cidr


def test_overlapping_and_second_subnets_of_a_network_are_refused(cloud):
    network = make_network(cloud.demo, "two-subnets")
    make_subnet(cloud.demo, network, "10.40.0.0/16")
    body = {"network_id": network["id"], "cidr": "10.40.1.0/24", "ip_version": 4}
    refused(cloud.demo.post(V2 + "/subnets", {"subnet": body}), 400, "overlaps")
    body["cidr"] = "10.41.0.0/24"
    refused(cloud.demo.post(V2 + "/subnets", {"subnet": body}), 400, "one subnet")


def test_ports_get_free_addresses_until_there_are_none(cloud):
    network = make_network(cloud.demo, "small")
    subnet = make_subnet(cloud.demo, network, "10.50.0.0/29")
    given = [make_port(cloud.demo, network)["fixed_ips"][0]["ip_address"] for _ in range(5)]
    assert given == [f"10.50.0.{last}" for last in range(2, 7)]
    answer = cloud.demo.post(V2 + "/ports", {"port": {"network_id": network["id"]}})
    refused(answer, 409, "10.50.0.0/29")
    assert answer.json()["NeutronError"]["type"] == "IpAddressGenerationFailure"
    refused(cloud.demo.delete(f"{V2}/subnets/{subnet['id']}"), 409, "One or more ports")
    refused(cloud.demo.delete(f"{V2}/networks/{network['id']}"), 409, "ports still in use")


def test_a_port_takes_the_address_and_mac_asked_for(cloud):
    network = make_network(cloud.demo, "asked")
    subnet = make_subnet(cloud.demo, network, "10.51.0.0/24")
    fixed = [{"subnet_id": subnet["id"], "ip_address": "10.51.0.77"}]
    port = make_port(cloud.demo, network, fixed_ips=fixed)
    assert port["fixed_ips"] == fixed
    assert port["mac_address"].startswith("fa:16:3e:")
    body = {"port": {"network_id": network["id"], "fixed_ips": fixed}}
    refused(cloud.demo.post(V2 + "/ports", body), 409, "10.51.0.77")
    for address, word in (("10.52.0.1", "10.52.0.1"), ("10.51.0.1", "gateway"), ("10.51.0.255", "10.51.0.255")):
        body["port"]["fixed_ips"] = [{"ip_address": address}]
        refused(cloud.demo.post(V2 + "/ports", body), 400, word)
    found = cloud.demo.get(f"{V2}/ports?fixed_ips=ip_address=10.51.0.77").json()["ports"]
    assert [one["id"] for one in found] == [port["id"]]
    assert make_port(cloud.demo, network, mac_address="FA:16:3E:00:00:01")["mac_address"] == "fa:16:3e:00:00:01"
    body["port"] = {"network_id": network["id"], "mac_address": "fa:16:3e:00:00:01"}
    refused(cloud.demo.post(V2 + "/ports", body), 409, "fa:16:3e:00:00:01")
    body["port"]["mac_address"] = "fb:00:00:00:00:01"
    refused(cloud.demo.post(V2 + "/ports", body), 400, "multicast")


@pytest.mark.covers("S341")
def test_a_stranger_cannot_hang_a_port_on_somebodys_server(cloud):
    from nova0.controller.db.compute_tables import InstanceRow
    from nova0.controller.network import books

    row = {"name": "vm", "hostname": "vm", "user_id": "u", "vm_state": "active", "flavor": {}, "reservation_id": "r"}
    server = cloud.store.write(lambda: InstanceRow.create(project_id=cloud.demo.project_id, **row))
    network = make_network(cloud.stranger, "trap")
    make_subnet(cloud.stranger, network, "10.70.0.0/24")
    body = {"port": {"network_id": network["id"], "device_id": server.uuid}}
    refused(cloud.stranger.post(V2 + "/ports", body), 400, "device_id")
    body["port"] |= {"device_id": "future", "device_owner": "compute:nova"}
    refused(cloud.stranger.post(V2 + "/ports", body), 403, "device_owner")
    port = make_port(cloud.stranger, network, device_id="a router of mine", device_owner="vnf")
    change = {"port": {"device_id": server.uuid}}
    refused(cloud.stranger.put(f"{V2}/ports/{port['id']}", change), 400, "device_id")
    assert cloud.store.read(lambda: books.ports_of(server.uuid)) == []


@pytest.mark.covers("S183", "S301")
def test_every_project_has_a_default_group_open_only_to_itself(cloud):
    [group] = cloud.stranger.get(V2 + "/security-groups?name=default").json()["security_groups"]
    rules = group["security_group_rules"]
    assert {(rule["direction"], rule["remote_group_id"]) for rule in rules} == {
        ("egress", None),
        ("ingress", group["id"]),
    }
    refused(cloud.stranger.delete(f"{V2}/security-groups/{group['id']}"), 409, "default")
    network = make_network(cloud.stranger, "dg")
    assert make_port(cloud.stranger, network)["security_groups"] == [group["id"]]
    refused(cloud.stranger.post(V2 + "/security-groups", {"security_group": {"name": "default"}}), 409, "Default")


@pytest.mark.covers("S183", "S185", "S300")
def test_groups_and_rules_and_who_may_edit_them(cloud):
    demo = cloud.demo
    group = demo.post(V2 + "/security-groups", {"security_group": {"name": "web"}}).json()["security_group"]
    assert {rule["direction"] for rule in group["security_group_rules"]} == {"egress"}
    wanted = {
        "security_group_id": group["id"],
        "direction": "ingress",
        "protocol": "tcp",
        "port_range_min": 22,
        "port_range_max": "22",
        "remote_ip_prefix": "0.0.0.0/0",
    }
    rule = demo.post(V2 + "/security-group-rules", {"security_group_rule": wanted}).json()["security_group_rule"]
    assert (rule["port_range_min"], rule["port_range_max"], rule["ethertype"]) == (22, 22, "IPv4")
    refused(demo.post(V2 + "/security-group-rules", {"security_group_rule": wanted}), 409, rule["id"])
    for path in (f"/security-groups/{group['id']}", f"/security-group-rules/{rule['id']}"):
        assert cloud.stranger.get(V2 + path).status_code == 404
        assert cloud.stranger.delete(V2 + path).status_code == 404
    refused(cloud.stranger.post(V2 + "/security-group-rules", {"security_group_rule": wanted}), 404, group["id"])
    assert demo.delete(f"{V2}/security-group-rules/{rule['id']}").status_code == 204
    assert demo.delete(f"{V2}/security-groups/{group['id']}").status_code == 204


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"direction": "sideways"}, "direction"),
        ({"protocol": "carrier-pigeon"}, "protocol"),
        ({"protocol": "256"}, "protocol"),
        ({"protocol": "tcp", "port_range_min": 5, "port_range_max": 4}, "port_range_min"),
        ({"protocol": "tcp", "port_range_min": 5}, "port_range"),
        ({"protocol": "tcp", "port_range_min": 5, "port_range_max": 65536}, "port_range_max"),
        ({"port_range_min": 5, "port_range_max": 6}, "protocol"),
        ({"protocol": "icmp", "port_range_min": 256}, "ICMP type 256"),
        ({"protocol": "icmp", "port_range_max": 0}, "ICMP type (port-range-min) is missing"),
        ({"protocol": "tcp", "port_range_min": -16, "port_range_max": 80}, "Invalid value for port -16"),
        ({"remote_ip_prefix": "10.0.0.0/99"}, "remote_ip_prefix"),
        ({"remote_ip_prefix": "fd00::/8"}, "ethertype"),
        ({"ethertype": "IPX"}, "ethertype"),
    ],
)
def test_a_bad_rule_names_its_field(cloud, body, word):
    [group] = cloud.demo.get(V2 + "/security-groups?name=default").json()["security_groups"]
    wanted = {"security_group_id": group["id"], "direction": "ingress"} | body
    refused(cloud.demo.post(V2 + "/security-group-rules", {"security_group_rule": wanted}), 400, word)


@pytest.mark.covers("S184")
def test_hosts_hear_of_a_rule_wherever_its_group_matters(cloud):
    demo = cloud.demo
    near, far = make_network(demo, "near"), make_network(demo, "far")
    make_subnet(demo, near, "10.60.0.0/24")
    make_subnet(demo, far, "10.61.0.0/24")
    db = demo.post(V2 + "/security-groups", {"security_group": {"name": "db"}}).json()["security_group"]
    app = demo.post(V2 + "/security-groups", {"security_group": {"name": "app"}}).json()["security_group"]
    make_port(demo, far, security_groups=[db["id"]])
    rule = {"security_group_id": db["id"], "direction": "ingress", "remote_group_id": app["id"]}
    cloud.guests.changed.clear()
    assert demo.post(V2 + "/security-group-rules", {"security_group_rule": rule}).status_code == 201
    assert cloud.guests.changed == [[far["id"]]]
    cloud.guests.changed.clear()
    port = make_port(demo, near, security_groups=[app["id"]])
    assert cloud.guests.changed == [sorted([near["id"], far["id"]])], (
        "a new member's address matters on the far network"
    )
    cloud.guests.changed.clear()
    demo.put(f"{V2}/ports/{port['id']}", {"port": {"security_groups": []}})
    assert cloud.guests.changed == [sorted([near["id"], far["id"]])], "so does a member that left"
    refused(demo.delete(f"{V2}/security-groups/{db['id']}"), 409, "in use")


def test_lists_are_filtered_sorted_cut_and_linked(cloud):
    demo = cloud.demo
    for number in range(5):
        make_network(demo, f"page-{number}")
    names = "&".join(f"name=page-{number}" for number in range(5))
    path = f"{V2}/networks?{names}&sort_key=name&sort_dir=desc&limit=2"
    seen = []
    while path:
        answer = demo.get(path).json()
        seen += [one["name"] for one in answer["networks"]]
        links = {link["rel"]: link["href"] for link in answer.get("networks_links", [])}
        path = links.get("next", "").removeprefix(cloud.url)
    assert seen == [f"page-{number}" for number in (4, 3, 2, 1, 0)]
    assert demo.get(f"{V2}/networks?name=page-1&fields=name").json()["networks"] == [{"name": "page-1"}]
    assert demo.get(f"{V2}/networks?limit=x").status_code == 400
    assert demo.get(f"{V2}/networks?limit=1&marker=nope").status_code == 404
    assert demo.get(f"{V2}/networks?sort_key=nope").status_code == 400
    assert demo.get(f"{V2}/networks?shared=True&name=page-1").json()["networks"] == []


def test_several_are_made_at_once_or_none(cloud):
    body = {"networks": [{"name": "bulk-a"}, {"name": "bulk-b"}]}
    assert len(cloud.demo.post(V2 + "/networks", body).json()["networks"]) == 2
    body = {"networks": [{"name": "bulk-c"}, {"name": "bulk-d", "mtu": 1}]}
    refused(cloud.demo.post(V2 + "/networks", body), 400, "mtu")
    assert cloud.demo.get(V2 + "/networks?name=bulk-c").json()["networks"] == []


def test_tags_are_kept_and_searched(cloud):
    network = make_network(cloud.demo, "tagged")
    path = f"{V2}/networks/{network['id']}/tags"
    assert cloud.demo.put(path, {"tags": ["red", "blue"]}).json() == {"tags": ["blue", "red"]}
    assert cloud.demo.put(path + "/green").status_code == 201
    assert cloud.demo.get(path + "/green").status_code == 204
    assert cloud.demo.delete(path + "/red").status_code == 204
    assert cloud.demo.get(path + "/red").status_code == 404
    found = cloud.demo.get(V2 + "/networks?tags=blue,green").json()["networks"]
    assert [one["id"] for one in found] == [network["id"]]
    assert cloud.demo.get(V2 + "/networks?tags=red").json()["networks"] == []


def test_a_quota_holds(cloud):
    project = cloud.stranger.project_id
    path = f"{V2}/quotas/{project}"
    assert cloud.stranger.get(path).json()["quota"]["network"] == 100
    assert cloud.stranger.put(path, {"quota": {"network": 0}}).status_code == 403
    assert cloud.admin.put(path, {"quota": {"network": 0}}).json()["quota"]["network"] == 0
    refused(cloud.stranger.post(V2 + "/networks", {"network": {}}), 409, "Quota exceeded")
    assert cloud.admin.delete(path).status_code == 204
    assert cloud.stranger.post(V2 + "/networks", {"network": {}}).status_code == 201
    assert cloud.stranger.get(f"{path}/details.json").json()["quota"]["network"]["used"] > 0


def test_only_what_is_true_is_advertised(cloud):
    aliases = {one["alias"] for one in cloud.demo.get(V2 + "/extensions").json()["extensions"]}
    assert "security-group" in aliases
    assert not aliases & {"router", "external-net", "l3-ha", "trunk", "qos", "allowed-address-pairs", "extra_dhcp_opt"}
    assert cloud.demo.get(V2 + "/extensions/router").status_code == 404
    assert cloud.demo.get(V2 + "/floatingips?port_id=x").json() == {"floatingips": []}
    refused(cloud.demo.post(V2 + "/floatingips", {"floatingip": {}}), 404, "not offered")
    refused(cloud.demo.post(V2 + "/networks", {"network": {"router:external": True}}), 400, "router:external")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    body=st.dictionaries(
        st.sampled_from(["name", "mtu", "shared", "admin_state_up", "description", "x", "port_security_enabled"]),
        st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=300), st.lists(st.integers(), max_size=2)),
        max_size=4,
    )
)
def test_whatever_is_sent_for_a_network_is_never_a_server_error(cloud, body):
    answer = cloud.demo.post(V2 + "/networks", {"network": body})
    assert answer.status_code in (201, 400, 403), answer.text
    if answer.status_code == 201:
        assert cloud.demo.delete(f"{V2}/networks/{answer.json()['network']['id']}").status_code == 204


@pytest.mark.slow
@pytest.mark.covers("S033", "S181")
def test_openstack_client_makes_a_network_and_rules(clients):
    os = clients.openstack
    assert json.loads(os("network", "create", "osc-net", "-f", "json"))["name"] == "osc-net"
    os("subnet", "create", "--network", "osc-net", "--subnet-range", "10.9.0.0/24", "osc-sub")
    assert "osc-net" in os("network", "list", "-f", "value")
    assert json.loads(os("subnet", "show", "osc-sub", "-f", "json"))["gateway_ip"] == "10.9.0.1"
    os("security", "group", "create", "osc-sg")
    os("security", "group", "rule", "create", "--protocol", "tcp", "--dst-port", "22", "osc-sg")
    os("security", "group", "rule", "create", "--protocol", "icmp", "osc-sg")
    rules = json.loads(os("security", "group", "rule", "list", "osc-sg", "-f", "json"))
    assert {rule["Port Range"] for rule in rules if rule["IP Protocol"] == "tcp"} == {"22:22"}
    os("security", "group", "delete", "osc-sg")
    os("port", "create", "--network", "osc-net", "osc-port")
    assert "in use" in os("network", "delete", "osc-net", ok=False)
    os("port", "delete", "osc-port")
    os("subnet", "delete", "osc-sub")
    os("network", "delete", "osc-net")
    assert "osc-net" not in os("network", "list", "-f", "value")


@pytest.mark.covers("S033")
def test_openstacksdk_lists_everything_without_a_murmur(clients, cloud):
    clients = type(clients)(clients.bin_dir, client_env(cloud, "admin", "admin"))
    out = clients.python(
        "net = cloud.create_network('sdk-net')\n"
        "sub = cloud.create_subnet('sdk-net', cidr='10.8.0.0/24')\n"
        "print(len(cloud.list_networks()), len(cloud.list_ports()), cloud.list_floating_ips(), cloud.list_routers())\n"
        "print([z.name for z in cloud.network.availability_zones()], list(cloud.network.agents()))\n"
        "print(cloud.network.get_quota(cloud.current_project_id).networks)\n"
        "print(cloud.get_external_networks(), cloud.get_internal_ipv4_networks()[0].name)\n"
        "assert cloud.delete_subnet(sub.id) and cloud.delete_network(net.id)\n"
    )
    assert "[] []" in out
    assert "['nova'] []" in out
