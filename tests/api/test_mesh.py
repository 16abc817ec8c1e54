"""The mesh by HTTP: who may, as whom, within which bounds, and how errors come back."""

from __future__ import annotations

import gevent
import pytest
from gevent.event import Event
from prometheus_client.parser import text_string_to_metric_families

from nova0.controller import bridge
from nova0.mesh.bus import Status
from nova0.mesh.errors import MeshError, wire_error
from nova0.mesh.identity import create_cluster
from nova0.mesh.node import Node
from nova0.mesh.settings import MeshSettings
from nova0.mesh.surface import CONTROLLER, HOST, MEMBER, OPERATOR, SELF, Surface, call

SENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@wire_error
class OutOfFlour(MeshError):
    """An agent's own error."""


class OvenAPI(Surface):
    topic = "user/oven"

    @call(allow=MEMBER)
    def bake(self, loaves: int, name: str = "rye") -> dict:
        """Bake loaves."""
        ...

    @call(allow=OPERATOR)
    def clean(self) -> str: ...

    @call(allow=(CONTROLLER, HOST, SELF))
    def dismantle(self) -> str: ...

    @call(allow=MEMBER)
    def rest(self) -> str: ...

    @call(allow=MEMBER)
    def fail(self, how: str) -> None: ...

    @call(allow=MEMBER, repeatable=True)
    def odd(self) -> dict: ...


class Oven(OvenAPI):
    def __init__(self, bus):
        self.bus, self.baked, self.resting, self.done = bus, 0, Event(), Event()

    def bake(self, loaves, name="rye"):
        self.baked += loaves
        caller = self.bus.caller()
        return {"baked": self.baked, "name": name, "roles": list(caller.roles), "context": caller.context}

    def clean(self):
        return "clean"

    def dismantle(self):
        return "gone"

    def rest(self):
        self.resting.set()
        self.done.wait()
        return "rested"

    def fail(self, how):
        raise OutOfFlour("no flour left", kilos=0.5) if how == "own" else ZeroDivisionError(how)

    def odd(self):
        return {(1, 2): 1}


@pytest.fixture(scope="module")
def oven(cloud, tmp_path_factory):
    """An agent beside the controller, on the same machine: there even `self` would be near."""
    place = tmp_path_factory.mktemp("mesh")
    more = {"state_dir": str(place), "host": "lab0", "listen": "127.0.0.1", "mdns": False}
    create_cluster(str(place), "lab0")
    controller = Node(MeshSettings(process="controller", roles=("controller",), **more))
    host = Node(MeshSettings(process="host", roles=("host",), **more))
    agent = Oven(host)
    host.offer(agent)
    controller.start()
    host.start()
    with gevent.Timeout(30):
        while not any("user/oven" in m.topics and m.status == Status.UP for m in controller.members()):
            gevent.sleep(0.02)
    cloud.services.mesh = bridge.Bridge(controller)
    yield agent
    agent.done.set()
    cloud.services.mesh = None
    host.stop()
    controller.stop()


def ask(http, method, agent="user/oven", headers=None, **body):
    return http.post("/mesh/v1/call", {"agent": agent, "method": method, **body}, headers=headers or {})


def test_an_administrator_calls_an_agent_as_member_and_operator(cloud, oven):
    answer = ask(cloud.admin, "bake", arguments={"loaves": 2}, headers={"traceparent": SENT})
    assert answer.status_code == 200 and answer.headers["X-Openstack-Request-Id"].startswith("req-")
    result = answer.json()["result"]
    assert result["name"] == "rye" and sorted(result["roles"]) == ["member", "operator"]
    assert result["context"]["request_id"] == answer.headers["X-Openstack-Request-Id"]
    assert result["context"]["traceparent"].split("-")[1] == SENT.split("-")[1]
    assert ask(cloud.admin, "clean").json() == {"result": "clean"}
    body = {"topic": "user/oven", "host": "lab0", "method": "clean"}
    assert cloud.admin.post("/mesh/v1/call", body).json() == {"result": "clean"}
    assert ask(cloud.admin, "clean", agent="lab0/host").json() == {"result": "clean"}


def test_never_as_the_controller_the_machine_or_its_host(cloud, oven):
    answer = ask(cloud.admin, "dismantle")
    assert answer.status_code == 403 and answer.json()["error"]["kind"] == "NotAllowed"
    assert "needs role controller or host or self" in answer.json()["error"]["message"]


def test_others_than_administrators_are_refused(cloud, oven):
    for http in (cloud.demo, cloud.reader):
        assert ask(http, "bake", arguments={"loaves": 1}).status_code == 403
        for path in ("agents", "surfaces", "metrics"):
            assert http.get(f"/mesh/v1/{path}").status_code == 403
    assert ask(cloud.nobody, "bake", arguments={"loaves": 1}).status_code == 401
    assert cloud.nobody.get("/mesh/v1/agents").status_code == 401


@pytest.mark.parametrize(
    ("body", "code", "kind", "field"),
    [
        ({"method": "bake", "arguments": {"loaves": "many"}}, 400, "BadArguments", "loaves"),
        ({"method": "bake", "arguments": {}}, 400, "BadArguments", "loaves"),
        ({"method": "bake", "arguments": {"loaves": 1, "shape": "round"}}, 400, "BadArguments", "shape"),
        ({"method": "bake", "arguments": {"loaves": 10**30}}, 400, None, None),
        ({"method": "burn"}, 404, "UnknownMethod", None),
        ({"method": "clean", "agent": "user/nobody"}, 503, "Unreachable", None),
        ({"method": "fail", "arguments": {"how": "own"}}, 422, "OutOfFlour", None),
        ({"method": "fail", "arguments": {"how": "made up"}}, 502, "RemoteError", None),
        ({"method": "odd"}, 502, None, None),
    ],
)
def test_errors_come_back_with_their_kind_and_field(cloud, oven, body, code, kind, field):
    answer = cloud.admin.post("/mesh/v1/call", {"agent": "user/oven", **body})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (code, code), answer.text
    assert kind is None or error["kind"] == kind
    assert error.get("field") == field and error["message"]
    if kind == "OutOfFlour":
        assert error["message"] == "no flour left" and error["data"] == {"kilos": 0.5}
    assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {"agent": "user/oven"},
        {"method": "clean"},
        {"agent": "user/oven", "topic": "user/oven", "method": "clean"},
        {"agent": "user/oven", "host": "lab0", "method": "clean"},
        {"agent": "a@b@c", "method": "clean"},
        {"agent": "user/oven", "method": "__class__"},
        {"agent": "user/oven", "method": "clean", "arguments": []},
        {"agent": "user/oven", "method": "clean", "timeout_s": 0},
        {"agent": "user/oven", "method": "clean", "timeout_s": 301},
        {"agent": "user/oven", "method": "clean", "request_id": "x" * 129},
        {"agent": "user/oven", "method": "clean", "request_id": "a b"},
        {"agent": "user/oven", "method": "clean", "roles": ["controller"]},
    ],
)
def test_what_is_no_call_is_400_before_anybody_is_asked(cloud, oven, body):
    answer = cloud.admin.post("/mesh/v1/call", body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["code"] == 400


def test_whom_to_ask_is_said_once_or_the_answer_says_how(cloud, oven):
    answer = cloud.admin.post("/mesh/v1/call", {"method": "clean"})
    assert answer.json()["error"]["field"] == "agent" and "TOPIC@HOST" in answer.json()["error"]["message"]


def test_a_body_over_a_mebibyte_is_refused(cloud, oven):
    answer = ask(cloud.admin, "bake", arguments={"loaves": 1, "name": "x" * (1 << 20)})
    assert answer.status_code == 413


def test_under_a_request_id_it_runs_once_and_each_user_has_ids_of_their_own(cloud, oven):
    before = oven.baked
    first, again = (ask(cloud.admin, "bake", arguments={"loaves": 5}, request_id="monday") for _ in range(2))
    assert first.json()["result"]["baked"] == again.json()["result"]["baked"] == before + 5 == oven.baked
    other = ask(cloud.admin, "bake", arguments={"loaves": 6}, request_id="monday")
    assert other.status_code == 400 and "other arguments" in other.json()["error"]["message"]
    second = cloud.new_user("second", "admin", "admin")
    assert ask(second, "bake", arguments={"loaves": 6}, request_id="monday").status_code == 200
    assert oven.baked == before + 11


def test_a_call_that_takes_too_long_is_504_and_too_many_at_once_are_503(cloud, oven, monkeypatch):
    answer = ask(cloud.admin, "rest", timeout_s=0.5)
    assert answer.status_code == 504 and answer.json()["error"]["kind"] == "CallTimeout"
    monkeypatch.setattr(bridge, "MOST_AT_ONCE", 1)
    oven.resting.clear()
    waiting = gevent.spawn(ask, cloud.admin, "rest", timeout_s=60)
    assert oven.resting.wait(30)
    busy = ask(cloud.admin, "clean")
    assert busy.status_code == 503 and busy.json()["error"]["kind"] == "Busy" and busy.headers["Retry-After"] == "1"
    oven.done.set()
    assert waiting.get(timeout=30).json() == {"result": "rested"}
    oven.done.clear()
    assert ask(cloud.admin, "clean").status_code == 200


def test_agents_surfaces_and_metrics_are_shown(cloud, oven):
    agents = {one["node"]: one for one in cloud.admin.get("/mesh/v1/agents").json()["agents"]}
    assert set(agents) == {"lab0/controller", "lab0/host"} and "user/oven" in agents["lab0/host"]["topics"]
    rows = cloud.admin.get("/mesh/v1/surfaces").json()["surfaces"]
    assert {"mesh", "user/oven"} <= {row["agent"] for row in rows}
    [bake] = [row for row in rows if row["method"] == "bake"]
    assert bake["signature"] == "bake(loaves: int, name: str = 'rye') -> dict" and bake["doc"] == "Bake loaves."
    mine = cloud.admin.get("/mesh/v1/surfaces?agent=user/oven").json()["surfaces"]
    assert {row["agent"] for row in mine} == {"user/oven"}
    assert cloud.admin.get("/mesh/v1/surfaces?agent=user/none").status_code == 503
    assert cloud.admin.get("/mesh/v1/surfaces?topic=x").status_code == 400
    text = cloud.admin.get("/mesh/v1/metrics?agent=lab0/host")
    assert text.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert "nova0_mesh_calls_answered" in {family.name for family in text_string_to_metric_families(text.text)}


def test_without_a_node_it_says_so_and_unknown_paths_are_404(cloud, oven):
    kept, cloud.services.mesh = cloud.services.mesh, None
    try:
        assert ask(cloud.admin, "clean").status_code == 503
        assert cloud.admin.get("/mesh/v1/agents").status_code == 503
    finally:
        cloud.services.mesh = kept
    assert cloud.admin.get("/mesh/v1/nothing").status_code == 404
    assert cloud.admin.get("/mesh/v1/call").status_code == 405
