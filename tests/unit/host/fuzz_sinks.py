"""What a coverage-guided fuzzer feeds to the records that cross machines, one target a record.

Bytes are decoded as the record. What is accepted is written as a host or a terminal would write it: dnsmasq's files,
batches of ip and bridge, nft, XML, what a guest is told, names of files, tables. The text must read back as exactly
what was meant, line for line. Same shape as tests/mesh/fuzz_targets.py; `scripts/fuzz` drives both.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path, PurePosixPath
from unittest import mock

import msgspec

from nova0.cli import output, terminal
from nova0.cli.main import _one_line
from nova0.controller.db.base_table import JsonField
from nova0.host.network import bridge, dnsmasq, gateway, links, nft
from nova0.host.virt.driver import GuestDisks
from nova0.host.virt.libvirt.guest_xml import NAMESPACE, Machine, guest_xml
from nova0.mesh.errors import MeshError, from_wire
from nova0.objects import metadata
from nova0.objects.errors import DriverError
from nova0.objects.flavor import Flavor
from nova0.objects.host import HostState
from nova0.objects.image import ImageRef
from nova0.objects.instance import Instance, Keypair
from nova0.objects.network import Neighbour, NetworkView, Port, Rule

pack = msgspec.msgpack.encode
REFUSED = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
NETWORK = "11111111-2222-4333-8444-555555555555"
IDS = [f"{number:02x}1b2c3d-0000-4000-8000-00000000000a" for number in range(4)]

MAC = r"[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){5}"
IP = r"\d{1,3}(?:\.\d{1,3}){3}"
NET = rf"{IP}(?:/\d{{1,2}})?"
TAP, BRIDGE, TUNNEL = "n0t[0-9a-f]{11}", "n0b[0-9a-f]{11}", "n0x[0-9a-f]{11}"
DOOR, LEG, UPLINK = "n0d[0-9a-f]{11}", "n0g[0-9a-f]{11}", "n0u[0-9a-f]{11}"
MORE = r"n0[btxd]?\*|\.|th|0x[0-9a-f]{6,12}|8021(?:q|ad)"
DEVICES = "|".join((TAP, BRIDGE, TUNNEL, DOOR, LEG, UPLINK))
PLACE = dnsmasq.Place.of("/proc/1/fd/9", 4026532001, 2)
COMMANDS = [
    rf"link add name {BRIDGE} (?:address {MAC} )?type bridge .*", rf"link add {BRIDGE}.*",
    rf"link set dev (?:{BRIDGE}|{TUNNEL}|{TAP}) [a-z0-9 _:]*", rf"link set dev {TUNNEL} mtu \d+ master {BRIDGE} up",
    rf'link set dev (?:{BRIDGE}|{TUNNEL}) alias "nova0 c1 (?:network|tunnel) {NETWORK[:0]}[0-9a-f-]{{36}}"',
    rf"link set dev {BRIDGE} address {MAC}.*", rf"addr (?:add|del) {IP}/\d+ (?:scope link |brd \+ )?dev {LEG}",
    rf"link add name {DOOR} type veth peer name {LEG} netns /inside",
    rf"link set dev {DOOR} mtu \d+ master {BRIDGE} up",
    rf"link add name {UPLINK} type veth peer name up netns /inside",
    rf"link set dev (?:{DOOR}|{UPLINK}) addrgenmode none",
    rf'link set dev (?:{DOOR}|{UPLINK}) alias "nova0 c1 (?:door|uplink) [0-9a-f-]{{36}}"',
    rf"addr replace {IP}/31 dev (?:{UPLINK}|up)", rf"link set dev {UPLINK} up", r"link set dev (?:lo|up) up",
    rf"link set dev {LEG} address {MAC} mtu \d+ up", rf"route replace default via {IP} dev up",
    rf"route replace {NET} dev {LEG} scope link src 169\.254\.169\.254",
    rf"link add name {TUNNEL} type vxlan id \d+ local {IP} dstport 4789 nolearning proxy ttl 64",
    rf"fdb replace {MAC} dev {TUNNEL} dst {IP} self permanent", rf"fdb replace {MAC} dev {TUNNEL} master static",
    rf"fdb del {MAC} dev {TUNNEL} (?:self|master)",
    rf"neigh replace {IP} lladdr {MAC} dev {TUNNEL} nud permanent", rf"neigh del {IP} dev {TUNNEL}",
]  # fmt: skip
WORDS = {  # of nft, in a line of ours; names and numbers apart
    "add", "delete", "table", "bridge", "ip", "chain", "map", "set", "type", "filter", "nat", "hook", "priority",
    "policy", "accept", "drop", "return", "jump", "elements", "ifname", "verdict", "ipv4_addr", "iifname", "oifname",
    "vmap", "arp", "saddr", "daddr", "udp", "tcp", "sctp", "dport", "sport", "ether", "icmp", "code", "protocol", "ct",
    "state", "established", "related", "invalid", "original", "redirect", "to", "masquerade", "echo-request",
    "prerouting", "forward", "output", "input", "postrouting", "dstnat", "srcnat", "from_ports", "to_ports", "tunnels",
    "gateways", "bridges", "ingress", "egress", "gateway_macs", "tunnel_macs", "within", "zones", "typeof", "zone",
    "servers", "uplinks", "pairs", "insides", "members", "leaving", "goto", "raw", "zoning", "unchanged_there",
    "unchanged_back", "dnat", "snat", "ether_addr", "new", "nova0", "up", "-", "htype", "ptype", "hlen", "plen",
    "operation", "request", "reply", "router-advertisement", "destination-unreachable", "source-quench",
    "time-exceeded", "parameter-problem", "arriving", "fib", "local",
}  # fmt: skip


def a_port(number=0, **more):
    values = dict(
        id=IDS[number], network_id=NETWORK, network_name="lab", instance_uuid=IDS[3], hostname=f"vm{number}",
        mac=f"fa:16:3e:00:00:{number:02x}", ip=f"10.0.0.{number + 5}", prefix_length=24, gateway="10.0.0.1",
        dns=("10.0.0.2",), mtu=1450,
        rules=(
            Rule(direction="ingress", protocol="tcp", port_min=22, port_max=80),
            Rule(direction="ingress", protocol="icmp", port_min=8, port_max=0),
            Rule(direction="egress", protocol="gre", remotes=("10.9.0.0/16", "10.8.0.1"), any_remote=False),
        ),
    )  # fmt: skip
    return Port(**(values | more))


def a_view(**more):
    far = Neighbour(mac="fa:16:3e:00:01:01", ip="10.0.0.77", host="lab2", tunnel_address="192.168.9.2")
    values = dict(
        id=NETWORK, name="lab", revision=3, vni=7, cidr="10.0.0.0/24", gateway="10.0.0.1", mtu=1450, dns=("9.9.9.9",),
        gateway_mac="fa:16:3e:ff:00:01", ports=(a_port(0), a_port(1, rules=())), neighbours=(far,),
    )  # fmt: skip
    return NetworkView(**(values | more))


def _gateways(view):
    made = gateway.Gateways("lab1", "c1", Path("/x"), nat=True)
    made._numbers[view.id] = 1
    return made


def rules_of(view):
    """All nft text of one network: the host's, and that of its namespace."""
    carried = nft.Carried(view, 1, _gateways(view).pair(view))
    return nft.ruleset("c1", [carried], nft.Ways(members=frozenset({"10.1.1.1"}))) + nft.gateway_rules(view)


class View:
    """A network as a host builds it: dnsmasq's files, batches, nft and the folder's name."""

    record = NetworkView

    def seeds(self):
        for view in (a_view(), a_view(gateway=None, dns=()), a_view(ports=(), dhcp=False), a_view(neighbours=())):
            yield pack(view)

    def run(self, data):
        try:
            view = msgspec.msgpack.decode(data, type=NetworkView)
        except REFUSED:
            return
        assert (Path("/x/networks") / view.id).resolve().parent == Path("/x/networks"), view.id
        self.dhcp(view)
        self.batches(view)
        self.rules(view)

    def dhcp(self, view):
        lines = dnsmasq._hosts(view).split("\n")
        served = view.ports if view.dhcp else ()
        assert lines.pop() == "" and len(lines) == len(served)
        for line, port in zip(lines, sorted(served, key=lambda port: port.ip), strict=True):
            mac, ip, *name, lease = line.split(",")
            assert (mac, ip, lease) == (port.mac.lower(), port.ip, "24h") and len(name) <= 1
            for one in name:  # dnsmasq would take these for something else
                assert one == port.hostname and not re.fullmatch(r"(?i)[0-9.]+|[0-9]+[wdhms]|ignore|infinite", one)
        with mock.patch.object(dnsmasq, "resolvers", return_value=["10.0.0.2"]):
            lines = dnsmasq._config(view, dnsmasq.Dhcp("lab1", Path("/x")), PLACE).split("\n")
        assert lines.pop(0) == "# namespace 4026532001, device 2"
        keys = [line.partition("=")[0] for line in lines if line]
        known = ["interface", "except-interface", "bind-dynamic", "port", "user", "pid-file", "log-facility"]
        if not view.dhcp or not view.cidr:
            assert keys == known, keys
            return
        known += ["no-ping", "dhcp-authoritative", "dhcp-ignore-clid", "dhcp-leasefile", "dhcp-hostsfile", "dhcp-range"]
        known += ["dhcp-lease-max", *["dhcp-option"] * 3, *([] if view.gateway else ["shared-network"]), "dhcp-option"]
        assert keys == known, keys
        assert all(re.fullmatch(r"[A-Za-z0-9=.,:/_-]+", line) for line in lines if line), lines
        assert lines[-2].count(",") == (len(view.dns) or bool(view.gateway)), lines[-2]

    def batches(self, view):
        said = []
        with mock.patch.object(links, "_run", side_effect=lambda host, step, words, text: said.append(text) or "[]"):
            bridge.Bridges("lab1", "c1", "192.168.9.1").build(view, {})
            with mock.patch.object(nft, "load"):
                _gateways(view).build(view, {}, mock.Mock(path="/inside"))
        lines = [line for text in said for line in text.split("\n") if line]
        for line in lines:
            assert any(re.fullmatch(command, line) for command in COMMANDS), line
        far = {one.mac.lower() for one in view.neighbours if one.host != "lab1"}
        assert sum(" self permanent" in line for line in lines) <= len(far)

    def rules(self, view):
        text = rules_of(view)
        opened = 0
        for line in text.split("\n"):
            for word in re.sub(r"[{};,=!@\"]|(?<=\s):|(?<=[0-9])-(?=[0-9])", " ", line).split():
                named = re.fullmatch(rf"(?:from_|to_|in_|out_)[0-9a-f]{{32}}|nova0_c1|{MAC}|{NET}|-?\d+|{MORE}", word)
                assert named or word in WORDS or re.fullmatch(DEVICES, word), (word, line)
            opened += line.count("{") - line.count("}")
        assert opened == 0
        secured = sum(port.port_security for port in view.ports)
        assert len(re.findall(r"^  chain (?:from|to|in|out)_", text, re.MULTILINE)) == 4 * secured


class Server:
    """A server as its host makes it: XML, what the guest is told, config drive, names of files."""

    record = Instance

    def seeds(self):
        image = ImageRef(
            id="img-1", name="tiny", size=7, sha512="ab" * 64, disk_format="qcow2",
            properties={"hw_vif_model": "e1000", "hw_cdrom_bus": "ide", "hw_machine_type": "pc",
                        "os_command_line": "console=ttyS0"},
        )  # fmt: skip
        yield pack(self.one(image))
        yield pack(self.one(msgspec.structs.replace(image, kernel=image, ramdisk=image), user_data="aGVsbG8="))
        yield pack(self.one(None, ports=()))

    def one(self, image, **more):
        values = dict(
            uuid=IDS[3], generation=2, name="web <1> & 'co'", hostname="web", project_id="p" * 32, user_id="u" * 32,
            flavor=Flavor(flavor_id="1", name="m1", vcpus=1, memory_mb=64, root_gb=1, extra_specs={"a": "b"}),
            image=image, ports=(a_port(),), keypair=Keypair(name="mine", public_key="ssh-ed25519 AAAA me\n"),
            config_drive=True, metadata={"role": "web\nserver"}, admin_password="secret", number=42, cluster_id="c1",
            reservation_id="r-1",
        )  # fmt: skip
        return Instance(**(values | more))

    def run(self, data):
        try:
            instance = msgspec.msgpack.decode(data, type=Instance)
        except REFUSED:
            return
        for part in (instance.uuid, *[image.id for image in (instance.image,) if image]):
            assert (Path("/x") / part).resolve().parent == Path("/x") and not part.startswith((".", "-")), part
        self.told(instance)
        place = Path("/x") / instance.uuid
        disks = GuestDisks(
            directory=place, base=Path("/x/base"), base_format="qcow2", config_drive=place / "config.iso",
            kernel=Path("/x/k") if instance.image and instance.image.kernel else None,
        )  # fmt: skip
        machine = Machine(cluster_id="c1", virt_type="qemu", emulator="/usr/bin/qemu")
        try:
            text = guest_xml(instance, disks, machine)
        except DriverError:
            return
        self.xml(instance, ET.fromstring(text))

    def xml(self, instance, root):
        assert len(root.findall(".//interface")) == len(instance.ports)
        assert [one.get("address") for one in root.iter("mac")] == [port.mac for port in instance.ports]
        assert root.findtext("uuid") == instance.uuid and root.findtext("name") == instance.domain_name
        known = {"domain", "name", "uuid", "metadata", f"{{{NAMESPACE}}}guest", "memory", "vcpu", "os", "type",
                 "kernel", "initrd", "cmdline", "boot", "features", "acpi", "apic", "clock", "on_poweroff", "on_reboot",
                 "on_crash", "devices", "emulator", "disk", "driver", "source", "target", "readonly", "controller",
                 "interface", "mac", "model", "mtu", "serial", "log", "input", "graphics", "listen", "video",
                 "memballoon", "rng",
                 "backend"}  # fmt: skip
        assert {element.tag for element in root.iter()} <= known
        for source in root.iter("source"):
            assert Path(str(source.get("file"))).parent == Path("/x") / instance.uuid
        shown = root.find(f".//{{{NAMESPACE}}}guest")
        assert shown is not None and shown.get("project") == instance.project_id
        for element in root.iter("model"):
            assert re.fullmatch(r"[A-Za-z0-9._-]+", element.get("type") or "virtio")

    def told(self, instance):
        for tree in (metadata.tree(instance), metadata.config_drive_tree(instance, b"seed")):
            for path, content in tree.items():
                assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", part) for part in PurePosixPath(path).parts)
                if path.endswith(".json"):
                    assert isinstance(json.loads(content), dict)
        files = metadata.tree(instance)
        for path in ("latest/meta-data/public-keys", "latest/meta-data", "latest"):
            listed = metadata.listing(instance, files, path)
            if path.endswith("public-keys") and listed is not None:
                assert b"\n" not in listed
        for name in ("hostname", "instance-id", "local-ipv4", "reservation-id", "placement/availability-zone"):
            assert b"\n" not in files[f"latest/meta-data/{name}"]


class Report:
    """What a host says of itself: kept, read back the same, finite, and shown."""

    record = HostState

    def seeds(self):
        for more in ({}, {"metrics": {"cpu.percent": 0.5}, "notes": ["KVM does not answer"], "numa": [{"cpus": 1}]}):
            yield pack(
                HostState(
                    host="lab1", hypervisor_hostname="lab1", hypervisor_type="QEMU", hypervisor_version=7,
                    arch="x86_64", virt_type="kvm", vcpus=4, memory_mb=8192, disk_gb=100, address="10.0.0.1",
                    ram_allocation_ratio=1.5,
                    tunnel_address="10.0.0.1", traits=["CUSTOM_A"], resources={"CUSTOM_GPU": 1}, uptime="up 1 day",
                    cpu_info={"model": "EPYC", "topology": {"cores": 2}, "features": ["aes"]},
                    supported=[("x86_64", "kvm", "hvm")], **more,
                )
            )  # fmt: skip

    def run(self, data):
        try:
            state = msgspec.msgpack.decode(data, type=HostState)
        except REFUSED:
            return
        field = JsonField(of=dict)
        field.name = "state"
        kept = field.python_value(field.db_value(msgspec.to_builtins(state)))
        again = msgspec.convert(kept, HostState)
        assert msgspec.to_builtins(again) == msgspec.to_builtins(state)
        numbers = [state.vcpus, state.memory_mb, state.disk_gb, *state.metrics.values(), *state.resources.values()]
        assert all(abs(number) * 10_000 < 2**63 or isinstance(number, float) for number in numbers)
        assert sum(map(float, numbers)) == sum(map(float, numbers)), "not a number"
        line = f"fdb replace fa:16:3e:00:00:01 dev n0x dst {state.tunnel_address or '10.0.0.1'} self permanent"
        assert len(links._batch("lab1", "x", [line]).split("\n")) == 2
        shown(["HOST", "NOTES"], [[state.host, *state.notes[:1]], [state.hypervisor_hostname, state.uptime]][:1])


class Shown:
    """Words of other machines in a table, a line and an error: never more lines, nothing that steers a terminal."""

    record = list[list[str]]

    def seeds(self):
        yield pack([["lab1/host", "up", "0.1.0", "stopped, says lab3"], ["lab2/host", "down", "", "\x1b[31mred"]])
        yield pack([["Busy", "later\r\nnova0: all is well"]])

    def run(self, data):
        try:
            rows = msgspec.msgpack.decode(data, type=list[list[str]])
        except REFUSED:
            return
        for row in rows:
            shown([f"C{number}" for number in range(len(row))], [row])
            error = from_wire({"kind": row[0] if row else "", "message": row[-1] if row else ""})
            with caught() as out:
                print(f"nova0: {_one_line(error)}", file=sys.stderr)
            assert steady(out.getvalue()) and out.getvalue().count("\n") == 1
            with caught() as out:
                output.show_json(row)
            assert steady(out.getvalue()) and json.loads(out.getvalue()) == row
            with caught() as out:
                print(*row)
            assert steady(out.getvalue())


def shown(columns, rows):
    with caught() as out:
        output.show_table(columns[: len(rows[0])], rows)
    assert steady(out.getvalue()) and out.getvalue().count("\n") == 1 + len(rows), out.getvalue()


@contextlib.contextmanager
def caught():
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out), terminal.guarded():
        yield out


def steady(text):
    return not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", text)


TARGETS = {"view": View, "server": Server, "report": Report, "shown": Shown}

POISON = [
    "\n",
    "\r\n",
    "\0",
    "\x1b[2J",
    "\x9b31m",
    "\u2028",
    "\u202e",
    "\x85",
    ";",
    "}",
    "{ ",
    '"',
    "'",
    "#",
    "\\",
    "\\\n",
    " ",
    "..",
    "/",
    "-",
    ",",
    "=",
    "<",
    "&",
    "]]>",
    "$(id)",
    "`id`",
    "|",
    "\ufffe",
    "\ud7ff",
    "é",
    "\U0001f600",
    "%",
    "*",
    "0",
]
WHOLE = [
    "",
    "ignore",
    "infinite",
    "1h",
    "20m",
    "42",
    "10.0.0.9",
    "id:*",
    "set:x",
    "..",
    ".",
    "-rf",
    "a" * 300,
    "any",
    "0.0.0.0",
    "255.255.255.255",
    "224.0.0.1",
    "::1",
    "fe80::1%x",
    "10.0.0.1\ndhcp-script=/x.sh",
    "0x7f.1",
    "tcp",
    "255",
    "256",
    "²",
    "ipv6-icmp",
    "IPv6",
    "ff:ff:ff:ff:ff:ff",
    "10.0.0.0/0",
    "10.0.0.5/24",
    "fd00::/8",
    "a.b-c",
    "a..b",
    IDS[0].upper(),
]
NUMBERS = [0, -1, 1, 255, 256, 65535, 65536, 2**24, 2**31, 2**48, 2**53, 2**63 - 1, 2**63, 2**64 - 1, -(2**63)]


def mutate(data, size, seed, plain):
    """Mostly the record with one value spoilt: most changed bytes would end in the decoder."""
    chance = random.Random(seed)
    if chance.random() < 0.2:
        return plain(data, size)
    try:
        value = msgspec.msgpack.decode(data)
        return pack(_changed(value, chance))[:size]
    except (*REFUSED, ValueError, TypeError, OverflowError, MeshError):
        return plain(data, size)


def _changed(value, chance):
    if isinstance(value, dict) and value and chance.random() < 0.93:
        key = chance.choice(list(value))
        if isinstance(key, str) and chance.random() < 0.05:
            return {**value, _text(key, chance): value[key]}
        return {**value, key: _changed(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.93:
        made, at = list(value), chance.randrange(len(value))
        made[at] = _changed(value[at], chance)
        return made if chance.random() < 0.9 else [*made, made[chance.randrange(len(made))]]
    if isinstance(value, bool) or value is None:
        return chance.choice([True, False, None, "x", 1])
    if isinstance(value, int) and chance.random() < 0.8:
        return chance.choice([*NUMBERS, value + 1])
    if isinstance(value, float):
        return chance.choice([float("nan"), float("inf"), -float("inf"), 0.0, -1.0, 1e308, 7])
    if isinstance(value, str) and chance.random() < 0.9:
        return _text(value, chance)
    return chance.choice([None, True, 0, 2**63, 1.5, float("nan"), "", "x\ny", b"x", [], {}, ["a"], {"a": {"b": [1]}}])


def _text(text, chance):
    if chance.random() < 0.3:
        return chance.choice(WHOLE)
    at = chance.choice([0, len(text), chance.randrange(len(text) + 1)])
    return text[:at] + chance.choice(POISON) + text[at:]
