"""What an operator sees of the mesh from any member: `nova0 top`, `nova0 mesh graph`, `nova0 metrics`, and /metrics."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys

import gevent
import pytest
from cluster import Cluster
from contract import PaintAgent, PaintAPI, until
from gevent.subprocess import PIPE, Popen, run
from prometheus_client.parser import text_string_to_metric_families

from nova0.cli.commands import mesh_graph, top
from nova0.mesh.bus import Status
from nova0.mesh.errors import BadArguments, Busy
from nova0.mesh.scraped import Scraped, address
from nova0.metrics import BOUNDS_S

NOVA0 = [sys.executable, "-m", "nova0.cli.main"]
WAIT_S = 30


class Typed:
    """The commands of one machine, whose node runs in this process."""

    def __init__(self, state):
        self.environment = {**os.environ, "NOVA0_STATE_PATH": str(state), "TERM": "xterm-256color"}

    def __call__(self, *words, code=0, **more):
        environment = {**self.environment, **more}
        done = run([*NOVA0, *words], env=environment, stdout=PIPE, stderr=PIPE, text=True, timeout=120)
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout if code == 0 else done.stderr

    def json(self, *words):
        return json.loads(self(*words, "--json"))


@pytest.fixture
def three(tmp_path):
    """A controller, a host whose commands are typed, and another host."""
    cluster = Cluster(tmp_path / "hosts")
    state = tmp_path / "state"
    controller = cluster.bus("lab0", "controller", ("controller",))
    host = cluster.bus("lab1", "host", ("host",), socket_path=str(state / "run" / "mesh-host.sock"))
    other = cluster.bus("lab2", "host", ("host",))
    for node in (controller, host, other):
        node.offer(PaintAgent(node))
        node.start()
    until(lambda: sum(m.status == Status.UP and bool(m.topics) for m in host.members()) == 3, WAIT_S)
    yield controller, host, other, Typed(state)
    cluster.close()


@pytest.mark.slow
@pytest.mark.design("O4")
def test_top_shows_what_each_node_does_also_without_a_controller(three):
    controller, host, _other, nova0 = three
    asking = gevent.spawn(lambda: [host.stub(PaintAPI, "lab2").where() for _ in iter(lambda: gevent.sleep(0.02), 1)])
    seen = json.loads(nova0("top", "--once", "--json", "--sort", "calls"))
    rows = {row["node"]: row for row in seen["nodes"]}
    assert seen["from"] == "lab1/host" and set(rows) == {"lab0/controller", "lab1/host", "lab2/host"}
    assert seen["nodes"][0]["node"] == "lab2/host"  # the busiest first
    assert rows["lab2/host"]["calls_per_s"] > 0 and rows["lab1/host"]["asked_per_s"] > 0
    assert 0 < rows["lab2/host"]["p50_ms"] <= rows["lab2/host"]["p99_ms"]
    assert rows["lab1/host"]["asked_p50_ms"] > 0 and rows["lab2/host"]["bytes_per_s"] > 0
    asking.kill()
    controller.stop()
    lines = nova0("top", "--count", "2", "--interval", "0.2").splitlines()
    assert lines[0].split()[:3] == ["NODE", "STATUS", "ROLE"]
    assert lines[1].split()[:2] == ["lab0/controller", "left"]
    assert [line.split()[0] for line in lines[2:4]] == ["lab1/host", "lab2/host"]
    assert lines[5].split()[0] == "NODE" and len(lines) == 9
    assert "--interval" in nova0("top", "--interval", "0", code=2)


@pytest.mark.slow
def test_top_leaves_the_terminal_as_it_was(three):
    nova0 = three[3]
    ours, theirs = pty.openpty()
    process = Popen(
        [*NOVA0, "top"],
        env=nova0.environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # ignored in a background job
    )
    os.close(theirs)
    os.set_blocking(ours, False)
    said = b""

    def read():
        nonlocal said
        try:
            said += os.read(ours, 65536)
        except OSError:  # nothing now, or the other end is closed
            return said
        return said

    until(lambda: b"lab2/host" in read(), WAIT_S, "the table")
    assert b"\x1b[?1049h" in said and b"\x1b[?25l" in said  # another screen, no cursor
    process.send_signal(signal.SIGINT)
    until(lambda: (read(), process.poll() is not None)[1], WAIT_S, "its end")
    assert process.returncode == 0
    read()
    os.close(ours)
    assert said.rindex(b"\x1b[?1049l") > said.rindex(b"\x1b[?1049h")
    assert said.rindex(b"\x1b[?25h") > said.rindex(b"\x1b[?25l")
    assert b"Traceback" not in said


def test_rates_are_of_the_time_between_two_tellings_and_none_after_a_restart():
    member = {"node": "a/host", "status": "up", "roles": ["host"], "address": "x:1", "version": "1", "load": 3}
    old = dict.fromkeys(("answered", "asked", "failed", "casts_sent", "casts_heard", "bytes_in", "bytes_out"), 10)
    old |= {"load": 0, "gaps": 1, "reconnects": 0, "stalls": 0, "up_s": 100.0, "at_s": 50.0}
    old |= {"buckets": [0] * (len(BOUNDS_S) + 1), "asked_buckets": [0] * (len(BOUNDS_S) + 1)}
    new = {**old, "answered": 30, "bytes_in": 1010, "up_s": 102.0, "at_s": 52.0, "load": 2}
    new["buckets"] = [20 if bound == 0.0005 else 0 for bound in (*BOUNDS_S, None)]
    row = top.row(member, {"answer": old}, {"answer": new})
    assert (row["calls_per_s"], row["bytes_per_s"], row["asked_per_s"], row["load"]) == (10.0, 500.0, 0.0, 2)
    assert 0.25 < row["p50_ms"] < 0.5 and row["asked_p50_ms"] is None
    fresh = top.row(member, {"answer": old}, {"answer": {**new, "up_s": 1.0}})
    assert fresh["calls_per_s"] is None and fresh["gaps"] == 1
    silent = top.row(member, {"answer": old}, {"answer": None, "error": "down"})
    assert (silent["error"], silent["load"], silent["gaps"]) == ("down", 3, None)
    assert [top.cells({**row, "p50_ms": ms})[9] for ms in (0.021, 12.34, 2500)] == ["0.02 ms", "12.3 ms", "2.5 s"]
    assert top.cells(silent)[5:] == ["3", "-", "-", "-", "-", "-", "-", "-", "-"]


@pytest.mark.slow
def test_the_graph_shows_links_and_who_does_not_answer(three, tmp_path):
    _controller, _host, other, nova0 = three
    linked = {("lab1/host", "lab0/controller"), ("lab0/controller", "lab1/host"), ("lab1/host", "lab2/host")}
    until(lambda: linked <= {(x["from"], x["to"]) for x in nova0.json("mesh", "graph")["links"] if x["up"]}, WAIT_S)
    text = nova0("mesh", "graph")
    assert "lab1/host (host)\n  <-> lab0/controller\n  <-> lab2/host\n" in text
    picture = nova0("mesh", "graph", "--dot")
    assert picture.startswith("digraph mesh {") and '"lab0/controller" -> "lab1/host" [dir=both];' in picture
    other.stop()
    seen = {node["node"]: node for node in nova0.json("mesh", "graph")["nodes"]}
    assert seen["lab2/host"]["answers"] is False and "lab2/host is left" in seen["lab2/host"]["error"]
    assert "lab2/host (host): does not answer: " in nova0("mesh", "graph")
    assert "does not answer" in nova0("mesh", "graph", "--dot")


@pytest.mark.slow
def test_the_graph_is_drawn_by_graphviz_or_says_what_to_install(three, tmp_path):
    nova0 = three[3]
    (tmp_path / "bin").mkdir()
    here = {"PATH": str(tmp_path / "bin")}
    said = nova0("mesh", "graph", "--png", "x.png", code=1, **here)
    assert "apt install graphviz" in said
    stand_in = tmp_path / "bin" / "dot"
    stand_in.write_text(
        f"#!{sys.executable}\nimport sys\nassert sys.argv[1:3] == ['-Tpng', '-o']\n"
        "open(sys.argv[3], 'w').write('drawn ' + sys.stdin.read())\n"
    )
    stand_in.chmod(0o755)
    path = tmp_path / "mesh.png"
    assert nova0("mesh", "graph", "--png", str(path), **here).strip() == str(path)
    assert path.read_text().startswith("drawn digraph mesh {")
    stand_in.write_text("#!/bin/sh\necho 'syntax error' >&2\nexit 3\n")
    assert "syntax error" in nova0("mesh", "graph", "--png", str(path), code=1, **here)
    assert path.read_text().startswith("drawn")  # the earlier picture is whole
    assert "one of" in nova0("mesh", "graph", "--json", "--dot", code=2)


def test_one_way_and_broken_links_are_told_apart():
    def link(a, b, up=True):
        return {"from": a, "to": b, "up": up, "listens": True, "waiting": 0, "trouble": "" if up else "link cut"}

    nodes = [
        {"node": name, "status": "up", "roles": ["host"], "answers": True, "error": None} for name in ("a/h", "b/h")
    ]
    one_way = {"nodes": nodes, "links": [link("a/h", "b/h"), link("b/h", "a/h", False)]}
    assert mesh_graph.text(one_way) == "a/h (host)\n  --> b/h\nb/h (host)\n  --> a/h  broken: link cut\n  <-- a/h"
    assert '"a/h" -> "b/h";' in mesh_graph.dot(one_way) and "style=dashed];" in mesh_graph.dot(one_way)
    odd = {"nodes": [{**nodes[0], "node": 'a"b/h'}], "links": []}
    assert '"a\\"b/h" [label="a\\"b/h\\nhost"' in mesh_graph.dot(odd)


@pytest.mark.slow
@pytest.mark.covers("S209")
def test_metrics_of_this_and_of_another_node_are_text_for_prometheus(three):
    _, host, _, nova0 = three
    assert host.stub(PaintAPI, "lab2").where() == "lab2"
    for agent, side in (((), "asked"), (("lab2",), "answered")):
        families = {family.name: family for family in text_string_to_metric_families(nova0("metrics", *agent))}
        samples = families[f"nova0_mesh_calls_{side}"].samples
        assert any(s.labels == {"topic": "paint", "method": "where", "outcome": "ok"} and s.value == 1 for s in samples)
        depths = {sample.labels["of"]: sample.value for sample in families["nova0_mesh_queue_frames"].samples}
        assert {"answers", "calls"} <= set(depths) and not any(depths.values())  # S209: nothing waits
    assert {"nova0_mesh_peers", "nova0_info"} <= {family["name"] for family in nova0.json("metrics")}
    assert "lab9" in nova0("metrics", "lab9", code=1)


def test_completion_knows_the_new_commands():
    done = subprocess.run([*NOVA0, "completion", "bash"], capture_output=True, text=True, check=True, timeout=60)
    assert "_shtab_nova0_top_option_strings=" in done.stdout and "_shtab_nova0_metrics_" in done.stdout
    assert "_shtab_nova0_mesh_graph_option_strings=" in done.stdout


def http(port, request):
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT_S) as connection:
        connection.sendall(request)
        said = b""
        while piece := connection.recv(65536):
            said += piece
    return said.decode()


@pytest.mark.design("O5")
def test_prometheus_is_answered_where_and_only_where_it_was_configured(three, tmp_path):
    controller, _host, _, _ = three
    assert controller._scraped is None  # off unless asked for
    cluster = Cluster(tmp_path / "scraped")
    node = cluster.bus("lab0", "controller", ("controller",), metrics_listen="0")
    node.start()
    try:
        assert node._scraped.where == "127.0.0.1:0"
        answer = http(node._scraped.port, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        head, _, body = answer.partition("\r\n\r\n")
        assert "200 OK" in head and "text/plain; version=0.0.4" in head
        assert {"nova0_mesh_calls_running", "process_cpu_seconds"} <= {
            f.name for f in text_string_to_metric_families(body)
        }
        assert "404" in http(node._scraped.port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert "405" in http(node._scraped.port, b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        with pytest.raises(Busy, match="metrics_listen"):
            Scraped(str(node._scraped.port), list).start()
    finally:
        cluster.close()


def test_an_address_to_listen_on_is_read_or_refused():
    assert address("9100") == ("127.0.0.1", 9100) == address(":9100")
    assert address("0.0.0.0:9100") == ("0.0.0.0", 9100) and address("[::1]:9100") == ("::1", 9100)
    for wrong in ("", "host", "host:", "x:99999", "x:-1", "x:1x"):
        with pytest.raises(BadArguments, match="metrics_listen"):
            address(wrong)


def test_the_processes_of_one_machine_listen_on_ports_of_their_own():
    from nova0.agents.bundles import metrics_listen

    assert address(metrics_listen("9100", "host")) == ("127.0.0.1", 9100)
    assert address(metrics_listen("0.0.0.0:9100", "controller")) == ("0.0.0.0", 9101)
    assert metrics_listen("9100", "user-mine") == "" == metrics_listen("", "host")
