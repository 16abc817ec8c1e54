"""A tenant's network is no route of the host: ranges side by side, and what guests reach through their gateway."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import gevent
import msgspec
import pytest

from nova0.host.metadata.server import MetadataServer
from nova0.host.network import links
from nova0.host.network.dnsmasq import Dhcp
from nova0.host.network.linux import LinuxCarrier
from nova0.host.network.tunnels import Tunnels
from nova0.objects.network import Rule
from tests.unit.host.lab import an_instance
from tests.vm.hosts import run
from tests.vm.networks import CLUSTER, PING, StandIn, carrier, tcp
from tests.vm.packets import dhcp_packet, ether, icmp6, ip6_packet, tcp_packet, udp_packet

pytestmark = [pytest.mark.root, pytest.mark.slow]
ROOT = Path(__file__).parents[2]
ASK = "import urllib.request as u; print(u.urlopen('http://169.254.169.254/latest/meta-data/hostname', timeout=30)"
ASK += ".read().decode())"
SAYS = (  # a guest's TCP port that says a word to whoever comes, in a thread of its own
    "import socket,sys\ns=socket.create_server(('0.0.0.0',22))\nprint('on',flush=True)\n"
    "while 1: c,_=s.accept(); c.sendall(sys.argv[1].encode()+b'\\n'); c.close()"
)


def way(host, address: str) -> str:
    """The device the host reaches an address by; "lo" for its own."""
    return json.loads(host.run("ip", "-j", "route", "get", address))[0]["dev"]


@contextlib.contextmanager
def saying(guest: StandIn, word: str):
    words = ["ip", "netns", "exec", guest.namespace, "python3", "-c", SAYS, word]
    child = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        child.stdout.readline()
        yield
    finally:
        child.kill()
        child.wait()


@contextlib.contextmanager
def hearing(namespace: str, port: int = 9, address: str = "0.0.0.0"):
    """What UDP port of a namespace hears: a list of (source, words), filled until the end."""
    code = (
        f"import socket\ns=socket.socket(2,2); s.bind(('{address}',{port})); print('on',flush=True)\n"
        "while 1:\n d,a=s.recvfrom(2048); print(a[0],d.decode('latin1'),flush=True)\n if d==b'end': break"
    )
    child = subprocess.Popen(
        ["ip", "netns", "exec", namespace, "python3", "-c", code], stdout=subprocess.PIPE, text=True
    )
    child.stdout.readline()
    heard: list[list[str]] = []
    try:
        yield heard
        target = "127.0.0.1" if address == "0.0.0.0" else address
        say = f"import socket; socket.socket(2,2).sendto(b'end',('{target}',{port}))"
        run("ip", "netns", "exec", namespace, "python3", "-c", say)
        heard += [line.split(" ", 1) for line in child.communicate(timeout=20)[0].splitlines()][:-1]
    finally:
        child.kill()
        child.wait()


def tells(guest: StandIn, address: str, words: str, port: int = 9, source: str = "0.0.0.0") -> None:
    say = f"import socket; s=socket.socket(2,2); s.bind(('{source}',0)); s.sendto(b'{words}',('{address}',{port}))"
    guest.run("python3", "-c", say)


# --- ranges side by side ---------------------------------------------------------------------------------------


def test_the_hosts_lan_stays_its_own_while_a_tenant_has_its_range(cloud):
    lab1, lab2 = cloud.hosts
    before = {address: way(lab1, address) for address in ("10.77.0.1", lab2.address, lab1.address, "8.8.8.8")}
    lan = cloud.network(10, first="10.77.0", length=25)  # its gateway is 10.77.0.1, the LAN's own router
    dns = cloud.network(11, first="8.8.8")
    guest, twin = cloud.boot(lan, lab1, 11, PING), cloud.boot(lan, lab2, 12, PING)  # with the hosts' own addresses
    other = cloud.boot(dns, lab1, 8, PING)
    assert {address: way(lab1, address) for address in before} == before
    assert " 0% packet loss" in lab1.run("ping", "-c", "1", "-W", "2", "10.77.0.1")
    assert " 0% packet loss" in lab1.run("ping", "-c", "1", "-W", "2", lab2.address)
    assert guest.pings("10.77.0.1") and guest.pings(twin.port.ip)  # of its own network, across hosts too
    assert "fa:16:3e:0a:00:0c" in guest.run("ip", "neigh", "show", twin.port.ip)
    assert other.pings("8.8.8.1") and other.pings("10.77.0.1")  # this one sees the world
    said = lab1.run("ip", "-4", "addr", "show", "dev", lan.view(lab1).bridge)
    assert "inet" not in said


@pytest.mark.covers("S297", "S078", "S303")
def test_two_projects_with_one_range_live_side_by_side_on_one_host(cloud):
    lab1, _ = cloud.hosts
    its = cloud.carriers[lab1]
    one, two = cloud.network(12, first="10.66.0"), cloud.network(13, first="10.66.0", length=25)
    guests = [cloud.boot(network, lab1, 5, PING, tcp(22)) for network in (one, two)]
    friends = [cloud.boot(network, lab1, 6, PING) for network in (one, two)]
    for guest in guests:
        guest.run("ip", "addr", "flush", "dev", "eth0")
        assert guest.dhcp()
        assert "10.66.0.5/" in guest.run("ip", "-4", "addr", "show", "eth0")
        assert "169.254.169.254 via 10.66.0.1" in guest.run("ip", "route")
    for guest, friend in zip(guests, friends, strict=True):
        assert guest.pings("10.66.0.1") and guest.pings("10.77.0.1")
        assert guest.pings(friend.port.ip) and friend.pings(guest.port.ip)
        assert friend.port.mac in guest.run("ip", "neigh", "show", friend.port.ip)
    answers = {one.id: an_instance(1), two.id: an_instance(2)}
    metadata = MetadataServer("lab1", lambda network, ip: answers[network] if ip == "10.66.0.5" else None)
    tunnels = Tunnels("lab1")
    try:
        for network in (one, two):
            assert metadata.serve(network.id, its.namespace(network.id)) != ("", 0)
        asked = [gevent.spawn(guest.run, "python3", "-c", ASK, check=True) for guest in guests]
        gevent.joinall(asked, raise_error=True)
        assert [each.value.strip() for each in asked] == ["vm1", "vm2"]
        with saying(guests[0], "first"), saying(guests[1], "second"):
            for network, word in ((one, b"first\n"), (two, b"second\n")):
                name = tunnels.open(its.namespace(network.id).socket, "10.66.0.5", 22)
                assert tunnels.get(name).read(0) == word
    finally:
        tunnels.close_all()
        metadata.close()


def test_equal_connections_of_two_networks_are_kept_apart(cloud):
    """The same addresses and ports: what one network let in opens nothing in the other."""
    lab1, _ = cloud.hosts
    one, two = cloud.network(14, first="10.67.0"), cloud.network(15, first="10.67.0")
    opens = Rule(direction="ingress", protocol="udp")
    (one_a, one_b), (two_a, two_b) = (
        (cloud.boot(network, lab1, 5), cloud.boot(network, lab1, 6, *rules))
        for network, rules in ((one, (opens,)), (two, ()))
    )
    say = (
        "import socket; s=socket.socket(2,2); s.bind(('10.67.0.5',4000)); s.settimeout(20)\n"
        "s.sendto(b'x',('10.67.0.6',9)); "
    )
    echo = "import socket; s=socket.socket(2,2); s.bind(('0.0.0.0',9)); print('on',flush=True)\n"
    echo += "d,a=s.recvfrom(9); s.sendto(d,a)"
    child = subprocess.Popen(
        ["ip", "netns", "exec", one_b.namespace, "python3", "-c", echo], stdout=subprocess.PIPE, text=True
    )
    child.stdout.readline()
    one_a.run("python3", "-c", say + "s.recv(9)", check=True)  # so it is established
    child.wait(timeout=20)
    with hearing(two_b.namespace) as heard:
        for _ in range(3):
            two_a.run("python3", "-c", say, check=True)
    assert heard == []
    cloud.replace(two, two_b, opens)
    with hearing(two_b.namespace) as heard:
        two_a.run("python3", "-c", say.replace("4000", "4001"), check=True)
    assert [source for source, _ in heard] == ["10.67.0.5"]


def test_nat_of_other_programs_does_not_touch_a_networks_frames(cloud):
    """As Docker's rules for its own range, and for ports of the host's own address."""
    lab1, _ = cloud.hosts
    network = cloud.network(16, first="172.17.0")
    theirs = "table ip theirs {\n chain a { type nat hook postrouting priority srcnat;"
    theirs += ' ip saddr 172.17.0.0/16 oifname != "docker0" masquerade\n }\n'
    theirs += " chain b { type nat hook prerouting priority dstnat;"
    theirs += f" ip daddr 172.17.0.6 dnat to {lab1.address}\n }}\n}}\n"
    (lab1.state_dir / "theirs").write_text(theirs)
    lab1.run("nft", "-f", str(lab1.state_dir / "theirs"))
    try:
        one, two = cloud.boot(network, lab1, 5, PING), cloud.boot(network, lab1, 6, PING)
        assert one.pings("172.17.0.1") and one.pings(two.port.ip) and one.pings("10.77.0.1")
    finally:
        lab1.run("nft", "delete", "table", "ip", "theirs")


# --- what guests reach ------------------------------------------------------------------------------------------


def test_through_their_gateway_guests_reach_the_world_but_neither_hosts_nor_each_other(cloud):
    lab1, _ = cloud.hosts
    its = cloud.carriers[lab1]
    one, two = cloud.network(20), cloud.network(21)
    guest, other = cloud.boot(one, lab1, 5, PING), cloud.boot(two, lab1, 5, PING)
    outside, inside = its._gateways.pair(one.view(lab1))
    their_outside, their_inside = its._gateways.pair(two.view(lab1))
    assert guest.pings("10.77.0.1") and other.pings("10.77.0.1")
    theirs = (outside, inside, their_outside, their_inside, lab1.address, "192.168.21.1", other.port.ip)
    assert guest.reached(*theirs, "10.77.0.1") == {"10.77.0.1"}
    with contextlib.ExitStack() as stack:
        for number in (2000,):
            words = ["ip", "netns", "exec", lab1.namespace, "python3", "-c", _LISTEN, str(number)]
            child = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
            stack.callback(child.kill)
            child.stdout.readline()
            for address in (lab1.address, outside, their_outside, "192.168.20.1"):
                assert not guest.reaches(address, number)
    # as if these addresses were on the guest's own link: nobody there answers for them, nor takes a frame
    bridge = json.loads(lab1.run("ip", "-j", "link", "show", "dev", one.view(lab1).bridge))[0]["address"]
    door = json.loads(lab1.run("ip", "-j", "link", "show", "dev", one.view(lab1).door))[0]["address"]
    near = (inside, outside, lab1.address)
    for address in near:
        guest.run("ip", "route", "add", address, "dev", "eth0", check=True)
    assert guest.reached(*near) == set()
    assert not [address for address in near if "lladdr" in guest.run("ip", "neigh", "show", address)]
    for mac in (bridge, door, one.view(lab1).gateway_mac):
        for address in near:
            guest.run("ip", "neigh", "replace", address, "lladdr", mac, "dev", "eth0", "nud", "permanent", check=True)
        assert guest.reached(*near) == set(), mac
    # the host's end of the uplink as the way to the other network, by hand
    guest.run("ip", "route", "add", "192.168.21.0/24", "via", "192.168.20.1")
    assert not guest.pings("192.168.21.5")
    # nothing comes in that was not asked for, though the LAN's router says the way
    switch = lab1.namespace.rsplit("-", 1)[0] + "-sw"
    for net in ("192.168.20.0/24", "169.254.0.0/17"):
        run("ip", "-n", switch, "route", "add", net, "via", lab1.address)
    try:
        for address in (guest.port.ip, inside):
            said = run("ip", "netns", "exec", switch, "ping", "-c", "1", "-W", "1", address, check=False)
            assert " 0% packet loss" not in said, address
    finally:
        for net in ("192.168.20.0/24", "169.254.0.0/17"):
            run("ip", "-n", switch, "route", "del", net)


_LISTEN = (
    "import socket,sys\ns=socket.create_server(('0.0.0.0',int(sys.argv[1])))\nprint('on',flush=True)\n"
    "while 1: s.accept()"
)


def test_the_clusters_machines_are_reached_only_where_the_option_says_so(cloud):
    lab1, lab2 = cloud.hosts
    network = cloud.network(22)
    guest = cloud.boot(network, lab1, 5)
    switch = lab1.namespace.rsplit("-", 1)[0] + "-sw"
    assert guest.pings(lab2.address)  # a machine of the LAN, for all that is known
    with lab1.inside():
        cloud.carriers[lab1].shield(frozenset({lab1.address, lab2.address, "fe80::1", "no address"}))
    assert not guest.pings(lab2.address) and guest.pings("10.77.0.1")
    cloud.carriers[lab1].close()
    for choice, reached in (("all", {lab2.address, "10.77.0.1"}), ("none", set()), ("internet", {"10.77.0.1"})):
        again = carrier(lab1, guest_nat=choice)  # which remembers whom it heard of
        with lab1.inside():
            again.apply(network.view(lab1))
        asked = guest.reached(lab2.address, "10.77.0.1", "192.168.22.1", lab1.address)
        assert asked == {*reached, "192.168.22.1"}, choice
        again.close()
    cloud.carriers[lab1] = carrier(lab1)
    # a host of the cluster that has a port of the same network is known by its tunnel
    cloud.boot(network, lab2, 6)
    assert not guest.pings(lab2.address)
    with hearing(switch, 4789) as heard, hearing(switch, 4790) as beside:
        tells(guest, "10.77.0.1", "a frame of another network", 4789)
        tells(guest, "10.77.0.1", "plain", 4790)
    assert heard == [] and beside == [[lab1.address, "plain"]]  # or the other host would take it for a tunnel's


_CONNECT = (  # which ports 2000 and 2001 of addresses are reached within a second
    "import socket,sys,time\nends=[]\n"
    "for address in sys.argv[1:]:\n"
    " for port in (2000,2001):\n"
    "  s=socket.socket(); s.setblocking(False); s.connect_ex((address,port)); ends.append(s)\n"
    "time.sleep(1)\n"
    "for s in ends:\n"
    " try: print('%s:%d'%s.getpeername())\n"
    " except OSError: pass\n"
)


@pytest.mark.parametrize("choice", ["internet", "all"])
def test_no_address_of_the_host_is_reached_nor_a_port_that_it_hands_on(cloud, choice):
    """Addresses of its other devices; and a port of its own address that leads to a container, as Docker makes it."""
    lab1, _ = cloud.hosts
    network = cloud.network(17)
    guest = cloud.boot(network, lab1, 5)
    cloud.carriers[lab1].close()
    cloud.carriers[lab1] = carrier(lab1, guest_nat=choice)
    with lab1.inside():
        cloud.carriers[lab1].apply(network.view(lab1))
    box = f"{lab1.namespace}-c"
    run("ip", "netns", "add", box)
    children = []
    try:
        run("ip", "link", "add", "c0", "netns", lab1.namespace, "type", "veth", "peer", "eth0", "netns", box)
        for address, device in (("172.30.0.1/24", "c0"), ("10.79.0.1/32", "c0"), ("10.80.0.1/32", "lo")):
            lab1.run("ip", "addr", "add", address, "dev", device)
        lab1.run("ip", "link", "set", "c0", "up")
        run("ip", "-n", box, "addr", "add", "172.30.0.2/24", "dev", "eth0")
        run("ip", "-n", box, "link", "set", "eth0", "up")
        run("ip", "-n", box, "route", "add", "default", "via", "172.30.0.1")
        theirs = "table ip theirs { chain a { type nat hook prerouting priority dstnat; fib daddr type local"
        theirs += " tcp dport 2001 dnat to 172.30.0.2; }; }"
        lab1.run("nft", theirs)
        for namespace, number in ((box, 2001), (lab1.namespace, 2000)):
            words = ["ip", "netns", "exec", namespace, "python3", "-c", _LISTEN, str(number)]
            children.append(subprocess.Popen(words, stdout=subprocess.PIPE, text=True))
            children[-1].stdout.readline()
        own = (lab1.address, "172.30.0.1", "10.79.0.1", "10.80.0.1", "169.254.0.2")
        said = guest.run("python3", "-c", _CONNECT, "172.30.0.2", *own, check=True)
        assert said.split() == ["172.30.0.2:2001"]  # as any machine that is no member
        assert guest.reached(*own, "10.77.0.1") == {"10.77.0.1"}
    finally:
        for child in children:
            child.kill()
            child.wait()
        lab1.run("nft", "delete", "table", "ip", "theirs", check=False)
        lab1.run("ip", "addr", "del", "10.80.0.1/32", "dev", "lo", check=False)
        run("ip", "netns", "del", box)


def test_a_machine_that_joins_is_closed_to_connections_that_are_open(cloud):
    lab1, lab2 = cloud.hosts
    guest = cloud.boot(cloud.network(18), lab1, 5)
    with lab1.inside():
        cloud.carriers[lab1].shield(frozenset())  # whom an earlier test had join is remembered
    echo = (
        "import socket\ns=socket.create_server(('0.0.0.0',7))\nprint('on',flush=True)\nc,_=s.accept()\n"
        "while d:=c.recv(9): c.sendall(d)"
    )
    talk = (
        f"import socket\ns=socket.create_connection(('{lab2.address}',7),10); s.settimeout(1)\n"
        "while w:=input():\n s.sendall(w.encode())\n try: print(s.recv(9).decode(),flush=True)\n"
        " except OSError: print('silence',flush=True)"
    )
    server = subprocess.Popen(
        ["ip", "netns", "exec", lab2.namespace, "python3", "-c", echo], stdout=subprocess.PIPE, text=True
    )
    server.stdout.readline()
    client = subprocess.Popen(
        ["ip", "netns", "exec", guest.namespace, "python3", "-c", talk],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:

        def says(word: str) -> str:
            client.stdin.write(word + "\n")
            client.stdin.flush()
            return client.stdout.readline().strip()

        assert says("one") == "one"
        with lab1.inside():
            cloud.carriers[lab1].shield(frozenset({lab2.address}))
        assert says("two") == "silence"
    finally:
        for child in (client, server):
            child.kill()
            child.wait()


def test_no_word_of_ipv6_reaches_the_host_or_the_gateway_without_port_security_either(cloud):
    """On a host that speaks IPv6 and believes routers, as most do."""
    lab1, _ = cloud.hosts
    switches = ("all", "default", "up0")
    for name in switches:
        lab1.run("sysctl", "-qw", f"net.ipv6.conf.{name}.disable_ipv6=0")
    try:
        network = cloud.network(19)
        guest = cloud.boot(network, lab1, 5, port_security=False)
        friend = cloud.boot(network, lab1, 6, port_security=False)
        view = network.view(lab1)
        for each in (guest, friend):
            each.run("sysctl", "-qw", "net.ipv6.conf.eth0.disable_ipv6=0")
        own = bytes.fromhex(guest.port.mac.replace(":", ""))
        prefix = bytes([3, 4, 64, 0xC0]) + b"\xff" * 8 + bytes(4) + socket.inet_pton(socket.AF_INET6, "fd00:bad::")
        words = icmp6("fe80::5", "ff02::1", 134, b"\x40\0\xff\xff" + bytes(8) + prefix + b"\x01\x01" + own)
        advert = ip6_packet("fe80::5", "ff02::1", 58, words)
        guest.sends(ether(b"\x33\x33\0\0\0\x01", own, 0x86DD, advert))
        with gevent.Timeout(20):  # the neighbour has it, who is as free
            while "fd00:bad::" not in friend.run("ip", "-6", "route"):
                gevent.sleep(0.05)
            while any("tentative" in each.run("ip", "-6", "addr") for each in (guest, friend)):
                gevent.sleep(0.05)
        routes = lab1.run("ip", "-6", "route")
        assert "fd00:bad::" not in routes and "default" not in routes
        for device in (view.bridge, view.door, view.uplink):
            assert "inet6" not in lab1.run("ip", "addr", "show", "dev", device), device
        assert "inet6" not in lab1.within(network.id, "ip", "addr", "show", "dev", view.leg)
        said = guest.run("ping", "-6", "-c", "2", "-i", "0.3", "-W", "1", "ff02::1%eth0")
        heard = {line.split()[3].rstrip(":").split("%")[0] for line in said.splitlines() if " bytes from " in line}
        ends = {line.split()[1].split("/")[0] for each in (guest, friend) for line in
                each.run("ip", "-6", "addr", "show", "dev", "eth0").splitlines() if "inet6" in line}  # fmt: skip
        assert heard and heard <= ends, said
        tap = network.port(lab1, 7)
        cloud.apply(network)
        with lab1.inside():
            cloud.carriers[lab1].plug(tap)
        assert "addrgenmode none" in lab1.run("ip", "-d", "link", "show", "dev", tap.tap)  # nor does the host say any
    finally:
        for name in switches:
            lab1.run("sysctl", "-qw", f"net.ipv6.conf.{name}.disable_ipv6=1")


def test_no_packet_leaves_under_another_address_than_the_hosts(cloud):
    """Spoofed sources, and those that connection tracking calls invalid, which NAT passes over."""
    lab1, _ = cloud.hosts
    network = cloud.network(23)
    guest = cloud.boot(network, lab1, 5, PING, port_security=False)
    switch = lab1.namespace.rsplit("-", 1)[0] + "-sw"
    mac = bytes.fromhex(network.view(lab1).gateway_mac.replace(":", ""))
    own = bytes.fromhex(guest.port.mac.replace(":", ""))
    guest.pings("10.77.0.1")
    lonely = tcp_packet("192.168.23.5", "10.77.0.1", flags=0x10)  # an ACK of no connection
    absurd = tcp_packet("192.168.23.5", "10.77.0.1", flags=0x07)  # SYN, FIN and RST
    spoofed = udp_packet("10.77.0.99", "10.77.0.1", 9)
    within = udp_packet("192.168.23.77", "10.77.0.1", 9)
    seen = subprocess.Popen(
        ["ip", "netns", "exec", switch, sys.executable, "-c", _SNIFF], stdout=subprocess.PIPE, text=True
    )
    seen.stdout.readline()
    guest.sends(*(mac + own + b"\x08\x00" + packet for packet in (lonely, absurd, spoofed, within)))
    tells(guest, "10.77.0.1", "last", 9)
    sources = set(seen.communicate(timeout=30)[0].split())
    assert sources == {lab1.address}


_SNIFF = (  # sources of TCP and UDP packets to 10.77.0.1, until one says "last"
    "import socket\ns=socket.socket(socket.AF_PACKET,socket.SOCK_DGRAM,socket.htons(0x800)); s.settimeout(20)\n"
    "print('on',flush=True)\n"
    "while 1:\n d=s.recv(2048)\n"
    " if d[16:20]==bytes([10,77,0,1]) and d[9] in (6,17): print(socket.inet_ntoa(d[12:16]),flush=True)\n"
    " if d.endswith(b'last'): break"
)


def test_the_host_forwards_for_nobody_else_where_it_did_not_before(cloud):
    lab1, lab2 = cloud.hosts
    guest = cloud.boot(cloud.network(24), lab1, 5)
    assert lab1.run("cat", "/proc/sys/net/ipv4/ip_forward").strip() == "1" and guest.pings("10.77.0.1")
    other = f"{lab1.namespace}-o"  # a second LAN, behind the host
    run("ip", "netns", "add", other)
    try:
        run("ip", "link", "add", "up1", "netns", lab1.namespace, "type", "veth", "peer", "eth0", "netns", other)
        lab1.run("ip", "addr", "add", "10.78.0.1/24", "dev", "up1")
        lab1.run("ip", "link", "set", "up1", "up")
        run("ip", "-n", other, "addr", "add", "10.78.0.2/24", "dev", "eth0")
        run("ip", "-n", other, "link", "set", "eth0", "up")
        run("ip", "-n", other, "route", "add", "default", "via", "10.78.0.1")
        lab2.run("ip", "route", "add", "10.78.0.0/24", "via", lab1.address)
        ping = ["ping", "-c", "1", "-W", "1", "10.78.0.2"]
        assert " 0% packet loss" in lab1.run(*ping)
        assert " 0% packet loss" not in lab2.run(*ping, check=False)
        assert guest.pings("10.78.0.2")  # what the host reaches, by its address
        (lab1.state_dir / "networks" / "forwarding-was-off").unlink()  # had the operator wanted it so
        with lab1.inside():
            cloud.carriers[lab1]._load_rules()
        assert " 0% packet loss" in lab2.run(*ping, check=False)
    finally:
        lab2.run("ip", "route", "del", "10.78.0.0/24", check=False)
        run("ip", "netns", "del", other)
        lab1.run("sysctl", "-qw", "net.ipv4.ip_forward=0")


def test_nobody_on_a_network_speaks_as_its_gateway_even_without_port_security(cloud):
    lab1, lab2 = cloud.hosts
    network = cloud.network(25)
    free, victim = cloud.boot(network, lab1, 5, PING, port_security=False), cloud.boot(network, lab1, 6, PING)
    far, as_free = cloud.boot(network, lab2, 7, PING), cloud.boot(network, lab1, 8, PING, port_security=False)
    assert victim.pings("192.168.25.1") and victim.pings(free.port.ip) and far.pings("192.168.25.1")
    assert as_free.pings("192.168.25.1")
    gateway_mac = network.view(lab1).gateway_mac
    own, gate, his = (bytes.fromhex(mac.replace(":", "")) for mac in (free.port.mac, gateway_mac, victim.port.mac))
    every = b"\xff" * 6
    gateway, target = socket.inet_aton("192.168.25.1"), socket.inet_aton(victim.port.ip)
    lie = b"\x00\x01\x08\x00\x06\x04\x00\x02" + own + gateway + his + target
    asks = lie[:7] + b"\x01" + lie[8:-4] + socket.inet_aton(as_free.port.ip)
    as_free.run("ip", "neigh", "flush", "all")  # what it holds is not changed again so soon
    frames = [
        every + own + b"\x08\x06" + lie,
        every + own + b"\x81\x00\0\0\x08\x06" + asks,  # in VLAN 0, which Linux takes for none
        his + own + b"\x08\x06" + lie,
        every + gate + b"\x08\x06" + lie.replace(own, gate),  # and the bridge would learn the MAC at its tap
        his + gate + b"\x08\x00" + udp_packet("192.168.25.5", victim.port.ip, 9),
    ]
    free.sends(*frames)
    for guest in (victim, far, as_free):
        assert guest.pings("192.168.25.1")
        assert gateway_mac in guest.run("ip", "neigh", "show", "192.168.25.1")
    with hearing(victim.namespace, 68) as heard:
        cloud.replace(network, victim, Rule(direction="ingress", protocol="udp", port_min=68, port_max=68))
        offer = udp_packet("192.168.25.1", victim.port.ip, 68, source_port=67, words=b"offer")
        free.sends(his + own + b"\x08\x00" + offer)
    assert heard == []


# --- DHCP of neighbours -----------------------------------------------------------------------------------------


def test_no_guest_takes_a_neighbours_dhcp_away(cloud):
    lab1, _ = cloud.hosts
    network = cloud.network(26)
    liar, victim = cloud.boot(network, lab1, 5, PING), cloud.boot(network, lab1, 6, PING)
    for guest in (victim, liar):
        assert guest.dhcp()
    theirs, server = victim.port, "192.168.26.1"
    identifier = b"\x01" + bytes.fromhex(theirs.mac.replace(":", ""))
    leases = lab1.state_dir / "networks" / network.id / "leases"
    assert theirs.ip in leases.read_text()
    mac = liar.port.mac
    packets = [
        dhcp_packet(4, "0.0.0.0", theirs.mac, server, asked=theirs.ip),
        dhcp_packet(4, liar.port.ip, theirs.mac, server, asked=theirs.ip),
        dhcp_packet(4, liar.port.ip, theirs.mac, server, asked=theirs.ip, to=server),
        dhcp_packet(7, liar.port.ip, theirs.mac, server, own=theirs.ip, to=server),
        dhcp_packet(3, "0.0.0.0", theirs.mac, server, asked="192.168.26.77"),
        dhcp_packet(7, liar.port.ip, mac, server, own=theirs.ip, identifier=identifier, to=server),  # by its identifier
        dhcp_packet(3, "0.0.0.0", mac, server, asked=theirs.ip, identifier=identifier),
        dhcp_packet(
            3, liar.port.ip, mac, server, asked=liar.port.ip, identifier=identifier, relay=theirs.ip, to=server
        ),
    ]
    gate = bytes.fromhex(network.view(lab1).gateway_mac.replace(":", ""))
    own = bytes.fromhex(mac.replace(":", ""))
    liar.sends(*(target + own + b"\x08\x00" + packet for packet in packets for target in (gate, b"\xff" * 6)))
    assert liar.dhcp()  # what it sent was read before this
    assert theirs.ip in leases.read_text()
    victim.run("ip", "addr", "flush", "dev", "eth0")
    assert victim.dhcp()
    assert f"{theirs.ip}/24" in victim.run("ip", "-4", "addr", "show", "eth0")


def test_a_declined_address_is_the_decliners_own(cloud):
    """The test above would pass if frames were never read: with the liar's own MAC one is."""
    lab1, _ = cloud.hosts
    network = cloud.network(27)
    guest = cloud.boot(network, lab1, 5, PING)
    assert guest.dhcp()
    packet = dhcp_packet(4, "0.0.0.0", guest.port.mac, "192.168.27.1", asked=guest.port.ip)
    own = bytes.fromhex(guest.port.mac.replace(":", ""))
    guest.sends(b"\xff" * 6 + own + b"\x08\x00" + packet)
    assert not guest.dhcp()


# --- what others break, and earlier states ----------------------------------------------------------------------


@pytest.mark.parametrize("which", ["bridge", "door", "uplink", "leg", "server", "namespace", "vxlan"])
def test_what_somebody_deleted_is_rebuilt_with_its_dhcp(cloud, which):
    lab1, lab2 = cloud.hosts
    its = cloud.carriers[lab1]
    network = cloud.network(30)
    guest, other = cloud.boot(network, lab1, 5, PING), cloud.boot(network, lab2, 6, PING)
    rebuilt: list[str] = []
    its.on_rebuilt = rebuilt.append
    view = network.view(lab1)
    if which == "leg":
        lab1.within(network.id, "ip", "link", "del", view.leg)
    elif which in ("server", "namespace"):
        os.kill(its._dhcp(network.id).pid(), signal.SIGKILL)
        if which == "namespace":  # while no agent ran
            its.close()
            its = cloud.carriers[lab1] = LinuxCarrier(lab1.name, CLUSTER, lab1.state_dir, lab1.address)
            its.on_rebuilt = rebuilt.append
            with lab1.inside():
                its.open()
            its.tends_itself(False)
    else:
        lab1.run("ip", "link", "del", getattr(view, which))
    with lab1.inside():
        its.tend()
    guest.run("ip", "addr", "flush", "dev", "eth0")
    assert guest.dhcp()
    assert guest.pings_soon("192.168.30.1") and guest.pings_soon("10.77.0.1") and guest.pings_soon(other.port.ip)
    assert rebuilt == ([network.id] if which == "namespace" else [])
    with lab1.inside():
        pid = its._dhcp(network.id).pid()
        its.tend()
        assert its._dhcp(network.id).pid() == pid  # and then left alone


def test_a_deleted_tap_is_told_once(cloud, caplog):
    lab1, _ = cloud.hosts
    guest = cloud.boot(cloud.network(31), lab1, 5, PING)
    with lab1.inside():
        cloud.carriers[lab1].tend()
        lab1.run("ip", "link", "del", guest.port.tap)
        for _ in range(2):
            cloud.carriers[lab1].tend()
    told = [record.getMessage() for record in caplog.records if guest.port.tap in record.getMessage()]
    assert len(told) == 1 and guest.port.instance_uuid in told[0] and "reboot" in told[0]


def test_the_namespace_outlives_the_agent_with_its_connections(cloud):
    lab1, _ = cloud.hosts
    network = cloud.network(32)
    guest = cloud.boot(network, lab1, 5, PING)
    identity = cloud.carriers[lab1].namespace(network.id).identity
    switch = lab1.namespace.rsplit("-", 1)[0] + "-sw"
    echo = (
        "import socket\ns=socket.create_server(('10.77.0.1',7))\nprint('on',flush=True)\nc,_=s.accept()\n"
        "while d:=c.recv(9): c.sendall(d)"
    )
    server = subprocess.Popen(["ip", "netns", "exec", switch, "python3", "-c", echo], stdout=subprocess.PIPE, text=True)
    server.stdout.readline()
    talk = (
        "import socket\ns=socket.create_connection(('10.77.0.1',7),10)\n"
        "while w:=input(): s.sendall(w.encode()); print(s.recv(9).decode(),flush=True)"
    )
    client = subprocess.Popen(
        ["ip", "netns", "exec", guest.namespace, "python3", "-c", talk],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:

        def says(word: str) -> str:
            client.stdin.write(word + "\n")
            client.stdin.flush()
            return client.stdout.readline().strip()

        assert says("one") == "one"
        cloud.carriers[lab1].close()
        assert says("two") == "two"
        cloud.carriers[lab1] = carrier(lab1)
        assert cloud.carriers[lab1].namespace(network.id).identity == identity
        cloud.apply(network)
        assert says("three") == "three"
    finally:
        for child in (client, server):
            child.kill()
            child.wait()


def test_a_network_of_the_earlier_kind_is_carried_over_with_its_guests(cloud):
    """Bridge with gateway, addresses and the host's routes; dnsmasq in the host's namespace; no pairs."""
    lab1, _ = cloud.hosts
    network = cloud.network(33, first="10.77.0", length=25)
    port = network.port(lab1, 5, PING)
    view = network.view(lab1)
    cloud.carriers[lab1].close()
    place = lab1.state_dir / "networks" / network.id
    place.mkdir(parents=True)
    (place / "view.json").write_bytes(msgspec.json.encode(view))
    (place / "dhcp-hosts").write_text(f"{port.mac},{port.ip},g5,24h\n")
    config = ["interface=" + view.bridge, "except-interface=lo", "bind-dynamic", "port=0", "no-ping"]
    config += ["user=root", f"pid-file={place}/dnsmasq.pid", f"dhcp-leasefile={place}/leases"]
    config += [f"dhcp-hostsfile={place}/dhcp-hosts", "dhcp-range=10.77.0.0,static,255.255.255.128,24h"]
    (place / "dnsmasq.conf").write_text("".join(f"{line}\n" for line in config))
    kind = "type bridge stp_state 0 forward_delay 0 mcast_snooping 0 nf_call_iptables 1"
    lab1.run(*f"ip link add name {view.bridge} address {view.gateway_mac} {kind}".split())
    lab1.run("ip", "link", "set", view.bridge, "alias", links.alias(CLUSTER, "network", network.id), "up")
    lab1.run(*f"ip addr add 169.254.169.254/32 scope link dev {view.bridge}".split())
    lab1.run(*f"ip addr add 10.77.0.1/25 brd + dev {view.bridge}".split())
    lab1.run("dnsmasq", f"--conf-file={place}/dnsmasq.conf")
    lab1.run("nft", "add table ip nova0_c1a5e2f0aaaa; add table bridge nova0_c1a5e2f0aaaa")
    before = Dhcp(lab1.name, place).pid()
    plugger = LinuxCarrier(lab1.name, CLUSTER, lab1.state_dir, lab1.address)
    plugger._views[network.id] = view
    guest = StandIn(lab1, plugger, port)
    cloud.guests.append(guest)
    guest.configure()
    assert guest.pings("10.77.0.1") and way(lab1, "10.77.0.2") == view.bridge
    assert " 0% packet loss" not in lab1.run("ping", "-c", "1", "-W", "1", cloud.hosts[1].address, check=False)

    cloud.carriers[lab1] = carrier(lab1)
    assert way(lab1, "10.77.0.2") == "up0" and way(lab1, "10.77.0.1") == "up0"
    assert " 0% packet loss" in lab1.run("ping", "-c", "1", "-W", "2", cloud.hosts[1].address)
    assert guest.pings("10.77.0.1")  # the guest goes on with what it knows
    assert view.gateway_mac in guest.run("ip", "neigh", "show", "10.77.0.1")
    assert not Path(f"/proc/{before}/cmdline").exists() or not Path(f"/proc/{before}/cmdline").read_bytes()
    guest.run("ip", "addr", "flush", "dev", "eth0")
    assert guest.dhcp()


def test_a_sweep_finds_what_lost_its_records(cloud):
    lab1, _ = cloud.hosts
    network = cloud.network(34)
    cloud.boot(network, lab1, 5)
    networks = lab1.state_dir / "networks"
    cloud.carriers[lab1].close()
    for path in sorted((networks / network.id).iterdir()):
        path.unlink()
    (networks / network.id).rmdir()
    assert len(Dhcp.strays(networks)) == 1
    its = LinuxCarrier(lab1.name, CLUSTER, lab1.state_dir, lab1.address)
    with lab1.inside():
        removed = its.sweep()
    assert Dhcp.strays(networks) == []
    assert {"door", "uplink", "network", "tunnel", "port"} == {
        line.split()[0] for line in removed if line.split()[0] not in ("firewall", "forwarding", "DHCP")
    }
    assert "n0" not in lab1.run("ip", "-br", "link")


def test_numbers_leave_out_what_the_host_uses_and_are_used_again(cloud):
    lab1, _ = cloud.hosts
    lab1.run("ip", "route", "add", "169.254.0.2/31", "dev", "up0")
    try:
        network = cloud.network(35)
        guest = cloud.boot(network, lab1, 5)
        its = cloud.carriers[lab1]
        assert its._gateways.number(network.id) == 2
        assert guest.pings("10.77.0.1")
        with lab1.inside():
            its.forget(network.id)
            assert its._gateways.number(network.id) == 2
            its.forget(network.id)
    finally:
        lab1.run("ip", "route", "del", "169.254.0.2/31", "dev", "up0")
    assert ipaddress.ip_address(its._gateways.pair(network.view(lab1))[0]) == ipaddress.ip_address("169.254.0.2")
    its.forget(network.id)
