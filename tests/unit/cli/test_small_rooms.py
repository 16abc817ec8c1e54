"""Range, key, TLS, options, arguments: the small decisions commands rest on."""

from __future__ import annotations

import json
import ssl
import stat
import subprocess

import pytest

from nova0.cli import free_range, mesh_door, output, role, ssh_key
from nova0.cli.commands import token
from nova0.cli.failure import Failure
from nova0.cli.main import main
from nova0.cli.person import Person, caller
from nova0.controller import tls

ROUTES = """\
Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT
eth0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t0000500A\t00000000\t0001\t0\t0\t0\t0000F8FF\t0\t0\t0
"""


def test_the_first_network_avoids_what_the_machine_reaches(tmp_path):
    (tmp_path / "route").write_text(ROUTES)  # 10.80.0.0/13 is taken
    (tmp_path / "resolv.conf").write_text("nameserver 10.88.0.53\n")
    taken = free_range.routed_here(tmp_path / "route", tmp_path / "resolv.conf")
    assert str(free_range.choose(taken)) == "10.89.0.0/24"


def test_no_range_left_is_said():
    everything = [
        free_range.Network("10.0.0.0/8"),
        free_range.Network("172.16.0.0/12"),
        free_range.Network("192.168.0.0/16"),
    ]
    with pytest.raises(Failure, match="openstack network create"):
        free_range.choose(everything)


def test_the_key_is_made_once_and_ssh_reads_it(tmp_path):
    path = tmp_path / "ssh/nova0_ed25519"
    line = ssh_key.ensure(path, caller(), tmp_path)
    assert line.startswith("ssh-ed25519 ") and ssh_key.ensure(path, caller(), tmp_path) == line
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (path.parent / "nova0_ed25519.pub").read_text().strip() == line
    shown = subprocess.run(["ssh-keygen", "-y", "-f", path], capture_output=True, text=True)
    if shown.returncode == 0:
        assert shown.stdout.split()[:2] == line.split()[:2]


def test_tls_files_serve_and_are_trusted_by_the_ca(tmp_path):
    import socket
    import threading

    files = tls.ensure(tmp_path, ["127.0.0.1"])
    assert stat.S_IMODE(files.key.stat().st_mode) == 0o600
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(files.certificate, files.key)
    listener = socket.create_server(("127.0.0.1", 0))

    def answer():
        connection, _ = listener.accept()
        with server.wrap_socket(connection, server_side=True) as wrapped:
            wrapped.sendall(b"hello")

    thread = threading.Thread(target=answer)
    thread.start()
    client = ssl.create_default_context(cafile=str(files.ca))
    with (
        socket.create_connection(listener.getsockname()) as plain,
        client.wrap_socket(plain, server_hostname="127.0.0.1") as wrapped,
    ):
        assert wrapped.recv(5) == b"hello"
    thread.join()
    listener.close()


def test_tls_keeps_its_ca_and_renews_for_a_new_name(tmp_path):
    first = tls.ensure(tmp_path, ["10.0.0.1"])
    ca, certificate = first.ca.read_bytes(), first.certificate.read_bytes()
    assert tls.ensure(tmp_path, ["10.0.0.1"]).certificate.read_bytes() == certificate
    again = tls.ensure(tmp_path, ["10.0.0.2"])
    assert again.ca.read_bytes() == ca and again.certificate.read_bytes() != certificate


def test_call_arguments_are_json_where_they_parse_else_text():
    assert mesh_door.arguments(["a=1", "b=true", 'c={"d":[2]}', "e=plain", "f="]) == {
        "a": 1, "b": True, "c": {"d": [2]}, "e": "plain", "f": "",
    }  # fmt: skip
    with pytest.raises(Failure, match="key=value") as caught:
        mesh_door.arguments(["oops"])
    assert caught.value.code == 2
    assert mesh_door.agent_name("compute@lab1") == "compute@lab1"
    with pytest.raises(Failure, match="TOPIC@HOST"):
        mesh_door.agent_name("@lab1")


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("15m", 900), ("1h", 3600), ("7d", 604800)])
def test_times_for_people(text, seconds):
    assert token.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "1", "h", "-1h", "1.5h", "0s"])
def test_wrong_times_are_refused(text):
    with pytest.raises(Failure, match="number and s, m, h or d"):
        token.seconds(text)


def test_ages_for_people():
    assert [output.age(s) for s in (None, 0.42, 42, 200, 7300, 200000)] == ["-", "0.4 s", "42 s", "3 min", "2 h", "2 d"]


def test_a_table_in_a_pipe_is_plain_columns(capsys):
    output.show_table(["A", "LONG"], [["one", 1], ["three", None]])
    assert capsys.readouterr().out.splitlines() == ["A      LONG", "one    1", "three"]


@pytest.mark.covers("S050", "S052")
def test_config_show_lists_every_option_with_value_and_origin(tmp_path, monkeypatch, capsys):
    (tmp_path / "nova0.conf").write_text("[DEFAULT]\nhost = lab7\n[api]\nosapi_listen_port = 18774\n")
    monkeypatch.setenv("NOVA0_LOG_LEVEL", "DEBUG")
    assert main(["config", "show", "--json", "--config-file", str(tmp_path / "nova0.conf")]) == 0
    rows = {row["option"]: row for row in json.loads(capsys.readouterr().out)}
    assert (rows["DEFAULT.host"]["value"], rows["DEFAULT.host"]["from"]) == ("lab7", str(tmp_path / "nova0.conf"))
    assert rows["api.osapi_listen_port"]["value"] == 18774
    assert (rows["DEFAULT.log_level"]["value"], rows["DEFAULT.log_level"]["from"]) == (
        "DEBUG", "environment NOVA0_LOG_LEVEL",
    )  # fmt: skip
    assert rows["DEFAULT.compute_driver"]["from"] == "default"


@pytest.mark.covers("S049")
def test_absent_configuration_files_are_no_error(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert main(["config", "show"]) == 0


def test_a_damaged_configuration_names_the_file(tmp_path, capsys):
    (tmp_path / "nova0.conf").write_text("this is no option\n")
    assert main(["config", "show", "--config-file", str(tmp_path / "nova0.conf")]) == 1
    assert "nova0.conf" in capsys.readouterr().err


def test_the_role_is_kept_and_the_persons_environment_wins(tmp_path, monkeypatch):
    role.save(tmp_path / "state", role.Role(runs=["host"], environment={"NOVA0_HOST": "lab2", "NOVA0_X": "1"}))
    stored = role.load(tmp_path / "state")
    assert stored is not None and stored.runs == ["host"]
    monkeypatch.setenv("NOVA0_X", "2")
    environment = stored.for_children(tmp_path / "state")
    assert (environment["NOVA0_HOST"], environment["NOVA0_X"]) == ("lab2", "2")
    assert environment["NOVA0_FROM_UP"] == "NOVA0_HOST"


def test_a_damaged_role_names_the_file(tmp_path):
    role.path_of(tmp_path).write_text("{")
    with pytest.raises(Failure, match=r"role\.json is damaged"):
        role.load(tmp_path)


def test_people_without_a_home_keep_their_files_beside_the_state(tmp_path):
    nobody = Person("nobody", 65534, 65534, tmp_path / "nonexistent")
    assert ssh_key.path_of(nobody, tmp_path) == tmp_path / "ssh/nova0_ed25519"


def test_enable_without_systemd_says_what_to_do(monkeypatch, capsys):
    from nova0.cli import unit

    monkeypatch.setattr(unit, "runs_systemd", lambda: False)
    assert main(["enable"]) == 1
    assert "`nova0 up`" in capsys.readouterr().err


def test_the_unit_leaves_guests_alone_when_it_stops():
    from nova0.cli import unit

    text = unit.text("/opt/nova0/bin/nova0")
    assert "ExecStart=/opt/nova0/bin/nova0 up\n" in text and "KillMode=process\n" in text
