"""`nova0 up --fake` as a person uses it: one command, a cloud; a second box; kills; and away again.

Real processes, the real API and mesh, pretended servers.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

NOVA0 = [sys.executable, "-m", "nova0.cli.main"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Box:
    """One machine: a state directory, a home, and what is typed there."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name, self.port = folder, name, free_port()
        self.state = folder / "state"
        (folder / "home").mkdir(parents=True)
        kept = {
            key: value for key, value in os.environ.items() if not key.startswith(("NOVA0_", "OS_", "XDG_", "SUDO_"))
        }
        self.environment = {
            **kept,
            "HOME": str(folder / "home"),
            "NOVA0_STATE_PATH": str(self.state),
            "NOVA0_MESH__MDNS": "false",  # clusters of other tests are none of ours; tokens carry addresses
            "NOVA0_MY_IP": "127.0.0.1",
            "NOVA0_MESH__DOOR_PORT": str(free_port()),  # the usual one may be another test's by the time it is bound
        }
        self.clouds = folder / "home/.config/openstack/clouds.yaml"

    def run(self, *words: str, code: int | None = 0, said: str = "", **more) -> subprocess.CompletedProcess:
        done = subprocess.run(
            [*NOVA0, *words],
            env={**self.environment, **more},
            cwd=self.folder,
            input=said,
            capture_output=True,
            text=True,
            timeout=90,
        )
        assert code is None or done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *words: str):
        return json.loads(self.run(*words, "--json").stdout)

    def up(self, *words: str, **more) -> subprocess.CompletedProcess:
        return self.run("up", "--fake", "--daemon", "--port", str(self.port), "--host", self.name, *words, **more)

    def away(self) -> None:
        """Whatever it is, nothing of it is left."""
        if (self.state / "role.json").exists() and "controller" not in (self.state / "role.json").read_text():
            self.run("leave", "--purge", "--without-controller", "--yes", code=None)
        else:
            self.run("destroy", "--purge", "--force", "--yes", code=None)

    def logs(self) -> str:
        return "\n".join(path.read_text()[-3000:] for path in sorted(self.state.glob("log/*.log")))

    def wait(self, condition, timeout_s: float = 60):
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            value = condition()
            if value:
                return value
            time.sleep(0.1)
        raise AssertionError(f"waited in vain; logs:\n{self.logs()}")


@pytest.fixture
def box(tmp_path):
    made = []

    def make(name):
        made.append(Box(tmp_path / name, name))
        return made[-1]

    yield make
    for one in reversed(made):
        one.away()


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A cloud on one machine, shared by the tests that leave it as it was."""
    one = Box(tmp_path_factory.mktemp("up") / "lab", "lab1")
    one.said = one.up().stdout
    yield one
    one.away()


@pytest.mark.covers("S014", "S026", "S006", "S364", "S368", "S372")
def test_one_command_and_a_server_boots_end_to_end(lab):
    said = lab.run("launch", "tiny", "first").stdout
    assert "first is ready at 10." in said
    row = next(row for row in lab.json("ps") if row["name"] == "first")
    assert (row["status"], row["host"], row["host_state"]) == ("ACTIVE", "lab1", "up")
    assert "first" in lab.run("log", "first").stdout
    assert lab.run("rm", "first").stdout == "first is gone\n"
    assert [row for row in lab.json("ps") if row["name"] == "first"] == []


@pytest.mark.slow
@pytest.mark.covers("S020")
def test_the_smoke_script_passes_against_a_live_cloud_and_fails_without(lab, tmp_path):
    nova0 = tmp_path / "nova0"
    nova0.write_text(f'#!/bin/sh\nexec {sys.executable} -m nova0.cli.main "$@"\n')
    nova0.chmod(0o755)
    smoke = [Path(__file__).parents[3] / "scripts/smoke", "--no-ssh"]

    def run(**more):
        environment = {**lab.environment, "NOVA0": str(nova0), **more}
        return subprocess.run(smoke, env=environment, capture_output=True, text=True, timeout=90, cwd=lab.folder)

    done = run()
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "smoke: all well"), done.stderr
    assert lab.json("ps") == []
    assert run(OS_CLOUD="none").returncode != 0


@pytest.mark.covers("S041", "S052")
def test_it_tells_the_api_the_join_line_and_the_time(lab):
    assert f"http://127.0.0.1:{lab.port}" in lab.said
    assert "nova0 join " in lab.said and " is up after " in lab.said
    assert lab.said.startswith("guests are fake")  # the driver's note is the first line


def test_secrets_are_for_their_owner_only(lab):
    secrets = [
        lab.clouds,
        *lab.state.glob("secrets/*"),
        *lab.state.glob("mesh/*.key"),
        lab.folder / "home/.ssh/nova0_ed25519",
    ]
    assert len(secrets) >= 6
    for path in secrets:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_a_second_up_says_so_and_changes_nothing(lab):
    before = {path: path.stat().st_mtime_ns for path in (lab.clouds, lab.state / "role.json")}
    done = lab.run("up", "--fake")
    assert "up here already" in done.stdout
    assert before == {path: path.stat().st_mtime_ns for path in before}


@pytest.mark.slow
@pytest.mark.covers("S233")
def test_the_seeds_are_ordinary_things(lab):
    openstack = Path(os.environ.get("NOVA0_TEST_CLIENTS") or Path(sys.executable).parent) / "openstack"
    if not openstack.exists():
        pytest.skip("no openstack client: set NOVA0_TEST_CLIENTS")

    def listed(*words):
        done = subprocess.run(
            [openstack, "--os-cloud", "nova0", *words, "-f", "json"],
            env=lab.environment, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    assert "tiny" in [image["Name"] for image in listed("image", "list")]
    assert [network["Name"] for network in listed("network", "list")] == ["private"]
    assert [key["Name"] for key in listed("keypair", "list")] == ["nova0"]
    rules = listed("security", "group", "rule", "list", "default", "--ingress")
    assert {(rule["IP Protocol"], rule["Port Range"]) for rule in rules} >= {("tcp", "22:22"), ("icmp", "")}


@pytest.mark.slow
@pytest.mark.covers("S047")
def test_agents_ping_and_describe_by_any_member(lab):
    members = {member["node"]: member for member in lab.json("agents")}
    assert set(members) == {"lab1/controller", "lab1/host"}
    assert all(member["status"] == "up" for member in members.values())
    assert {row["node"] for row in lab.json("ping") if row["ms"] is not None} == set(members)
    assert "prepare" in {method["name"] for method in lab.json("agents", "describe", "compute")["compute"]}


@pytest.mark.slow
@pytest.mark.covers("S048")
def test_a_users_own_agent_file_joins_and_answers(lab):
    (lab.folder / "mine.py").write_text(
        "from nova0.mesh.surface import MEMBER, Surface, call\n"
        "class Greeter(Surface):\n"
        "    topic = 'user/greeter'\n"
        "    @call(allow=MEMBER)\n"
        "    def hello(self, name: str) -> str:\n"
        "        return f'hello {name}'\n"
    )
    mine = subprocess.Popen(
        [*NOVA0, "agent", "run", "./mine.py"], env={**lab.environment, "NOVA0_HOST": "lab1"}, cwd=lab.folder,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        assert mine.stdout.readline().strip() == "lab1/user-mine answers user/greeter"
        lab.wait(lambda: any(m["node"] == "lab1/user-mine" and m["status"] == "up" for m in lab.json("agents")))
        assert lab.run("call", "user/greeter", "hello", "name=Ann").stdout == "hello Ann\n"
    finally:
        mine.terminate()
        assert mine.wait(60) == 0


@pytest.mark.slow
def test_a_call_that_is_not_allowed_or_wrong_says_which(lab):
    refused = lab.run("call", "compute@lab1", "delete", "uuid=x", "generation=1", code=1).stderr
    assert "may not call delete" in refused
    assert "no such" in lab.run("call", "nobody", "hello", code=1).stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["launch", "nothing", "x"], "there is tiny"),
        (["launch", "tiny", "x", "--flavor", "huge"], "m1.micro"),
        (["launch", "tiny", "x", "--network", "nowhere"], "private"),
        (["rm", "nobody"], "nova0 ps"),
        (["log", "nobody"], "nova0 ps"),
        (["ssh", "nobody"], "nova0 ps"),
    ],
)
def test_what_is_not_there_is_said_with_what_is(lab, words, said):
    done = lab.run(*words, code=1)
    assert said in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_host_that_is_up_is_not_fenced(lab):
    host = next(row["host"] for row in lab.json("agents") if "host" in row["roles"])
    said = lab.run("fence", host, code=1).stderr
    assert "switch it off first" in said
    assert "no host nowhere" in lab.run("fence", "nowhere", code=1).stderr


@pytest.mark.slow
@pytest.mark.covers("S128")
def test_schedule_explain_says_why_a_server_goes_where_it_goes(lab):
    shown = lab.json("schedule", "explain", "--flavor", "m1.micro", "--image", "tiny")
    assert len(shown["order"]) == 1 and "RAMWeigher" in shown["order"][0]["weights"]
    table = lab.run("schedule", "explain", "--flavor", "m1.micro").stdout
    assert "ComputeFilter" in table and shown["order"][0]["host"] in table
    nowhere = lab.run("schedule", "explain", "--flavor", "m1.micro", "--zone", "mars", code=1).stdout
    assert "AvailabilityZoneFilter" in nowhere and "No valid host" in nowhere
    assert "name a server, or --flavor" in lab.run("schedule", "explain", code=1).stderr
    assert "KEY=VALUE" in lab.run("schedule", "explain", "--flavor", "m1.micro", "--hint", "x", code=1).stderr


@pytest.mark.slow
def test_schedule_record_writes_what_simulate_replays(lab, tmp_path):
    lab.run("launch", "tiny", "noted")
    load = tmp_path / "load.jsonl"
    load.write_text(lab.run("schedule", "record", "--since", "1h", "--hosts").stdout)
    found = lab.json("schedule", "simulate", "--load", str(load))
    assert found["hosts"] == 1 and found["placed"] >= 1 and found["rejected"] == 0
    assert len(lab.json("schedule", "record", "--since", "1h")) == len(load.read_text().splitlines()) - 1
    assert "30m, 12h, 7d" in lab.run("schedule", "record", "--since", "soon", code=1).stderr
    lab.run("rm", "noted")


@pytest.mark.slow
def test_a_typo_in_one_name_deletes_no_other(lab):
    lab.run("launch", "tiny", "kept")
    lab.run("rm", "kept", "tpyo", code=1)
    assert "kept" in [row["name"] for row in lab.json("ps")]
    lab.run("rm", "kept")


@pytest.mark.slow
@pytest.mark.covers("S018")
def test_a_killed_process_comes_back_and_servers_stay(lab):
    lab.run("launch", "tiny", "through")
    facts = json.loads((lab.state / "run/controller.json").read_text())
    os.kill(facts["pid"], signal.SIGKILL)

    def back():
        try:
            again = json.loads((lab.state / "run/controller.json").read_text())
        except (OSError, ValueError):
            return False
        return again["pid"] != facts["pid"]

    lab.wait(back)
    assert [row["status"] for row in lab.json("ps") if row["name"] == "through"] == ["ACTIVE"]
    assert "controller ended (killed by signal 9" in (lab.state / "log/up.log").read_text()
    lab.run("rm", "through")


@pytest.mark.slow
@pytest.mark.covers("S027", "S028")
def test_a_second_box_joins_is_used_and_resumes_as_what_it_was(box):
    first, second = box("one"), box("two")
    first.up()
    token = first.json("token", "--host", "two")["token"]
    wrong = second.run("join", "-", "--fake", "--daemon", "--host", "two", code=1, said=token[:-8] + "AAAAAAAA").stderr
    assert wrong.count("\n") == 1
    second.run("join", "-", "--fake", "--daemon", "--host", "two", said=token)

    def both_up(one):
        rows = {row["node"]: row["status"] for row in one.json("agents")}
        return rows.get("one/controller") == "up" and rows.get("two/host") == "up"

    first.wait(lambda: both_up(first))
    second.wait(lambda: both_up(second))
    first.run("launch", "tiny", "there", "--host", "two", OS_CLOUD="nova0-admin")
    rows = json.loads(first.run("ps", "--json", OS_CLOUD="nova0-admin").stdout)
    assert [(row["name"], row["host"]) for row in rows] == [("there", "two")]

    assert "1 guest stays as it is" in second.run("down").stdout
    first.wait(lambda: json.loads(first.run("ps", "--json", OS_CLOUD="nova0-admin").stdout)[0]["host_state"] == "down")
    assert json.loads(first.run("ps", "--json", OS_CLOUD="nova0-admin").stdout)[0]["status"] == "ACTIVE"

    assert "this host is up" in second.run("up", "--daemon").stdout  # nothing said: its role is stored
    assert not (second.state / "run/controller.json").exists()
    first.wait(lambda: json.loads(first.run("ps", "--json", OS_CLOUD="nova0-admin").stdout)[0]["host_state"] == "up")


@pytest.mark.slow
def test_in_the_foreground_an_interrupt_ends_it_with_130(box):
    one = box("front")
    process = subprocess.Popen(
        [*NOVA0, "up", "--fake", "--port", str(one.port), "--host", "front"],
        env=one.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a suite in the background ignores it
    )  # fmt: skip
    for line in process.stdout:
        if "nova0 join" in line:
            break
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130, said
    assert one.run("agents", code=1).stderr.startswith("nova0: no agent of nova0 runs here")


@pytest.mark.slow
@pytest.mark.covers("S055")
def test_a_public_api_speaks_tls_that_clouds_yaml_trusts(box):
    import yaml

    one = box("public")
    assert f"https://127.0.0.2:{one.port}" in one.up("--public", "127.0.0.2").stdout
    entry = yaml.safe_load(one.clouds.read_text())["clouds"]["nova0"]
    assert Path(entry["cacert"]).read_bytes() == (one.state / "tls/ca.pem").read_bytes()
    one.run("launch", "tiny", "demo")
    Path(entry["cacert"]).write_text((one.state / "tls/server.pem").read_text())
    assert "certificate" in one.run("ps", code=1).stderr


def test_a_port_in_use_is_said_and_nothing_is_made(box):
    one = box("taken")
    with socket.create_server(("127.0.0.1", one.port)):
        done = one.up(code=1)
    assert str(one.port) in done.stderr and "--port" in done.stderr
    assert not (one.state / "mesh").exists() and not one.clouds.exists()


def test_a_state_directory_of_another_says_what_to_do(box):
    one = box("other")
    one.state.write_text("a file")
    done = one.up(code=1)
    assert "NOVA0_STATE_PATH" in done.stderr and done.stderr.count("\n") == 1
    one.state.unlink()


@pytest.mark.slow
def test_a_second_box_is_evicted_by_an_operator_and_comes_back_with_a_new_key(box):
    """Controller and host of a cluster: an operator's calls, eviction at the host, what the evicted sees, return."""
    first, second = box("one"), box("two")
    first.up()
    token = first.run("token").stdout.split()[-1]
    second.run("join", "-", "--fake", "--daemon", "--host", "two", said=token)
    first.wait(lambda: any(m["node"] == "two/host" and m["status"] == "up" for m in first.json("agents")))
    file = str(first.folder / "ann.key")
    assert "ann may use" in first.run("operator", "create", "ann", "--out", file).stdout
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o600
    assert "no signer" in second.run("operator", "list", code=1).stderr

    (first.folder / "mine.py").write_text(
        "from nova0.mesh.surface import OPERATOR, Surface, call\n"
        "class Safe(Surface):\n"
        "    topic = 'user/safe'\n"
        "    @call(allow=OPERATOR)\n"
        "    def open(self, code: int) -> str:\n"
        "        return f'open with {code}'\n"
    )
    safe = subprocess.Popen(
        [*NOVA0, "agent", "run", "./mine.py"], env=first.environment, cwd=first.folder,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        assert safe.stdout.readline().strip() == "one/user-mine answers user/safe"
        second.wait(lambda: any(m["node"] == "one/user-mine" and m["status"] == "up" for m in second.json("agents")))
        assert "needs role operator" in second.run("call", "user/safe", "open", "code=7", code=1).stderr
        assert second.run("call", "user/safe", "open", "code=7", "--key", file).stdout == "open with 7\n"
        first.run("node", "rekey")  # the agent is vouched for again by itself

        def opened():
            return second.run("call", "user/safe", "open", "code=8", "--key", file, code=None).stdout == "open with 8\n"

        second.wait(opened, 60)
    finally:
        safe.terminate()
        assert safe.wait(60) == 0

    assert "operators ann have new ones here: `nova0 operator renew`" in first.run("mesh", "rotate").stdout
    assert "has a new certificate" in second.run("operator", "renew", "--key", file).stdout
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o600
    assert "no newer one" in second.run("operator", "renew", "--key", file).stdout

    assert "Say --yes" in first.run("evict", "two", code=2).stderr
    assert "only controller" in first.run("evict", "one", "--yes", code=1).stderr
    assert "--key FILE" in second.run("evict", "one", "--yes", code=1).stderr
    said = first.run("evict", "two", "--reason", "stolen", "--key", file, "--yes").stdout
    assert "two is out" in said and "nova0 fence two" in said
    row = next(row for row in first.json("evict", "--list") if row["name"] == "two")
    assert (row["name"], row["by"], row["reason"], row["for_good"]) == ("two", "ann", "stolen", True)
    shown = next(m for m in first.json("agents") if m["host"] == "two")
    assert (shown["status"], shown["detail"]) == ("left", "two was put out of the cluster by ann: stolen")
    told = second.run("agents", code=1).stderr
    assert "put out of the cluster by ann: stolen" in told and "nova0 join -" in told and told.count("\n") == 1
    again = first.run("token").stdout.split()[-1]
    second.run("down")
    assert "nova0 join -" in second.run("agents", code=1).stderr  # also while nothing runs there
    second.run("join", "-", "--fake", "--daemon", "--host", "two", said=again)
    first.wait(lambda: any(m["node"] == "two/host" and m["status"] == "up" for m in first.json("agents")))
    assert "Say --yes" in first.run("operator", "revoke", "ann", code=2).stderr
    assert [(row["name"], row["state"]) for row in first.json("operator", "list")] == [("ann", "may act")]
    assert first.run("operator", "revoke", "ann", "--yes").stdout == "ann is no operator any more\n"
    assert [(row["name"], row["state"]) for row in first.json("operator", "list")] == [("ann", "revoked")]
