"""Frames from a real guest against its neighbours: what a neighbour's DHCP, ARP, ND and metadata see of them."""

from __future__ import annotations

import contextlib
import random
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import gevent
import pytest

from nova0.host.metadata.server import MetadataServer
from nova0.objects.network import Rule
from tests.vm.frames import cases
from tests.vm.frames.cases import CASES, FAR, GATEWAY, MAGIC, MARKERS, VICTIM, VICTIMS, WIRE, Scene, mark
from tests.vm.guests import disks, instance, key, ssh, wait_for
from tests.vm.networks import CLUSTER, EMPTY, Network, StandIn, carrier, tcp
from tests.vm.packets import EVERY, dhcp, ether, udp_packet

pytestmark = [pytest.mark.root, pytest.mark.slow]
SOURCE = Path(cases.__file__).parent / "frames.c"
ARRIVAL_S = 30.0
ECHO = Rule(direction="ingress", protocol="icmp", port_min=8, port_max=0)
SOME_UDP = Rule(direction="ingress", protocol="udp", port_min=1, port_max=9999)  # not cases.CLOSED
WATCH = (  # interface and number of each marked frame that passes one of the interfaces
    "import select,socket,sys\nmagic=bytes.fromhex(sys.argv[1]); names={}\n"
    "for name in sys.argv[2:]:\n"
    " s=socket.socket(socket.AF_PACKET,socket.SOCK_RAW,socket.htons(3)); s.bind((name,0))\n"
    " s.setsockopt(1,33,1<<23); names[s]=name\n"  # SO_RCVBUFFORCE
    "print('on',flush=True)\n"
    "while 1:\n"
    " for s in select.select(list(names),[],[])[0]:\n"
    "  d=s.recv(65535); at=d.find(magic)\n"
    "  if at>=0: print(names[s],d[at+len(magic)],flush=True)\n"
)
ASKED = '#!/bin/sh\n[ -n "$ip" ] && echo "$1 $ip"\nexit 0\n'  # what udhcpc calls here: it changes nothing


@pytest.fixture(scope="module")
def tool(tmp_path_factory) -> str:
    """The program that sends frames, in base64."""
    if shutil.which("gcc") is None:
        pytest.skip("no gcc here: install gcc and libc6-dev")
    made = tmp_path_factory.mktemp("frames") / "frames"
    built = subprocess.run(["gcc", "-static", "-Os", "-s", "-o", made, SOURCE], capture_output=True, text=True)
    if built.returncode:
        pytest.skip(f"gcc builds no static program here: install libc6-dev: {built.stderr[-300:]}")
    return subprocess.run(["base64", made], capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def lab(switch, capability_cache, tiny_image, tmp_path_factory, tool, request):
    """Two real guests on one host, booted together, and a stand-in on another."""
    lab1, lab2 = hosts = (switch.host(capability_cache), switch.host(capability_cache))
    key_path, keypair = key(tmp_path_factory.mktemp("key"))
    network = Network(71)
    carriers = {host: carrier(host) for host in hosts}
    guests = []
    for number, rules in ((11, (Rule(direction="ingress"),)), (12, (tcp(22, network.gateway), ECHO, SOME_UDP))):
        port = network.port(lab1, number, *rules)
        guests.append(SimpleNamespace(port=port, instance=instance(number, ports=(port,), keypair=keypair)))
    far_port = network.port(lab2, 13, Rule(direction="ingress"))
    by_address = {guest.port.ip: guest.instance for guest in guests}
    metadata = MetadataServer(lab1.name, lambda network_id, address: by_address.get(address))
    driver = lab1.driver(CLUSTER)
    for host in hosts:
        with host.inside():
            carriers[host].apply(network.view(host))
            if host is lab1:
                for guest in guests:
                    carriers[host].plug(guest.port)
                metadata.serve(network.id, carriers[host].namespace(network.id))
    far = StandIn(lab2, carriers[lab2], far_port)
    request.addfinalizer(far.close)  # though what follows fails
    far.configure()
    for guest in guests:
        driver.define(guest.instance, disks(lab1, guest.instance, tiny_image))
        driver.start(guest.instance.uuid)
    for guest in guests:
        wait_for(driver, guest.instance.uuid, "login:")
    view = network.view(lab1)
    me, you = (guest.port for guest in guests)
    made = Lab()
    made.host, made.other_host, made.network, made.view, made.key = lab1, lab2, network, view, key_path
    made.me, made.you, made.far, made.leases = me, you, far, lab1.state_dir / "networks" / network.id / "leases"
    made.pid = carriers[lab1]._dhcp(network.id).pid
    made.points = {you.tap: VICTIM, view.door: GATEWAY, "eth0": FAR, "p1": WIRE}
    made.places = [(lab1.namespace, [you.tap, view.door]), (far.namespace, ["eth0"]), (switch.namespace, ["p1"])]
    made.scene = Scene(
        me=me.mac,
        you=you.mac,
        gate=view.gateway_mac,
        far=far_port.mac,
        my_ip=me.ip,
        your_ip=you.ip,
        gate_ip=network.gateway,
        far_ip=far_port.ip,
        host=lab1.address,
        other_host=lab2.address,
        net=network.first,
    )
    made.says(me, "base64 -d >/run/frames && chmod +x /run/frames", given=tool)
    made.says(you, "cat >/run/asked && chmod +x /run/asked", given=ASKED)
    yield made
    for guest in guests:
        driver.remove(guest.instance.uuid)
    metadata.close()
    for host, its in carriers.items():
        with host.inside():
            its.forget(network.id)
            assert its.inventory() == EMPTY
        its.close()


class Lab:
    def says(self, port, command: str, **more) -> str:
        return ssh(self.host, self.key, port, command, **more)

    def sends(self, frames: list[bytes]) -> None:
        lines = "".join(f"{frame.hex()}\n" for frame in frames)
        said = self.says(self.me, "/run/frames eth0 2>&1", given=lines)
        assert said.strip() == str(len(frames)), said

    def seen(self, frames: list[bytes]) -> dict[int, set[str]]:
        """Number of a mark -> where it was seen, of all frames that the guest sends."""
        found: dict[int, set[str]] = defaultdict(set)
        with contextlib.ExitStack() as stack:
            for namespace, names in self.places:
                words = ["ip", "netns", "exec", namespace, sys.executable, "-c", WATCH, MAGIC.hex(), *names]
                child = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
                stack.callback(child.wait)
                stack.callback(child.kill)
                assert child.stdout.readline() == "on\n"
                stack.callback(gevent.spawn(self._hears, child.stdout, found).kill)
            self.sends([*frames, *cases.last(self.scene)])
            ends = {256 - MARKERS: VICTIM, 257 - MARKERS: FAR, 258 - MARKERS: WIRE}
            with gevent.Timeout(ARRIVAL_S, AssertionError("the last frames did not all arrive")):
                while not all(place in found[number] for number, place in ends.items()):
                    gevent.sleep(0.02)
        return found

    def _hears(self, said, found: dict[int, set[str]]) -> None:
        for line in said:
            name, number = line.split()
            found[int(number)].add(self.points[name])

    def connects(self) -> None:
        """The neighbour, by TCP, from ports of which errors are told: to its gateway, and to who tells them."""
        ports = "/proc/sys/net/ipv4/ip_local_port_range"
        self.says(
            self.you,
            f"usual=$(cat {ports}); echo {VICTIMS} {VICTIMS} >{ports}; nc -w 1 169.254.169.254 81 2>/dev/null; "
            f"echo {VICTIMS + 1} {VICTIMS + 1} >{ports}; "
            f"(sleep 60 | nc {self.me.ip} 22 >/dev/null 2>&1 &) >/dev/null 2>&1; sleep 1; "
            f"echo $usual >{ports}; grep -q :{VICTIMS + 1:04X} /proc/net/tcp",
        )

    def is_well(self) -> None:
        """What the neighbour sees of the world is true, and its address is its own."""
        gate, you, me, far = self.network.gateway, self.you, self.me, self.far.port
        said = self.says(
            you,
            "udhcpc -i eth0 -f -q -n -t 3 -T 2 -s /run/asked 2>/dev/null; "
            f"for ip in {gate} {me.ip} {far.ip}; do ping -c 1 -W 3 $ip | grep -q ' 0% packet' && echo pings $ip; done; "
            "printf 'GET /latest/meta-data/hostname HTTP/1.0\\r\\n\\r\\n' | nc -w 3 169.254.169.254 80 | tail -n 1; "
            "echo; cat /proc/net/arp; ip route; ip -6 addr show eth0; ip -6 route; ip -6 neigh",
        )
        lines = said.splitlines()
        assert f"bound {you.ip}" in lines, said
        assert {f"pings {ip}" for ip in (gate, me.ip, far.ip)} <= set(lines), said
        assert "vm12" in lines, said
        held = {line.split()[0]: line.split()[3] for line in lines if " 0x1 " in line}
        true = {gate: self.scene.gate, me.ip: me.mac, far.ip: far.mac}
        assert held == true | {ip: held[ip] for ip in held if held[ip] == "00:00:00:00:00:00"}, said
        assert f"169.254.169.254 via {gate}" in said and f"default via {gate}" in said
        assert "fd00:" not in said and "default via fe80" not in said and "lladdr" not in said, said
        leases = {line.split()[2]: line.split()[1] for line in self.leases.read_text().splitlines()}
        assert leases[you.ip] == you.mac and leases.keys() <= {you.ip, me.ip}, leases  # its own it may give back
        gateway = self.host.within(self.network.id, "ip", "-4", "neigh", "show", "dev", self.view.leg)
        table = {line.split()[0]: line.split()[2] for line in gateway.splitlines() if "lladdr" in line}
        assert table.items() <= {you.ip: you.mac, me.ip: me.mac}.items(), gateway


@pytest.mark.parametrize("group", cases.GROUPS)
def test_no_frame_arrives_where_it_harms_and_the_neighbour_goes_on(lab, group):
    """And those that are harmless do, or nothing would have been tried."""
    lab.is_well()
    pid = lab.pid()
    if group == "ip":
        lab.connects()
    tried = [case for case in CASES if case.group == group]
    assert len(tried) <= 256 - MARKERS, "more than marks tell apart: make another group"
    frames = []
    for number, case in enumerate(tried):
        made = case.make(lab.scene, mark(number))
        frames += [made] if isinstance(made, bytes) else made
    found = lab.seen(frames)
    wrong = {
        case.name: (found[number], set(case.arrives))
        for number, case in enumerate(tried)
        if found[number] != set(case.arrives)
    }
    assert not wrong, "\n".join(f"{name}: seen at {seen}, not {places}" for name, (seen, places) in wrong.items())
    assert lab.pid() == pid
    lab.is_well()


def test_a_flood_of_identifiers_and_hardware_addresses_takes_no_address(lab):
    """Options 61 by the hundred under its own hardware address, and as many hardware addresses."""
    chance, scene, frames = random.Random(1), lab.scene, []
    for _ in range(400):
        other = "fa:16:3e:" + chance.randbytes(3).hex(":")
        for claims in (scene.me, other):
            words = dhcp(1, claims, xid=chance.randbytes(4), identifier=b"\0" + chance.randbytes(12))
            packet = udp_packet("0.0.0.0", "255.255.255.255", 67, 68, words)
            frames.append(ether(EVERY, scene.own, cases.IP, packet))
    lab.sends(frames)
    lab.is_well()


def test_nobody_is_told_a_neighbours_metadata(lab):
    """By its address as a second one, or by what proxies say of whom they speak for."""
    headers = "".join(
        f"{name}: {value}\\r\\n"
        for name, value in (
            ("Host", lab.you.ip),
            ("X-Forwarded-For", lab.you.ip),
            ("Forwarded", f"for={lab.you.ip}"),
            ("X-Real-IP", lab.you.ip),
            ("X-Instance-ID", lab.you.instance_uuid),
            ("X-Tenant-ID", "p" * 32),
            ("X-Instance-ID-Signature", "0" * 64),
        )
    )
    ask = f"printf 'GET /latest/meta-data/hostname HTTP/1.0\\r\\n{headers}\\r\\n' | nc -w 2 169.254.169.254 80"
    assert lab.says(lab.me, ask).splitlines()[-1] == "vm11"
    said = lab.says(
        lab.me,
        f"ip addr add {lab.you.ip}/32 dev eth0; "
        f"ip route replace 169.254.169.254 via {lab.network.gateway} dev eth0 src {lab.you.ip}; {ask}; "
        f"ip route replace 169.254.169.254 via {lab.network.gateway} dev eth0; ip addr del {lab.you.ip}/32 dev eth0; "
        "echo ended; ip route",
    )
    assert said.splitlines()[0] == "ended" and "vm" not in said, said
    lab.is_well()
