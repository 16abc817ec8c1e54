"""clouds.yaml: entries come and go, everything else of the user's file stays to the letter."""

from __future__ import annotations

import os
import stat

import pytest

from nova0.cli import clouds
from nova0.cli.failure import Failure
from nova0.cli.person import caller

OURS = clouds.entry("http://127.0.0.1:8774", "demo", "secret")
THEIRS = """\
# my clouds
clouds:
  work:          # the big one
    auth: {auth_url: "https://cloud.example/v3", username: "me", password: 'p:w#1'}
    region_name: here
cache:
  expiration_time: 3600   # an hour
"""


def test_a_new_file_is_for_its_owner_only(tmp_path):
    path = tmp_path / "config/openstack/clouds.yaml"
    assert clouds.merge(path, {"nova0": OURS}, caller())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "nova0" in path.read_text()


def test_merging_keeps_comments_quotes_and_order(tmp_path):
    path = tmp_path / "clouds.yaml"
    path.write_text(THEIRS)
    clouds.merge(path, {"nova0": OURS}, caller())
    merged = path.read_text()
    for line in THEIRS.splitlines():
        assert line in merged.splitlines(), line
    assert "auth_url: http://127.0.0.1:8774/identity/v3" in merged


def test_taking_ours_out_gives_their_file_back(tmp_path):
    path = tmp_path / "clouds.yaml"
    path.write_text(THEIRS)
    clouds.merge(path, {"nova0": OURS, "nova0-admin": OURS}, caller())
    assert clouds.merge(path, {"nova0": None, "nova0-admin": None}, caller())
    assert path.read_text() == THEIRS


def test_a_file_that_held_only_ours_goes_with_them(tmp_path):
    path = tmp_path / "clouds.yaml"
    clouds.merge(path, {"nova0": OURS}, caller())
    assert clouds.merge(path, {"nova0": None}, caller())
    assert not path.exists()


def test_nothing_to_change_writes_nothing(tmp_path):
    path = tmp_path / "clouds.yaml"
    clouds.merge(path, {"nova0": OURS}, caller())
    before = path.stat().st_ino
    assert not clouds.merge(path, {"nova0": OURS}, caller())
    assert path.stat().st_ino == before
    assert not clouds.merge(tmp_path / "absent.yaml", {"nova0": None}, caller())
    assert not (tmp_path / "absent.yaml").exists()


@pytest.mark.parametrize("damaged", ["clouds: [a\n", "clouds: 3\n", "- a list\n"])
def test_a_file_that_is_no_clouds_yaml_is_left_alone(tmp_path, damaged):
    path = tmp_path / "clouds.yaml"
    path.write_text(damaged)
    with pytest.raises(Failure, match="correct or move it"):
        clouds.merge(path, {"nova0": OURS}, caller())
    assert path.read_text() == damaged


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real.yaml").write_text(THEIRS)
    (tmp_path / "clouds.yaml").symlink_to("real.yaml")
    clouds.merge(tmp_path / "clouds.yaml", {"nova0": OURS}, caller())
    assert (tmp_path / "clouds.yaml").is_symlink() and "nova0" in (tmp_path / "real.yaml").read_text()


def test_the_entry_is_found_where_clients_look(tmp_path, monkeypatch):
    path = tmp_path / "clouds.yaml"
    clouds.merge(path, {"nova0": OURS}, caller())
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(path))
    assert clouds.find("nova0")["auth"]["username"] == "demo"
    monkeypatch.delenv("OS_CLIENT_CONFIG_FILE")
    monkeypatch.chdir(tmp_path)
    assert clouds.find("nova0")["auth"]["username"] == "demo"


def test_no_entry_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.delenv("OS_CLIENT_CONFIG_FILE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Failure, match="nova0 up"):
        clouds.find("nova0")


@pytest.mark.root
def test_under_sudo_the_file_is_the_callers(tmp_path, monkeypatch):
    import pwd

    someone = next(entry for entry in pwd.getpwall() if entry.pw_uid not in (0, os.geteuid()))
    monkeypatch.setenv("SUDO_UID", str(someone.pw_uid))
    person = caller()
    assert person.name == someone.pw_name and str(person.home) == someone.pw_dir
    path = tmp_path / "home/.config/openstack/clouds.yaml"
    clouds.merge(path, {"nova0": OURS}, person)
    for made in (path, path.parent, path.parent.parent):
        assert made.stat().st_uid == someone.pw_uid
