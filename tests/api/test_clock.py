"""The clock of the day is a day ahead or behind, at a start or while the controller runs: no token is left valid or
invalid that should not be."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from served import PASSWORD, FakeGuests, FakeHosts, Http

from nova0 import clock
from nova0.controller.api.application import make_app
from nova0.controller.api.server import serve
from nova0.controller.db.identity_tables import RevokedTokenRow
from nova0.controller.db.store import Store
from nova0.controller.identity.bootstrap import bootstrap
from nova0.controller.services import Services

V3, DAY, HOUR = "/identity/v3", 86400.0, 3600.0


class Machine:
    """A controller with a clock of the day that may be set, and time that may be let pass; `restart` with another."""

    def __init__(self, folder, monkeypatch):
        self._folder = folder
        self._time, self._ticks, self._boot = time.time, clock.ticks, clock.boot_id
        self.off, self.passed, self.boots = 0.0, 0.0, 0
        monkeypatch.setattr(time, "time", lambda: self._time() + self.passed + self.off)
        monkeypatch.setattr(clock, "ticks", lambda: self._ticks() + self.passed)
        monkeypatch.setattr(clock, "boot_id", lambda: f"boot{self.boots}")
        self.server = None
        self.start()

    def start(self):
        self.store = Store(self._folder / "store.sqlite")
        bootstrap(self.store, PASSWORD)
        services = Services(
            store=self.store, hosts=FakeHosts(), guests=FakeGuests(), state_dir=self._folder, public_url="http://unset"
        )
        self.server = serve(make_app(services), "127.0.0.1", 0)
        self.url = services.public_url = f"http://127.0.0.1:{self.server.port}"

    def stop(self):
        self.server.stop(within_s=0.2)
        self.store.close()

    def restart(self, off, machine=False):
        """With the clock `off` seconds from the right time; `machine`: as after a restart of the machine."""
        self.stop()
        self.off = off
        self.boots += machine
        self.start()

    def log_in(self, password=PASSWORD):
        user = {"name": "demo", "domain": {"id": "default"}, "password": password}
        scope = {"project": {"name": "demo", "domain": {"id": "default"}}}
        auth = {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}
        answer = Http(self.url).post(V3 + "/auth/tokens", {"auth": auth})
        assert answer.status_code == 201, answer.text
        return SimpleNamespace(text=answer.headers["X-Subject-Token"], user=answer.json()["token"]["user"]["id"])

    def good(self, token):
        answer = Http(self.url, token.text).get(V3 + "/auth/projects").status_code
        assert answer in (200, 401)
        return answer == 200

    def revoke(self, token):
        head = {"X-Subject-Token": token.text}
        assert Http(self.url, token.text).delete(V3 + "/auth/tokens", headers=head).status_code == 204

    def change_password(self, token, old, new):
        body = {"user": {"password": new, "original_password": old}}
        assert Http(self.url).post(f"{V3}/users/{token.user}/password", body).status_code == 204

    def remembered(self):
        return self.store.read(lambda: RevokedTokenRow.select().count())


@pytest.fixture
def machine(tmp_path, monkeypatch):
    made = Machine(tmp_path, monkeypatch)
    yield made
    made.stop()


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("off", [DAY, -DAY, 400 * DAY])
def test_what_was_taken_back_stays_so(machine, off, restarted):
    """threat: a clock that was ahead makes a revoked token good again."""
    token = machine.log_in()
    machine.revoke(token)
    machine.restart(off, restarted)
    assert not machine.good(token)
    machine.revoke(machine.log_in())  # forgets what has ended, by that clock
    machine.restart(0.0)
    assert not machine.good(token)
    machine.revoke(machine.log_in())
    assert not machine.good(token)


@pytest.mark.parametrize("off", [DAY, -DAY])
def test_a_password_changed_under_a_wrong_clock_locks_nobody_out_and_voids_what_it_should(machine, off):
    """threat: after a clock that was ahead a user cannot log in for a day."""
    before = machine.log_in()
    machine.restart(off)
    during = machine.log_in()
    machine.change_password(during, PASSWORD, "another")
    assert not machine.good(during) and machine.good(machine.log_in("another"))
    machine.restart(0.0)
    after = machine.log_in("another")
    assert machine.good(after) and not machine.good(before) and not machine.good(during)
    machine.change_password(after, "another", "third")
    assert not machine.good(after) and machine.good(machine.log_in("third"))


@pytest.mark.parametrize("off", [DAY, -DAY])
def test_a_good_token_outlives_a_wrong_clock(machine, off):
    token = machine.log_in()
    machine.restart(off)
    machine.restart(0.0)
    assert machine.good(token)
    machine.off = off  # set while it runs
    machine.log_in()
    machine.off = 0.0
    assert machine.good(token)


def test_a_token_of_a_clock_that_was_ahead_lives_no_longer_than_others(machine):
    machine.restart(DAY)
    token = machine.log_in()
    assert machine.good(token)
    machine.restart(0.0)
    assert not machine.good(token), "its clock is known to have been wrong"
    for hours in (5, 20, 23.5, 25, 27):
        machine.passed = hours * HOUR
        assert not machine.good(token), f"after {hours} h"


@pytest.mark.parametrize("behind", [HOUR, DAY])
def test_an_expired_token_stays_so_when_the_clock_is_set_back(machine, behind):
    token = machine.log_in()
    machine.passed = 5 * HOUR
    assert not machine.good(token)
    machine.off = -behind
    assert not machine.good(token)
    machine.restart(-behind)
    assert not machine.good(token)
    assert machine.good(machine.log_in())


def test_revocations_are_forgotten_in_time(machine):
    for _ in range(3):
        machine.revoke(machine.log_in())
    assert machine.remembered() == 3
    machine.passed = 5 * HOUR
    machine.revoke(machine.log_in())
    assert machine.remembered() == 1


def test_the_machines_restart_with_a_clock_behind_takes_no_time_back(machine):
    token = machine.log_in()
    machine.passed = 3 * HOUR
    machine.revoke(machine.log_in())
    before = machine.store.clock.now()
    machine.restart(-DAY, machine=True)
    assert machine.store.clock.now() >= before
    machine.restart(0.0)
    machine.passed = 8 * HOUR
    assert not machine.good(token)


def test_a_jump_is_logged(machine, caplog):
    assert machine.store.clock.jumped() == 0.0
    machine.off = DAY
    assert machine.store.clock.jumped() == pytest.approx(DAY, abs=5)
    assert "the clock was moved by +86400 s while this controller runs" in caplog.text
    assert machine.store.clock.jumped() == 0.0, "said once"
    machine.restart(0.0)
    assert "since this store was last open" not in caplog.text.partition("while this controller runs")[0]
