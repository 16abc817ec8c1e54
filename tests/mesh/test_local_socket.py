"""The command line's way in: what a user of the machine can see and do, and what not."""

from __future__ import annotations

import os
import stat
import subprocess
import sys

import gevent
import pytest
from cluster import Cluster
from contract import PaintAgent, PaintAPI, until
from gevent.event import Event

from nova0.mesh.bus import Status
from nova0.mesh.errors import BadArguments, Busy, Cancelled, NotAllowed, Unreachable
from nova0.mesh.local_client import connect


@pytest.fixture
def pair(tmp_path):
    cluster = Cluster(tmp_path)
    controller = cluster.bus("lab0", "controller", ("controller",))
    host = cluster.bus("lab1", "host", ("host",), socket_path=str(tmp_path / "run" / "mesh.sock"))
    agent = PaintAgent(host)
    host.offer(agent)
    away = PaintAgent(controller)
    controller.offer(away)
    controller.start()
    host.start()
    until(lambda: sum(m.status == Status.UP for m in host.members()) == 2, 5)
    yield controller, host, agent, host.settings.socket_path
    cluster.close()


def test_a_name_too_long_for_the_kernel_is_told_with_what_to_do(tmp_path):
    cluster = Cluster(tmp_path)
    path = tmp_path / ("deep" * 30) / "mesh.sock"
    bus = cluster.bus("lab0", "controller", ("controller",), socket_path=str(path))
    with pytest.raises(OSError, match=rf"{path}.* {len(str(path))} bytes.* shorter state_path"):
        bus.start()
    cluster.close()


def test_a_user_sees_members_and_pings_them(pair):
    _controller, _, _, path = pair
    with connect(path) as client:
        seen = {m["node"]: m for m in client.members()}
        assert set(seen) == {"lab0/controller", "lab1/host"}
        assert seen["lab0/controller"]["status"] == "up" and seen["lab0/controller"]["beat_age_s"] < 3
        for agent in ("lab0/controller", "lab0", "paint@lab0"):
            pong = client.ping(agent)
            assert pong["node"] == "lab0/controller" and pong["ms"] < 1000
        with pytest.raises(Unreachable):
            client.ping("lab9")


def test_text_from_the_command_line_becomes_what_the_method_wants(pair):
    _, host, _, path = pair
    with connect(path) as client:
        assert client.call("paint@lab1", "echo", {"box": {"name": "b", "size_mb": "5"}})["size_mb"] == 5
        assert client.call("lab1/host", "where") == "lab1"
        with pytest.raises(BadArguments) as caught:
            client.call("paint@lab1", "echo", {"box": {"name": "b", "size_mb": "five"}})
        assert caught.value.data["field"] == "box.size_mb"
        assert client.call("paint@lab1", "near") == host.node  # the machine's own user is self


def test_a_user_counts_as_a_member_and_not_as_the_node(pair):
    _controller, host, agent, path = pair
    assert host.stub(PaintAPI, "lab0").add(1, 1) == 2  # the node itself, a host, may
    with connect(path) as client:
        with pytest.raises(NotAllowed):
            client.call("paint@lab0", "add", {"a": 1})
        with pytest.raises(NotAllowed):
            client.call("paint@lab1", "count", {"label": "x"})
        client.cast("paint", "colour", {"name": "sneaky"})
        assert client.call("paint@lab0", "where") == "lab0"
    gevent.sleep(0.2)
    assert agent.counts == {} and agent.colours == []


@pytest.mark.design("C36")
def test_a_person_who_goes_away_gives_the_call_up(pair, monkeypatch):
    controller, _, _, path = pair
    began, ended = Event(), Event()

    def where():
        began.set()
        try:
            Event().wait(60)
        except Cancelled:
            ended.set()
            raise

    monkeypatch.setattr(controller.offers.find("paint", "where", "call"), "function", where)
    client = connect(path)
    client._send({"op": "call", "agent": "paint@lab0", "method": "where", "timeout_s": 60})
    assert began.wait(20)
    client.close()
    assert ended.wait(20)


@pytest.mark.covers("S047")
def test_describe_tells_arguments_and_who_may_call(pair):
    _, _, _, path = pair
    with connect(path) as client:
        rows = {row["method"]: row for row in client.describe("paint@lab0")}
        assert rows["add"]["arguments"] == {"a": "int", "b": "int"} and rows["add"]["required"] == ["a"]
        assert rows["count"]["allow"] == ["controller"] and rows["colour"]["kind"] == "cast"
        assert "mesh" in {row["agent"] for row in client.describe()}


def test_a_topic_of_a_user_s_own_is_not_taken_for_a_node(pair):
    controller, _, _, path = pair

    class MineAPI(PaintAPI):
        topic = "user/mine"

    class Mine(PaintAgent, MineAPI):
        topic = "user/mine"

    controller.offer(Mine(controller))
    with connect(path) as client:
        until(lambda: any("user/mine" in m["topics"] for m in client.members()), 3)
        assert client.call("user/mine", "where") == "lab0"
        assert client.call("user/mine@lab0", "where") == "lab0"
        assert "where" in {row["method"] for row in client.describe("user/mine")}
        with pytest.raises(Unreachable):
            client.call("user/yours", "where")


def test_watch_shows_casts_and_changes_of_members_as_they_happen(pair):
    controller, _, _, path = pair
    seen = []

    def watch():
        with connect(path) as client:
            for event in client.watch():
                seen.append(event)

    watching = gevent.spawn(watch)
    until(lambda: seen and seen[0]["event"] == "watching")

    def cast_seen():
        controller.stub(PaintAPI).colour("red")
        return any(e["event"] == "cast" and e["arguments"] == {"name": "red"} for e in seen)

    until(cast_seen)
    controller.stop()
    until(lambda: any(e["event"] == "member" and (e["node"], e["status"]) == ("lab0/controller", "left") for e in seen))
    watching.kill()


@pytest.mark.covers("S191")
def test_calls_work_while_the_controller_is_away(pair):
    controller, _, _, path = pair
    controller.stop()
    with connect(path) as client:
        assert client.call("paint@lab1", "where") == "lab1"
        with pytest.raises(Unreachable):
            client.call("paint@lab0", "where")


def test_only_its_owner_or_the_group_may_connect(pair):
    path = pair[3]
    mode = stat.S_IMODE(os.stat(path).st_mode)
    assert mode in (0o600, 0o660)


def test_a_second_node_does_not_take_the_socket_over(pair, tmp_path):
    from nova0.mesh.local_socket import LocalSocket

    with pytest.raises(Busy, match="another nova0 node"):
        LocalSocket(pair[1]).start()


def test_nobody_listening_is_said_with_a_remedy(tmp_path):
    with pytest.raises(Unreachable, match="nova0 up"):
        connect(str(tmp_path / "none.sock"))


def test_the_client_needs_no_gevent_and_no_zmq():
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, nova0.mesh.local_client; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert not {"gevent", "zmq", "cryptography", "asyncio"} & set(loaded)
