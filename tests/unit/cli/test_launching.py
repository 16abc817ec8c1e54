"""launch: which flavor, which stage, when ready, and what an error says. The API is a stand-in here."""

from __future__ import annotations

import pytest

from nova0.cli import launching
from nova0.cli.failure import Failure
from nova0.cli.output import Progress

FLAVORS = [
    {"id": "3", "name": "big", "ram": 4096, "disk": 40, "vcpus": 2},
    {"id": "1", "name": "nano", "ram": 64, "disk": 1, "vcpus": 1},
    {"id": "2", "name": "small", "ram": 512, "disk": 5, "vcpus": 1},
]


def test_the_smallest_flavor_that_fits_is_taken():
    choose = launching.choose_flavor
    assert choose(FLAVORS, {"name": "i", "min_ram": 0, "min_disk": 0}, None)["name"] == "nano"
    assert choose(FLAVORS, {"name": "i", "min_ram": 128, "min_disk": 0}, None)["name"] == "small"
    assert choose(FLAVORS, {"name": "i"}, "big")["id"] == "3"
    with pytest.raises(Failure, match="there is big, nano, small"):
        choose(FLAVORS, {"name": "i"}, "huge")
    with pytest.raises(Failure, match="large enough"):
        choose(FLAVORS, {"name": "i", "min_ram": 10**6}, None)


def test_readiness_is_the_guests_own_word():
    assert not launching.is_ready("nova0-tiny booting\ntiny login: ")  # its prompt comes before its keys
    assert launching.is_ready("nova0-tiny booting\nnova0-tiny ready: demo 10.80.0.7\n")
    assert launching.is_ready("Debian GNU/Linux 12 demo ttyS0\n\ndemo login: ")
    assert not launching.is_ready("[ 0.1] Linux")


class Cloud:
    """Answers GET of one server from a script, one answer a time."""

    def __init__(self, servers, console=()):
        self.servers, self.consoles = list(servers), list(console)

    def get(self, service, path, **query):
        if path.endswith("os-instance-actions"):
            return {"instanceActions": [{"request_id": "req-1"}]}
        if "os-instance-actions/" in path:
            return {"instanceAction": {"events": [{"event": "compute_schedule", "result": "Error"}]}}
        return {"server": self.servers.pop(0) if len(self.servers) > 1 else self.servers[0]}

    def post(self, service, path, body):
        return {"output": self.consoles.pop(0) if len(self.consoles) > 1 else self.consoles[0]}


def server(status, task=None, addresses=()):
    return {
        "id": "1", "name": "demo", "status": status, "OS-EXT-STS:task_state": task,
        "addresses": {"private": [{"addr": a} for a in addresses]}, "fault": {"message": "No valid host"},
    }  # fmt: skip


def test_it_passes_the_stages_and_ends_when_the_guest_is_ready():
    cloud = Cloud(
        [server("BUILD", "scheduling"), server("BUILD", "networking"), server("BUILD", "spawning"),
         server("ACTIVE", None, ["10.80.0.7"])],
        ["", "nova0-tiny ready: demo 10.80.0.7\n"],
    )  # fmt: skip
    progress = Progress(quiet=True)
    launching.follow(cloud, "1", {"name": "tiny"}, progress, timeout_s=10)
    progress.end()
    assert [stage for stage, _ in progress.stages] == ["scheduling", "network", "booting", "address", "ready"]


def test_an_error_tells_the_fault_and_the_step():
    with pytest.raises(Failure, match=r"demo: No valid host \(in compute_schedule\)"):
        launching.follow(Cloud([server("ERROR")]), "1", {"name": "tiny"}, Progress(quiet=True), timeout_s=5)


def test_a_guest_that_never_gets_ready_is_left_and_said():
    cloud = Cloud([server("ACTIVE", None, ["10.80.0.7"])], [""])
    with pytest.raises(Failure, match="nova0 log demo"):
        launching.follow(cloud, "1", {"name": "tiny"}, Progress(quiet=True), timeout_s=0.3)
