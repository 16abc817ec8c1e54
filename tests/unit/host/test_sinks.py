"""What the store says, as lines of files, batches and rules that run as root: never one more than was meant."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from nova0.host.network import bridge, dnsmasq, links, nft
from nova0.host.network.dnsmasq import Dhcp
from nova0.host.virt.driver import GuestDisks
from nova0.host.virt.libvirt.guest_xml import Machine, guest_xml
from nova0.objects.errors import DriverError, NetworkError
from tests.unit.host import fuzz_sinks
from tests.unit.host.fuzz_sinks import TARGETS, a_port, a_view, mutate
from tests.unit.host.lab import a_view as lab_view
from tests.unit.host.lab import an_instance, eventually

FUZZ = Path(__file__).resolve().parents[3] / "scripts" / "fuzz"
SECONDS = 13 if os.environ.get("NOVA0_CI") else 6


def flipped(data, size):
    made = bytearray(data or b"\0")
    at = random.randrange(len(made))
    made[at : at + random.randrange(2)] = random.randbytes(random.randrange(3))
    return bytes(made)[:size]


@pytest.mark.parametrize("name", TARGETS)
def test_every_record_and_what_is_near_it_is_written_line_for_line_or_refused(name):
    target = TARGETS[name]()
    random.seed(name)
    for seed in list(target.seeds()):
        target.run(seed)
        data = seed
        for step in range(400):
            data = mutate(data if step % 4 else seed, 65536, random.randrange(2**32), flipped)
            target.run(data)


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_a_search_guided_by_coverage_finds_no_line_too_many(name, tmp_path):
    pytest.importorskip("atheris")
    done = subprocess.run(
        [sys.executable, FUZZ, "--seconds", str(SECONDS), "--corpus", tmp_path, name],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.match(rf"{name}: (\d+) inputs", done.stdout)
    assert found and int(found[1]) > 100, done.stdout


@pytest.mark.root
@pytest.mark.slow
def test_nft_itself_takes_the_rules_of_every_view_that_is_accepted():
    """One that it refuses would take the rules of every guest of the host with it."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    random.seed(5)
    seeds, tried = list(TARGETS["view"]().seeds()), 0
    while tried < 200:
        data = random.choice(seeds)
        for _ in range(random.randrange(1, 5)):
            data = mutate(data, 65536, random.randrange(2**32), flipped)
        try:
            view = msgspec.msgpack.decode(data, type=fuzz_sinks.NetworkView)
        except fuzz_sinks.REFUSED:
            continue
        if len({port.tap for port in view.ports}) < len(view.ports) or len({p.ip for p in view.ports}) < len(
            view.ports
        ):
            continue  # the store's own word: each has an address of its own
        tried += 1
        text = fuzz_sinks.rules_of(view)
        done = subprocess.run(["unshare", "-n", "nft", "-c", "-f", "-"], input=text, capture_output=True, text=True)
        assert done.returncode == 0, f"{done.stderr}\n{view}"


@pytest.mark.parametrize(
    "spoilt",
    [
        {"dns": ("1.1.1.1\ndhcp-script=/x.sh",)},
        {"gateway": "10.0.0.1\nconf-file=/x"},
        {"id": "../../../etc"},
        {"cidr": "10.0.0.0/24\n"},
        {"gateway_mac": "fa:16:3e:ff:00:01 up"},
        {"ports": (a_port(hostname="a\ndhcp-script=/x"),)},
        {"ports": (a_port(mac="fa:16:3e:00:00:01 drop; }"),)},
        {"ports": (a_port(id="x } table ip y {"),)},
        {"neighbours": (msgspec.structs.replace(a_view().neighbours[0], tunnel_address="x\ny"),)},
    ],
)
def test_a_host_refuses_such_a_network_whole_and_does_nothing(lab, spoilt):
    """Asked by the controller, and found in its answer about all networks: the second keeps what there was."""
    machine = lab.host()
    good = lab_view(an_instance())
    lab.network().apply(good)
    with pytest.raises(Exception, match=next(iter(spoilt))):
        lab.network().apply(a_view(**spoilt))
    lab.conductor.views = [good, a_view(**spoilt)]
    with pytest.raises(Exception, match=next(iter(spoilt))):
        machine.networks.fetch_anew()
    assert set(machine.networks.carried()) == {good.id}


@pytest.mark.parametrize("name", ["ignore", "infinite", "IGNORE", "12h", "45", "10.0.0.9", "a..b", "-a", "a" * 64])
def test_a_host_name_that_dnsmasq_reads_as_something_else_is_left_out(name):
    [line] = dnsmasq._hosts(a_view(ports=(a_port(hostname=name),))).splitlines()
    assert line == "fa:16:3e:00:00:00,10.0.0.5,24h"
    [line] = dnsmasq._hosts(a_view(ports=(a_port(hostname="web.example"),))).splitlines()
    assert line.split(",")[2] == "web.example"


def test_each_writer_refuses_a_value_that_would_be_more_than_one_line(tmp_path):
    """Were a type ever too wide: the last look, where it is written."""
    bad = a_view(dns=("1.1.1.1\ndhcp-script=/x.sh",))
    with pytest.raises(NetworkError, match="control character"):
        dnsmasq._config(bad, Dhcp("lab1", tmp_path), fuzz_sinks.PLACE)
    with pytest.raises(NetworkError, match="control character"):
        dnsmasq._hosts(a_view(ports=(a_port(mac="fa:16:3e:00:00:01\nx"),)))
    for value in ("10.0.0.9\nlink del dev eth0", "10.0.0.9 # ", "10.0.0.9 \\"):
        with pytest.raises(NetworkError, match="not run"):
            links.change("lab1", "x", "bridge", [f"fdb replace dst {value}"])
        with pytest.raises(NetworkError, match="not run"):
            links.change_where_possible("lab1", "ip", [f"link del dev {value}"])
    with pytest.raises(NetworkError, match="not loaded"):
        fuzz_sinks.rules_of(a_view(ports=(a_port(ip="10.0.0.9\naccept"),)))
    with pytest.raises(NetworkError, match="not loaded"):
        nft.gateway_rules(a_view(cidr="10.0.0.0/24\naccept"))
    disks = GuestDisks(directory=tmp_path, base=None, base_format="raw")
    machine = Machine(cluster_id="c1", virt_type="qemu", emulator="/usr/bin/qemu")
    with pytest.raises(DriverError, match="control characters"):
        guest_xml(an_instance(project_id="a\x1bb"), disks, machine)


@pytest.mark.parametrize("end", ["", "any", "x\ny", "224.0.0.1", "255.255.255.255", "fd00::1", "10.0.0.300"])
def test_a_bad_end_of_one_host_takes_only_that_host_out_of_a_network(end, monkeypatch):
    good, bad = a_view().neighbours[0], fuzz_sinks.Neighbour(
        mac="fa:16:3e:00:01:02", ip="10.0.0.78", host="lab3", tunnel_address=end
    )  # fmt: skip
    said = []
    monkeypatch.setattr(links, "_run", lambda host, step, words, text: said.append(text) or "[]")
    bridge.Bridges("lab1", "c1", "192.168.9.1").build(a_view(neighbours=(bad, good)), {})
    text = "".join(said)
    assert good.tunnel_address in text and bad.mac not in text and bad.ip not in text


def test_one_network_that_fails_by_a_fault_of_ours_does_not_keep_the_others_waiting(lab, monkeypatch):
    machine = lab.host()
    one, other = lab_view(an_instance()), a_view(id=fuzz_sinks.IDS[2], ports=())
    carry = machine.networks.carrier.apply
    monkeypatch.setattr(machine.networks.carrier, "apply", lambda view: 1 / 0 if view.id == one.id else carry(view))
    lab.conductor.views = [one, other]
    with pytest.raises(NetworkError, match="ZeroDivisionError"):
        machine.networks.fetch_anew()
    assert other.id in machine.networks.carried()


def test_a_record_of_an_earlier_commit_that_does_not_fit_is_set_aside_and_the_others_are_there(lab):
    good, bad = an_instance(1), an_instance(2)
    lab.host()
    for instance in (good, bad):
        lab.compute().prepare(instance, [lab_view(instance)])
    lab.kill()
    path = lab.directory / "lab1" / "instances-records" / f"{bad.uuid}.json"
    path.write_text(path.read_text().replace('"hostname":"vm2"', '"hostname":"vm2\\n"'))
    machine = lab.host()
    assert [record.uuid for record in machine.records.all()] == [good.uuid]
    assert path.with_suffix(".unreadable").exists()
    lab.conductor.placed = [good, bad]  # the store's word, which fits, brings it back
    machine.adoption.adopt_soon()
    eventually(lambda: machine.records.get(bad.uuid) is not None)


def test_a_report_that_the_controller_does_not_take_is_logged_once_and_guests_are_compared(lab, monkeypatch, caplog):
    machine = lab.host()
    measured = machine.driver.host_state
    monkeypatch.setattr(
        machine.driver, "host_state", lambda: msgspec.structs.replace(measured(), metrics={"cpu.percent": float("nan")})
    )
    before = len(lab.conductor.compared)
    for _ in range(3):
        machine.resources.report()
    machine.adoption.adopt_soon()
    eventually(lambda: len(lab.conductor.compared) > before)
    told = [line for line in caplog.messages if "does not take what this host says" in line]
    assert len(told) == 1 and "metrics" in told[0]


@pytest.mark.root
def test_dnsmasq_itself_takes_every_name_and_runs_no_script(tmp_path):
    """The attack as it was done: a DNS server that is a line of configuration and a program."""
    if shutil.which("dnsmasq") is None:
        pytest.skip("no dnsmasq here")
    mark, script = tmp_path / "ran", tmp_path / "x.sh"
    script.write_text(f"#!/bin/sh\nid > {mark}\n")
    script.chmod(0o755)
    with pytest.raises(msgspec.ValidationError, match="dns"):
        msgspec.msgpack.decode(
            msgspec.msgpack.encode(a_view(dns=(f"1.1.1.1\ndhcp-script={script}",))), type=fuzz_sinks.NetworkView
        )
    with pytest.raises(NetworkError):
        Dhcp("lab1", tmp_path / "net").serve(a_view(dns=(f"1.1.1.1\ndhcp-script={script}",)), fuzz_sinks.PLACE)
    assert not mark.exists() and not (tmp_path / "net" / "dnsmasq.conf").exists()
