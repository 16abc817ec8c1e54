"""How hosts find each other on links of their own: without multicast, over IPv6 alone, under a flood of lies."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from cluster import Cluster
from contract import until
from namespaces import MARKS, ip, make_host, remove
from test_hosts_in_namespaces import seen

from nova0.mesh import identity, keys, wire
from nova0.mesh.certificate import Chain
from nova0.mesh.discovery import cluster_hash

pytestmark = MARKS
NET, DOOR = "10.249.78", 7740


def run_in(namespace, *words):
    return subprocess.run(["ip", "netns", "exec", namespace, *words], check=True, capture_output=True, text=True).stdout


class Lan:
    """Namespaces on one bridge, each with eth0."""

    def __init__(self):
        self.tag = f"d{os.getpid() % 10000}"
        self.names = []
        ip("link", "add", f"{self.tag}br", "type", "bridge", "mcast_snooping", "0")
        ip("link", "set", f"{self.tag}br", "up")

    def host(self, *, ipv4):
        number = len(self.names)
        name = f"{self.tag}n{number}"
        self.names.append(name)
        make_host(name, f"{self.tag}v{number}", f"{self.tag}br", f"{NET}.{number + 1}/24" if ipv4 else "")
        return name

    def link_local(self, name):
        """Its IPv6 address of eth0, once the kernel has found that nobody else has it."""

        def settled():
            words = run_in(name, "ip", "-6", "-o", "addr", "show", "dev", "eth0", "scope", "link").split()
            return words[3].partition("/")[0] if words and "tentative" not in words else ""

        return until(settled, 20, f"{name} has an address")

    def close(self):
        remove(self.names, [f"{self.tag}br"])


@pytest.fixture
def lan():
    made = Lan()
    yield made
    made.close()


@pytest.fixture
def cluster(tmp_path):
    made = Cluster(tmp_path / "ours")
    yield made
    made.close()


def enrol(controller, made, remembers=""):
    """A certificate as a join gives it; `remembers`: the address at which it believes the controller."""
    me = identity.load(controller.state_dir)
    folder = Path(made.state_dir)
    pair = keys.node_key(folder)
    identity.store(folder, me.cluster, Chain(me.sign_in(made.host, ("host",), None, pair.public), me.chain.signers))
    if remembers:
        card = wire.Card(
            controller.node, ("controller",), (), remembers, 1, 1, 1, 1, me.pair.public, "0", 0,
        )  # fmt: skip
        path = folder / "peers" / controller.node.replace("/", "~")
        keys.write_public(path, msgspec.msgpack.encode((me.chain, card)))


def settings(cluster, host, tmp_path, **more):
    roles = ("controller",) if host.endswith("0") else ("host",)
    door = DOOR if "controller" in roles else 0
    return cluster.settings(
        host, roles=roles, door_port=door, socket_path=str(tmp_path / f"{host}.sock"), **{"listen": "0.0.0.0", **more}
    )


def all_up(made, hosts):
    until(lambda: {h for h, s in seen(made).items() if s == "up"} == set(hosts), 40, f"{made.host} sees {hosts}")


@pytest.mark.design("D1")
def test_without_multicast_one_seed_is_enough(tmp_path, lan, cluster):
    main, *others = [settings(cluster, f"lab{n}", tmp_path, advertise=f"{NET}.{n + 1}") for n in range(3)]
    identity.create_cluster(main.state_dir, "lab0")
    cluster.process(main, lan.host(ipv4=True)).ready()
    for made in others:
        enrol(main, made, remembers="10.255.255.1")
        made.join = (f"{NET}.1:{DOOR}",)
        cluster.process(made, lan.host(ipv4=True)).ready()
    for made in (main, *others):
        all_up(made, ["lab0", "lab1", "lab2"])


@pytest.mark.design("D2", "D4")
def test_over_link_local_ipv6_alone_by_mdns_and_by_a_seed_with_scope_and_clusters_stay_apart(tmp_path, lan, cluster):
    stranger = Cluster(tmp_path / "theirs")
    try:
        six = {"listen": "::", "mdns": True, "interfaces": ("eth0",)}
        main, second, third = [settings(cluster, f"lab{n}", tmp_path, **six) for n in range(3)]
        identity.create_cluster(main.state_dir, "lab0")
        names = [lan.host(ipv4=False) for _ in range(4)]
        addresses = [lan.link_local(name) for name in names]
        cluster.process(main, names[0]).ready()
        enrol(main, second)  # knows nobody: mDNS has to find them
        enrol(main, third, remembers="fe80::dead%eth0")
        third.mdns, third.join = False, (f"[{addresses[0]}%eth0]:{DOOR}",)
        other = settings(stranger, "far0", tmp_path, **six)
        identity.create_cluster(other.state_dir, "far0")
        stranger.process(other, names[3]).ready()
        cluster.process(second, names[1]).ready()
        cluster.process(third, names[2]).ready()
        for made in (main, second, third):
            all_up(made, ["lab0", "lab1", "lab2"])
        assert set(seen(other)) == {"far0"}
    finally:
        stranger.close()


HEAR = """
import socket, sys
heard = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
heard.settimeout(120)
heard.bind(("", 5353))
group = socket.inet_aton("224.0.0.251") + socket.inet_aton(sys.argv[1])
heard.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
print("LISTENS", flush=True)
while True:
    print(heard.recv(9000)[:20], flush=True)
"""
SAY = """
import socket, sys
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(sys.argv[1]))
out.sendto(b"own words of it", ("224.0.0.251", 5353))
"""


@pytest.mark.design("D6")
def test_mdns_is_spoken_on_the_chosen_interfaces_and_on_no_other(tmp_path, lan, cluster):
    more = {"mdns": True, "interfaces": ("eth0",)}
    main, second = [settings(cluster, f"lab{n}", tmp_path, advertise=f"{NET}.{n + 1}", **more) for n in range(2)]
    identity.create_cluster(main.state_dir, "lab0")
    enrol(main, second)
    names, aside = [lan.host(ipv4=True) for _ in range(2)], lan.host(ipv4=False)
    ip("-n", names[0], "link", "add", "eth1", "type", "veth", "peer", "name", "eth1", "netns", aside)
    for name, address in ((names[0], "10.249.79.1"), (aside, "10.249.79.2")):
        ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth1")
        ip("-n", name, "link", "set", "eth1", "up")
    words = ["ip", "netns", "exec", aside, sys.executable, "-c", HEAR, "10.249.79.2"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as listener:
        try:
            assert listener.stdout.readline() == "LISTENS\n"
            cluster.process(main, names[0]).ready()
            cluster.process(second, names[1]).ready()
            for made in (main, second):  # over eth0 they meet
                all_up(made, ["lab0", "lab1"])
            run_in(names[0], sys.executable, "-c", SAY, "10.249.79.1")
            assert listener.stdout.readline() == f"{b'own words of it'}\n", "the first that was heard on eth1"
        finally:
            listener.kill()


@pytest.mark.design("D3")
def test_a_flood_of_forged_records_neither_fills_memory_nor_keeps_the_real_one_out(tmp_path, lan, cluster):
    main, real = [settings(cluster, f"lab{n}", tmp_path, advertise=f"{NET}.{n + 1}", mdns=True) for n in range(2)]
    identity.create_cluster(main.state_dir, "lab0")
    process = cluster.process(main, lan.host(ipv4=True)).ready()
    namespace, liar = lan.host(ipv4=True), lan.host(ipv4=True)
    enrol(main, real)
    flood = str(Path(__file__).with_name("mdns_flood.py"))
    words = [sys.executable, flood, f"{NET}.3", cluster_hash(identity.load(main.state_dir).cluster), "lab1/host"]

    def memory_kib():
        pid = subprocess.run(["pgrep", "-P", str(process.process.pid)], capture_output=True, text=True).stdout.split()
        status = Path(f"/proc/{pid[0] if pid else process.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])

    run_in(liar, *words)
    first = memory_kib()
    run_in(liar, *words)
    assert memory_kib() - first < 20_000, "what the first flood filled is all there is to fill"
    cluster.process(real, namespace).ready()
    for made in (main, real):
        all_up(made, ["lab0", "lab1"])
    assert set(seen(main)) == {"lab0", "lab1"}
