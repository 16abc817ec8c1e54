"""Security rules as nft text: what each rule of the API becomes, and that nft itself takes the whole."""

import os
import subprocess
import sys

import pytest

from nova0.host.network import nft
from nova0.objects.network import NetworkView, Port, Rule

pytestmark = pytest.mark.covers("S301")


def allowed(**values: object) -> list[str]:
    """The lines a port with this one rule gets, without the closing drop."""
    rule = Rule(**{"direction": "ingress", **values})
    lines = nft._allowances(port(rule), str(values.get("direction", "ingress")))
    assert lines[-1] == "drop"
    return lines[:-1]


def port(*rules: Rule, last: int = 5, **more: object) -> Port:
    values = dict(
        id=f"0a1b2c3d-0000-0000-0000-0000000000{last:02d}",
        network_id="n",
        network_name="net",
        instance_uuid="i",
        mac=f"fa:16:3e:00:00:{last:02d}",
        ip=f"10.0.0.{last}",
        prefix_length=24,
        rules=rules,
    )
    return Port(**{**values, **more})


def view(*ports: Port, **more: object) -> NetworkView:
    values = dict(
        id="11111111-2222",
        name="net",
        revision=1,
        vni=7,
        cidr="10.0.0.0/24",
        gateway="10.0.0.1",
        gateway_mac="fa:16:3e:00:ff:01",
        mtu=1400,
        ports=ports,
    )
    return NetworkView(**{**values, **more})


def test_without_rules_everything_is_dropped():
    assert nft._allowances(port(), "ingress") == ["drop"]


@pytest.mark.parametrize(
    "rule, line",
    [
        (dict(), "return"),
        (dict(protocol="tcp"), "ip protocol 6 return"),
        (dict(protocol="tcp", port_min=22, port_max=22), "tcp dport 22 return"),
        (dict(protocol="17", port_min=1, port_max=99), "udp dport 1-99 return"),
        (dict(protocol="icmp"), "ip protocol icmp return"),
        (dict(protocol="icmp", port_min=8, port_max=0), "icmp type 8 icmp code 0 return"),
        (dict(protocol="vrrp"), "ip protocol 112 return"),
        (dict(protocol="47"), "ip protocol 47 return"),
        (dict(any_remote=False, remotes=("10.0.0.7",)), "ip saddr { 10.0.0.7/32 } return"),
        (dict(direction="egress", any_remote=False, remotes=("10.0.0.7",)), "ip daddr { 10.0.0.7/32 } return"),
        (dict(any_remote=False, remotes=("10.0.0.0/8", "10.1.0.0/16")), "ip saddr { 10.0.0.0/8 } return"),
    ],
)
def test_a_rule_becomes_one_line(rule, line):
    assert allowed(**rule) == [line]


@pytest.mark.parametrize(
    "rule",
    [
        dict(ethertype="IPv6"),
        dict(any_remote=False, remotes=()),
        dict(any_remote=False, remotes=("fd00::/8",)),
        dict(protocol="no-such-protocol"),
        dict(protocol="300"),
        dict(protocol="\u00b2"),
        dict(protocol="icmp", port_min=300),
        dict(protocol="icmp", port_min=8, port_max=256),
        dict(protocol="tcp", port_min=9, port_max=3),
    ],
)
def test_a_rule_that_matches_nothing_here_opens_nothing(rule):
    assert allowed(**rule) == []


def test_tables_carry_the_clusters_name_and_nothing_carried_means_no_tables():
    assert nft.table_name("C1a5-e2f0") == "nova0_c1a5e2f0"
    text = nft.ruleset("c1a5e2f0", [], nft.Ways())
    assert "delete table ip nova0_c1a5e2f0" in text and "chain" not in text


def test_a_guest_speaks_for_itself_alone_and_hears_what_is_its_own():
    """Each line that lets a frame pass names the port's own MAC or address, or both; the last one drops."""
    says, hears = nft._may_say(port(last=17)), nft._may_hear(port(last=17))
    mac, dhcps_mac, number = "fa:16:3e:00:00:17", "@th,288,48 0xfa163e000017", "0x0a000011"
    assert says[0] == f"ether saddr != {mac} drop" and says[-1] == hears[-1] == "drop"
    passing = [line for line in says if line.endswith(" accept")]
    arp, dhcp = (
        [line for line in passing if line.startswith("arp ")],
        [line for line in passing if " dport 67 " in line],
    )
    assert all(f"arp saddr ether {mac}" in line and "10.0.0.17" in line for line in arp) and len(arp) == 2
    assert all(dhcps_mac in line and f"{{ 0, {number} }}" in line for line in dhcp) and len(dhcp) == 1
    assert set(passing) - {*arp, *dhcp} == {"ip saddr 10.0.0.17 accept"}
    assert f"udp sport 67 udp dport 68 {dhcps_mac} accept" in hears
    assert hears.index("udp dport 68 drop") < hears.index("ip daddr 10.0.0.17 accept")


_CHOICES = (nft.ALL, nft.INTERNET, nft.NONE)


def test_what_may_leave_is_said_in_one_place():
    """The chain "leaving" is where guest_nat is decided, after what is never let out."""
    one = [nft.Carried(view(port()), 1, ("169.254.0.2", "169.254.0.3"))]

    def leaving(choice: str) -> str:
        text = nft.ruleset("c1a5e2f0", one, nft.Ways(choice, frozenset({"10.1.1.1"})))
        return text.partition("chain leaving {")[2].partition("}")[0]

    assert "@members" in leaving(nft.INTERNET) and "@members" not in leaving(nft.ALL)
    assert leaving(nft.NONE).rstrip().endswith("drop\n    accept")
    assert all("udp dport 4789 drop" in leaving(choice) for choice in _CHOICES)


@pytest.mark.root
def test_nft_takes_the_whole_text_with_every_kind_of_rule():
    if os.geteuid() != 0:
        pytest.skip("needs root")
    kinds = [dict(), dict(protocol="tcp", port_min=22, port_max=80), dict(protocol="icmp", port_min=8, port_max=0)]
    kinds += [
        dict(any_remote=False, remotes=("10.0.0.7", "10.2.0.0/16")),
        dict(protocol="gre"),
        dict(direction="egress"),
    ]
    ports = [port(*(Rule(**{"direction": "ingress", **kind}) for kind in kinds)), port(last=6, port_security=False)]
    views = [view(*ports), view(id="33333333-4444", gateway=None, cidr="10.9.0.0/24"), view(id="5555", cidr="")]
    carried = [
        nft.Carried(views[0], 1, ("169.254.0.2", "169.254.0.3")),
        nft.Carried(views[1], 2),
        nft.Carried(views[2], 3, ("169.254.0.6", "169.254.0.7")),
    ]
    members = frozenset({"10.1.1.1", "10.1.1.2"})
    ways = [nft.Ways(choice, members, alone) for choice in _CHOICES for alone in (True, False)]
    texts = [nft.ruleset("c1a5e2f0", carried, each) for each in ways] + [nft.gateway_rules(each) for each in views]
    for text in texts:
        done = subprocess.run(["unshare", "-n", "nft", "-f", "-"], input=text, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


FOREIGN = """
import subprocess
from nova0.cli.checks import Look
from nova0.cli.checks.links import _firewalls
from pathlib import Path
look = Look(state_path=Path("/"), fake=False)
print(_firewalls(look))
rules = "add table ip theirs; add chain ip theirs f { type filter hook forward priority 0; policy drop; }"
subprocess.run(["nft", rules], check=True)
print(_firewalls(look)[0])
"""


@pytest.mark.root
def test_another_firewall_that_drops_what_is_forwarded_is_told():
    done = subprocess.run(["unshare", "-n", sys.executable, "-c", FOREIGN], capture_output=True, text=True)
    nothing, told = done.stdout.splitlines()
    assert nothing == "[]" and "chain ip theirs f" in told and "n0u+" in told, done.stderr
