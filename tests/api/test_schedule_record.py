"""A recorded load: what was asked of a running cloud, replayed by `simulate`'s scheduler on the hosts it described."""

from __future__ import annotations

from collections import Counter

import gevent
import pytest
from scheduler_cloud import Template

from nova0.cli.commands.schedule_record import in_order
from nova0.controller.scheduler import recording, simulation

HOSTS = {
    "lab1": {"memory_mb": 4096},
    "lab2": {"memory_mb": 8192, "reserved_memory_mb": 1024, "traits": ["CUSTOM_FAST"]},
    "lab3": {"memory_mb": 16384, "cpu_allocation_ratio": 1.0},
}


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return Template(tmp_path_factory.mktemp("record"))


def pages(lab, since=0.0):
    servers, marker, number = [], 0, 0
    while marker is not None:
        page = lab.get(f"/nova0/v1/schedule/load?since={since}&marker={marker}")
        servers, marker, number = servers + page["servers"], page["next"], number + 1
    return servers, number


def replayed(lab, events):
    lines = [simulation.msgspec.json.encode(event).decode() for event in events]
    made = list(simulation.recorded(lines))
    views = [simulation.described(event.host, event.metadata) for event in made if event.host]
    return simulation.run(views, made)


def test_a_recorded_load_goes_where_the_servers_went(template, monkeypatch):
    monkeypatch.setattr(recording, "PAGE", 3)
    with template.cloud("shuffle_best_same_weighed_hosts = false", HOSTS) as lab:
        lab.aggregate("east", "lab3", availability_zone="east")
        group = lab.group("anti-affinity")
        fast = lab.flavor(memory_mb=2048, specs={"trait:CUSTOM_FAST": "required"})
        shown = [lab.settled(lab.boot(flavor=fast)) for _ in range(4)]  # three fit
        gone = lab.boot(flavor=lab.flavor(memory_mb=2048), availability_zone="east")
        lab.settled(gone)
        assert lab.cloud.admin.delete(f"/v2.1/servers/{gone}").status_code == 204
        with gevent.Timeout(60, AssertionError("not gone within 60 s")):
            while lab.cloud.admin.get(f"/v2.1/servers/{gone}").status_code != 404:
                gevent.sleep(0.01)
        lab.together(3, hints={"group": group}, flavor=lab.flavor(memory_mb=512))
        lab.together(9, flavor=lab.flavor(memory_mb=4096))  # all or none, and there is no room
        servers, number = pages(lab)
        hosts = lab.get("/nova0/v1/schedule/hosts")["hosts"]
        events = in_order(servers, 0.0)
        went = Counter(one["hypervisor_hostname"] for one in lab.hypervisors() for _ in range(one["running_vms"]))
        later, _ = pages(lab, since=next(e["at"] for e in events if "delete" in e) + 0.000001)
        assert lab.cloud.demo.get("/nova0/v1/schedule/load").status_code == 403
        assert lab.cloud.admin.get("/nova0/v1/schedule/load?since=soon").status_code == 400
    assert [one["status"] for one in shown] == ["ACTIVE", "ACTIVE", "ACTIVE", "ERROR"]
    assert number > 1 and len(servers) == 17 and len(later) == 16
    assert Counter("boot" if "boot" in event else "delete" for event in events) == {"boot": 7, "delete": 1}
    outcome = replayed(lab, [*hosts, *events])
    assert (outcome.placed, outcome.rejected) == (7, 10)
    assert {host: number for host, number in outcome.servers.items() if number} == went
    elsewhere = replayed(lab, [hosts[2], *events])  # the same requests on one of the hosts
    assert elsewhere.rejected > outcome.rejected
