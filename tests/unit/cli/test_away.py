"""`nova0 down`, `leave` and `destroy` as a person types them: each destroys no more than it says, and asks.

Real processes, the real API and mesh, pretended servers.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from nova0.cli import clouds, leaving, seed, ssh_key, state, unit
from nova0.cli.cloud import Cloud, NotFound
from nova0.cli.failure import Failure
from nova0.cli.main import main
from nova0.cli.person import caller
from tests.unit.cli.test_up import NOVA0, Box
from tests.unit.cli.test_up import box as box  # a fixture

THEIRS = """\
clouds:
  # not of this machine
  nova0:
    auth: {auth_url: "https://cloud.example/v3", username: "demo", password: "mine"}
    region_name: there
"""


def guests(one: Box) -> list[str]:
    """As the pretended hypervisor keeps them."""
    path = one.state / "fake-guests.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    return sorted(found.get("guests", found))


def servers(one: Box) -> dict[str, dict]:
    return {row["name"]: row for row in json.loads(one.run("ps", "--json", "--all", OS_CLOUD="nova0-admin").stdout)}


def on_a_terminal(one: Box, *words: str, answer: bytes) -> tuple[int, str]:
    """Types `answer` once it is asked; b"^C" interrupts until that is heard. Returns exit code and what was shown."""
    terminal, theirs = pty.openpty()
    typed = subprocess.Popen(
        [*NOVA0, *words], env=one.environment, cwd=one.folder, stdin=theirs, stdout=theirs, stderr=theirs,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a suite in the background ignores it
    )  # fmt: skip
    os.close(theirs)
    os.set_blocking(terminal, False)
    shown, deadline = b"", time.monotonic() + 90
    try:
        while True:
            with contextlib.suppress(BlockingIOError, OSError):
                shown += os.read(terminal, 65536)
            if b"[y/N]" in shown and answer == b"^C":
                if b"interrupted" not in shown:
                    typed.send_signal(signal.SIGINT)
            elif b"[y/N]" in shown and answer:
                os.write(terminal, answer)
                answer = b""
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = typed.wait(0.5)
                break
            assert time.monotonic() < deadline, shown
        with contextlib.suppress(BlockingIOError, OSError):
            shown += os.read(terminal, 65536)
        return code, shown.decode()
    finally:
        typed.kill()
        typed.wait()
        os.close(terminal)


@pytest.fixture
def cluster(box):
    """A controller with a host, and a joined second host with one server each."""
    first, second = box("one"), box("two")
    first.up()
    second.run("join", "-", "--fake", "--daemon", "--host", "two", said=first.run("token").stdout.split()[-1])
    first.wait(lambda: any(m["node"] == "two/host" and m["status"] == "up" for m in first.json("agents")))
    for name in ("here", "there"):
        first.run("launch", "tiny", name, "--host", "two" if name == "there" else "one", OS_CLOUD="nova0-admin")
    return first, second


@pytest.mark.slow
def test_down_stops_agents_and_keeps_everything_on_controller_and_host(cluster):
    first, second = cluster
    mine, theirs = guests(first), guests(second)
    assert len(mine) == len(theirs) == 1
    assert "1 guest stays as it is" in second.run("down").stdout
    before = first.clouds.read_text()
    first.run("down")
    assert (guests(first), guests(second), first.clouds.read_text()) == (mine, theirs, before)
    assert "nothing of nova0 runs here" in first.run("down").stdout
    for word, verb in (("--purge", "nova0 destroy --purge"), ("--keep-guests", "nova0 down")):
        assert verb in first.run("down", word, code=2).stderr
    first.run("up", "--daemon")
    second.run("up", "--daemon")
    first.wait(lambda: {row["host_state"] for row in servers(first).values()} == {"up"})
    assert {row["status"] for row in servers(first).values()} == {"ACTIVE"}
    for name in ("here", "there"):  # and they obey still
        first.run("rm", name, OS_CLOUD="nova0-admin")
    assert guests(first) == guests(second) == []


@pytest.mark.slow
def test_a_host_leaves_after_a_yes_and_its_servers_say_so(cluster):
    first, second = cluster
    assert "controller" in first.run("leave", "--yes", code=1).stderr
    assert "1 guest and its disk" in second.run("leave", code=2).stderr
    for answer, code in ((b"n\n", 1), (b"^C", 130), (b"\x04", 1)):
        ended, shown = on_a_terminal(second, "leave", answer=answer)
        assert (ended, "1 guest" in shown) == (code, True), shown
        assert len(guests(second)) == 1
        assert servers(first)["there"]["status"] == "ACTIVE"
    ended, shown = on_a_terminal(second, "leave", "--purge", answer=b"y\n")
    assert ended == 0 and "1 server of it shows ERROR" in shown, shown
    assert not second.state.exists()
    row = servers(first)["there"]
    assert (row["status"], row["host"] or None) == ("ERROR", None)
    assert row["fault"].startswith("host two left the cluster on 20")
    assert servers(first)["here"]["status"] == "ACTIVE"
    assert next(m for m in first.json("agents") if m["host"] == "two")["detail"] == "two left the cluster"
    first.run("rm", "there", OS_CLOUD="nova0-admin")
    assert "in no cluster" in second.run("leave").stdout
    # the name is free again
    second.run("join", "-", "--fake", "--daemon", "--host", "two", said=first.run("token").stdout.split()[-1])
    first.run("launch", "tiny", "again", "--host", "two", OS_CLOUD="nova0-admin")
    assert len(guests(second)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("at", ["leave.begun", "leave.told", "leave.guests_removed"])
def test_a_leave_cut_short_is_gone_on_with(cluster, at):
    first, second = cluster
    assert second.run("leave", "--yes", "--purge", code=None, NOVA0_CRASH_AT=at).returncode == -signal.SIGKILL
    if at == "leave.begun":
        assert len(guests(second)) == 1 and servers(first)["there"]["status"] == "ACTIVE"
    else:
        assert "nova0 leave" in second.run("up", "--daemon", code=1).stderr
    second.run("leave", "--yes", "--purge")
    assert not second.state.exists()
    assert servers(first)["there"]["status"] == "ERROR"


@pytest.mark.slow
def test_a_host_without_its_controller_leaves_only_when_told_to(cluster):
    first, second = cluster
    first.run("down")
    second.wait(lambda: any(m["node"] == "one/controller" and m["status"] != "up" for m in second.json("agents")))
    assert "--without-controller" in second.run("leave", "--yes", code=1).stderr
    assert len(guests(second)) == 1
    second.run("agents")  # it runs still
    second.run("down")
    assert "--without-controller" in second.run("leave", "--yes", code=1).stderr
    assert len(guests(second)) == 1
    second.run("up", "--daemon")  # nothing is half done
    said = second.run("leave", "--yes", "--without-controller", "--purge").stdout
    assert "nova0 evict two" in said and "nova0 fence two" in said
    assert not second.state.exists()


@pytest.mark.slow
def test_destroy_says_what_refuses_with_other_hosts_and_ends_the_cloud(cluster):
    first, second = cluster
    assert "nova0 leave" in second.run("destroy", "--yes", code=1).stderr
    assert "other hosts are joined: two" in first.run("destroy", "--yes", code=1).stderr
    assert "2 servers" in first.run("destroy", "--force", code=2).stderr
    ended, shown = on_a_terminal(first, "destroy", "--force", "--purge", answer=b"^C")
    assert ended == 130 and "here, there" in shown
    assert {row["status"] for row in servers(first).values()} == {"ACTIVE"}
    second.run("leave", "--yes", "--purge")
    first.run("rm", "there", OS_CLOUD="nova0-admin")
    said = first.run("destroy", "--yes").stdout
    assert "deleted: 1 of 1 servers" in said and "kept: store" in said
    assert not first.clouds.exists() and guests(first) == []
    first.up("--no-seed")
    assert servers(first) == {}
    first.run("destroy", "--yes", "--purge")
    assert not first.state.exists()


@pytest.mark.slow
@pytest.mark.parametrize("at", ["destroy.begun", "destroy.servers_deleted", "destroy.guests_removed"])
def test_a_destroy_cut_short_is_gone_on_with(box, at):
    one = box("gone")
    one.up()
    one.run("launch", "tiny", "demo")
    assert one.run("destroy", "--yes", "--purge", code=None, NOVA0_CRASH_AT=at).returncode == -signal.SIGKILL
    one.run("destroy", "--yes", "--purge")
    assert not one.state.exists() and not one.clouds.exists()
    assert list((one.folder / "home").glob(".ssh/*")) == []
    assert subprocess.run(["pgrep", "-f", str(one.state)], capture_output=True, text=True).stdout == ""


@pytest.mark.slow
def test_what_is_a_users_own_is_neither_changed_nor_removed(box):
    one = box("kept")
    one.clouds.parent.mkdir(parents=True)
    one.clouds.write_text(THEIRS)
    ca = one.clouds.with_name("nova0-ca.pem")
    ca.write_text("of another cloud")
    key = one.folder / "home/.ssh/nova0_ed25519"
    key.parent.mkdir(mode=0o700)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "me", "-f", key], check=True)
    private = key.read_bytes()
    done = one.up("--public", "127.0.0.2")
    assert "they stay" in done.stderr and str(one.state / "clouds.yaml") in done.stdout
    assert (one.clouds.read_text(), ca.read_text(), key.read_bytes()) == (THEIRS, "of another cloud", private)
    one.run("launch", "tiny", "demo")  # the commands here speak to this machine's cloud
    assert [row["name"] for row in one.json("ps")] == ["demo"]
    (one.state / "notes.txt").write_text("mine")
    said = one.run("destroy", "--yes", "--purge").stdout
    assert "deleted: 1 of 1 servers" in said and "notes.txt" in said
    assert (one.clouds.read_text(), ca.read_text(), key.read_bytes()) == (THEIRS, "of another cloud", private)
    assert [path.name for path in one.state.iterdir()] == ["notes.txt"]


@pytest.mark.slow
def test_what_it_was_started_with_is_found_without_saying_it_again(box):
    """Another host name, the driver, a port: none is in the environment when it is taken away."""
    one = box("named")
    one.up(NOVA0_HOST="named", NOVA0_COMPUTE_DRIVER="fake")
    one.run("launch", "tiny", "demo")
    one.run("down")
    (one.state / "role.json").write_text(json.dumps({"runs": ["controller", "host"], "environment": {}}))
    said = one.run("destroy", "--yes", "--purge", NOVA0_COMPUTE_DRIVER="libvirt").stdout
    assert "removed: guest" in said and not one.state.exists()


@pytest.mark.parametrize("folder", ["people", "/"])
def test_a_folder_of_others_is_neither_taken_nor_removed(folder, tmp_path, monkeypatch, capsys):
    state_path = tmp_path / folder
    (tmp_path / "people/images").mkdir(parents=True)
    (tmp_path / "people/ann.txt").write_text("hers")
    monkeypatch.setenv("NOVA0_STATE_PATH", str(state_path))
    for words in (["up", "--fake", "--daemon"], ["destroy", "--purge", "--yes"], ["down"]):
        assert main(words) == 1
        assert "not nova0's" in capsys.readouterr().err, words
    args = argparse.Namespace(config_file=None, quiet=False, purge=True, yes=True, without_controller=True)
    with pytest.raises(Failure, match="not nova0's"):
        leaving.leave(args)
    assert sorted(path.name for path in (tmp_path / "people").iterdir()) == ["ann.txt", "images"]
    assert not Path("/.nova0").exists()


def made(folder: Path) -> Path:
    """A state with one thing of each kind."""
    folder.mkdir(parents=True, exist_ok=True)
    state.take(folder)
    for name in ("mesh", "images", "log"):
        (folder / name).mkdir()
        (folder / name / "file").write_text("x")
    (folder / "store.sqlite").write_text("x")
    (folder / "role.json").write_text("{}")
    return folder


def test_what_a_link_points_to_stays(tmp_path):
    elsewhere = tmp_path / "big"
    elsewhere.mkdir()
    (elsewhere / "file").write_text("x")
    folder = made(tmp_path / "state")
    (folder / "instances").symlink_to(elsewhere)
    (tmp_path / "link").symlink_to(folder)
    assert "link" in state.remove(tmp_path / "link")[0]
    assert (elsewhere / "file").exists() and (tmp_path / "link").is_symlink() and list(folder.iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_mount_point_is_emptied_and_one_below_refused_before_anything_goes(tmp_path):
    (tmp_path / "fill.py").write_text(
        "from pathlib import Path\nfrom tests.unit.cli.test_away import made\nmade(Path('state'))\n"
    )
    (tmp_path / "empty.py").write_text(
        "from pathlib import Path\n"
        "from nova0.cli import state\n"
        "state.refuse_if_not_ours(Path('state'))\n"
        "print(state.remove(Path('state'))[0], list(Path('state').iterdir()))\n"
    )
    script = (
        f"mount -t tmpfs none state && {sys.executable} fill.py && {sys.executable} empty.py && umount state && "
        f"{sys.executable} fill.py && mount -t tmpfs none state/images && "
        f"{sys.executable} -m nova0.cli.main destroy --purge --yes"
    )
    (tmp_path / "state").mkdir()
    repository = str(Path(__file__).parents[3])
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script],
        env={**os.environ, "NOVA0_STATE_PATH": str(tmp_path / "state"), "PYTHONPATH": repository},
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert "it is a mount point []" in done.stdout, done.stderr
    assert done.returncode == 1 and "state/images is a mount point" in done.stderr
    assert (tmp_path / "state/store.sqlite").exists()


def test_a_unit_that_somebody_changed_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(unit, "PATH", tmp_path / "nova0.service")
    monkeypatch.setattr(unit, "runs_systemd", lambda: False)
    monkeypatch.setattr(unit, "_systemctl", lambda *words: None)
    assert unit.disable() == ""
    unit.enable("/opt/nova0/bin/nova0")
    assert unit.is_ours()
    unit.enable("/usr/bin/nova0")  # ours: written anew
    unit.PATH.write_text(unit.PATH.read_text() + "Environment=MINE=1\n")
    with pytest.raises(Failure, match="stays"):
        unit.enable("/usr/bin/nova0")
    assert "kept" in unit.disable() and "MINE" in unit.PATH.read_text()
    unit.PATH.write_text(unit.text("/usr/bin/nova0"))
    assert "removed" in unit.disable() and not unit.PATH.exists()


def test_a_key_goes_with_the_last_cloud_that_uses_it(tmp_path):
    path, states = tmp_path / "home/nova0_ed25519", [made(tmp_path / "a"), made(tmp_path / "b")]
    for one in states:
        ssh_key.ensure(path, caller(), one)
    assert ssh_key.forget(path, caller(), states[0]) == [] and path.exists()
    assert len(ssh_key.forget(path, caller(), states[1])) == 3
    assert list(path.parent.iterdir()) == []


def test_an_entry_of_ours_keeps_what_its_user_added(tmp_path):
    path = tmp_path / "clouds.yaml"
    clouds.merge(path, {"nova0": clouds.entry("http://127.0.0.1:1", "demo", "secret")}, caller())
    more = "region_name: nova0\n    compute_api_version: '2.37'"
    path.write_text(path.read_text().replace("region_name: nova0", more))
    clouds.merge(path, {"nova0": clouds.entry("http://127.0.0.1:2", "demo", "secret")}, caller())
    entry = yaml.safe_load(path.read_text())["clouds"]["nova0"]
    assert (entry["compute_api_version"], entry["auth"]["auth_url"]) == ("2.37", "http://127.0.0.1:2/identity/v3")


class Answers:
    """A cloud with one keypair; remembers what it was told to do."""

    project_id = "p"

    def __init__(self, public_key):
        self.done, self.key = [], public_key

    def get(self, service, path, **query):
        return {"keypairs": [{"keypair": {"name": "nova0", "public_key": self.key}}]}

    def post(self, service, path, body):
        self.done.append(("made", body["keypair"]["public_key"]))

    def delete(self, service, path):
        self.done.append(("deleted", path))


def test_a_keypair_of_somebodys_own_stays():
    theirs = Answers("ssh-ed25519 AAAAtheirs me@laptop")
    assert not seed.keypair(theirs, "ssh-ed25519 AAAAours nova0") and theirs.done == []
    ours = Answers("ssh-ed25519 AAAAbefore nova0")
    assert seed.keypair(ours, "ssh-ed25519 AAAAours nova0")
    assert [what for what, _ in ours.done] == ["deleted", "made"]


def test_an_image_is_not_built_over_files_of_others(tmp_path, capsys):
    (tmp_path / "tiny.json").write_text("[]")
    assert main(["image", "build", "tiny", "--output", str(tmp_path)]) == 1
    assert "tiny.json is there already" in capsys.readouterr().err
    assert (tmp_path / "tiny.json").read_text() == "[]"


def test_names_that_are_no_server_delete_nothing(monkeypatch):
    class Two(Answers):
        def get(self, service, path, **query):
            self.done.append(path)
            if path == "/servers/detail":
                return {"servers": []}
            raise NotFound("no such server")

        def pages(self, service, path, key, **query):
            return [{"id": f"id-{n}", "name": "twin"} for n in range(2)] + [{"id": "id-9", "name": "one"}]

    cloud = Two("")
    monkeypatch.setattr(Cloud, "named", classmethod(lambda cls: cloud))
    for names in (["one", "twin"], ["one", "detail"], ["one", "../servers"], ["one", "missing"]):
        assert main(["rm", *names]) == 1
    assert [what for what in cloud.done if what[0] == "deleted"] == []
    assert "/servers/..%2Fservers" in cloud.done


@pytest.mark.slow
def test_a_host_that_was_put_out_removes_its_guests_only_when_told_to(cluster):
    first, second = cluster
    first.run("evict", "two", "--yes")
    second.wait(lambda: "put out" in second.run("agents", code=None).stderr)
    assert "--without-controller" in second.run("leave", "--yes", code=1).stderr
    assert len(guests(second)) == 1
    assert "put out" in second.run("doctor", code=None).stdout
    second.run("leave", "--without-controller", "--yes")
    assert guests(second) == [] and not (second.state / "mesh").exists() and (second.state / "log").exists()
    first.run("fence", "two", OS_CLOUD="nova0-admin")
    first.run("rm", "there", OS_CLOUD="nova0-admin")
    second.run("join", "-", "--fake", "--daemon", "--host", "two", said=first.run("token").stdout.split()[-1])


@pytest.mark.slow
def test_what_a_user_took_away_is_not_made_again_at_the_next_start(box):
    one = box("closed")
    one.up()
    stored = json.loads((one.state / "role.json").read_text())
    assert stored["seeded"]
    admin = Cloud(clouds.own(one.state, f"http://127.0.0.1:{one.port}", "nova0"), "nova0")
    admin.sign_in()

    def rules():
        return admin.get("network", "/security-group-rules", protocol="tcp")["security_group_rules"]

    for rule in rules():
        admin.delete("network", f"/security-group-rules/{rule['id']}")
    one.run("down")
    one.run("up", "--daemon")
    assert rules() == []
