"""Log-ins that fail: the guesser waits longer and longer, others don't, and nothing tells a user that exists from one
that doesn't."""

import threading
import time

import pytest
import requests
from requests.adapters import HTTPAdapter
from served import PASSWORD, login

from nova0.controller.identity import attempts

TOKENS = "/identity/v3/auth/tokens"


class From(HTTPAdapter):
    """Requests from one address of the loopback interface."""

    def __init__(self, address):
        self.address = address
        super().__init__()

    def init_poolmanager(self, *args, **more):
        super().init_poolmanager(*args, source_address=(self.address, 0), **more)


def sent(cloud, body, address="127.0.0.1", path=TOKENS):
    """(answer, seconds)."""
    session = requests.Session()
    session.trust_env = False
    session.mount("http://", From(address))
    began = time.monotonic()
    answer = session.post(cloud.url + path, json=body, timeout=90)
    return answer, time.monotonic() - began


def fail(cloud, body, times, **more):
    for _ in range(times):
        answer, took_s = sent(cloud, body, **more)
        assert answer.status_code == 401
    return took_s


@pytest.fixture
def user(cloud):
    """A user of this test's own; its name."""
    name = f"user-{time.monotonic_ns()}"
    cloud.new_user(name, "demo", "member")
    return name


@pytest.mark.covers("S036")
def test_after_five_failures_a_log_in_waits_and_others_do_not(cloud, user):
    cloud.new_user("beside", "demo", "member")
    fail(cloud, login(user, "demo", "wrong"), 5)
    assert sent(cloud, login("beside", "demo"))[1] < 1, "another account of the same address"
    assert sent(cloud, login(user, "demo"), address="127.0.0.7")[1] < 1, "the same account from another address"
    answer, took_s = sent(cloud, login(user, "demo", "wrong"))
    assert answer.status_code == 401
    assert 1 <= took_s < 2
    answer, took_s = sent(cloud, login(user, "demo"))
    assert answer.status_code == 201, "the right password is good after its wait"
    assert 2 <= took_s < 3
    assert sent(cloud, login(user, "demo"))[1] < 1, "and ends the waiting"
    assert fail(cloud, login(user, "demo", "wrong"), 5) < 1


def test_the_wait_doubles_up_to_a_minute(monkeypatch):
    waited = []
    judge = attempts.Attempts()
    for _ in range(14):
        with judge.judged("a", "x", lambda event, seconds: waited.append(seconds)):
            pass
    assert waited == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    monkeypatch.setattr(attempts, "FORGOTTEN_AFTER_S", 0)
    time.sleep(0.01)
    with judge.judged("a", "x", lambda event, seconds: waited.append(seconds)):
        pass
    assert len(waited) == 9, "forgotten after a while without a failure"


def test_the_memory_of_attempts_is_bounded(monkeypatch):
    monkeypatch.setattr(attempts, "REMEMBERED_MOST", 100)
    judge, turns = attempts.Attempts(), attempts.Turns(2)
    for number in range(1000):
        with judge.judged(f"a{number}", "x") as attempt, turns.taken(attempt):
            pass
    assert len(judge._records) == 100
    assert len(turns._served) <= 100
    assert not judge._sleeping
    assert not judge._queued


@pytest.mark.covers("S036")
@pytest.mark.slow
def test_a_user_that_does_not_exist_is_told_and_waits_the_same(cloud, user):
    answers, times = {}, {}
    for name in (user, "nobody-of-that-name"):
        body = login(name, "demo", "wrong")
        fail(cloud, body, 5)
        answer, times[name] = sent(cloud, body)
        told = answer.json()
        answers[name] = (answer.status_code, told, answer.headers.get("WWW-Authenticate"))
    assert answers[user] == answers["nobody-of-that-name"]
    assert all(1 <= took_s < 2 for took_s in times.values()), times


@pytest.mark.covers("S036")
@pytest.mark.slow
def test_secrets_of_application_credentials_and_old_passwords_are_guessed_no_faster(cloud, user):
    who = cloud.as_user(user, "demo")
    made = who.post(
        f"/identity/v3/users/{who.user_id}/application_credentials", {"application_credential": {"name": "c"}}
    ).json()["application_credential"]

    def proof(secret):
        identity = {"methods": ["application_credential"]}
        identity["application_credential"] = {"id": made["id"], "secret": secret}
        return {"auth": {"identity": identity}}

    fail(cloud, proof("wrong"), 5)
    answer, took_s = sent(cloud, proof(made["secret"]))
    assert answer.status_code == 201
    assert took_s >= 1

    path = f"/identity/v3/users/{who.user_id}/password"
    fail(cloud, {"user": {"original_password": "wrong", "password": "new one"}}, 5, path=path)
    answer, took_s = sent(cloud, {"user": {"original_password": PASSWORD, "password": "new one"}}, path=path)
    assert answer.status_code == 204
    assert took_s >= 1


def test_more_guesses_than_may_wait_are_told_to_come_later_in_the_services_words(cloud, user):
    fail(cloud, login(user, "demo", "wrong"), 5)
    answers = []
    crowd = [
        threading.Thread(target=lambda: answers.append(sent(cloud, login(user, "demo", "wrong")))) for _ in range(12)
    ]
    for one in crowd:
        one.start()
    deadline = time.monotonic() + 20
    while len(answers) < 8 and time.monotonic() < deadline:
        time.sleep(0.02)
    refused = [(answer, took_s) for answer, took_s in answers if answer.status_code == 429]
    assert len(refused) >= 8 - 1
    for answer, took_s in refused:
        assert answer.json()["error"]["code"] == 429
        assert int(answer.headers["Retry-After"]) >= 1
        assert took_s >= 1, "no faster than a guess"


@pytest.mark.covers("S036")
@pytest.mark.slow
def test_a_good_log_in_is_quick_beside_a_hundred_guesses(cloud, tmp_path):
    """Half of them guess one account's password, half a new name each time: all from the address of the good one."""
    import subprocess
    import sys
    from pathlib import Path

    cloud.new_user("patient", "demo", "member")
    repo = Path(__file__).resolve().parents[2]
    words = [sys.executable, "-m", "tests.faults.attacks", "guessing", cloud.url, "60"]
    attacker = subprocess.Popen(words, cwd=repo, stdout=subprocess.PIPE)
    try:
        attacker.stdout.readline()
        deadline = time.monotonic() + 20
        while cloud.services.extras["attempts"]._sleeping.total() < 1 and time.monotonic() < deadline:
            time.sleep(0.02)
        known = [sent(cloud, login("patient", "demo"))[1] for _ in range(5)]
        strange = [sent(cloud, login("patient", "demo"), address=f"127.0.1.{n}")[1] for n in range(5)]
    finally:
        attacker.kill()
        attacker.communicate()
    print("known here", known, "from elsewhere", strange)
    assert sorted(known)[2] < 1, known
    assert sorted(strange)[2] < 1, strange


def test_a_log_in_that_waits_holds_little_of_what_was_sent(cloud, user):
    """What else stood in the body is not kept while it waits."""
    from nova0.controller.api.identity.auth import _essential

    body = login(user, "demo")["auth"]
    body["identity"]["more"] = body["identity"]["password"]["more"] = [[]] * 1000
    body["identity"]["password"]["user"]["more"] = body["scope"]["project"]["more"] = "x" * 1000
    assert _essential(body) == {
        "identity": {
            "methods": ["password"],
            "password": {"user": {"name": user, "password": PASSWORD, "domain": {"id": "default"}}},
        },
        "scope": {"project": {"name": "demo", "domain": {"id": "default"}}},
    }
    for scope in ("unscoped", {"unscoped": {}}):
        assert _essential(body | {"scope": scope})["scope"] == "unscoped"
    assert _essential(body | {"scope": {"system": {"all": True}}})["scope"] == {"system": {"all": True}}
    assert _essential(body | {"scope": {"domain": {"id": "default"}}})["scope"] == {"domain": {"id": "default"}}


@pytest.mark.slow
def test_passwords_too_long_to_be_right_are_tried_no_faster_than_others(cloud):
    """Else thousands of names that do not exist push what is known of failures out of memory."""
    cloud.as_user("demo", "demo")
    times = {}
    for password in ("wrong", "w" * 5000):
        bodies = [login(f"nobody-{len(password)}-{number}", "demo", password) for number in range(20)]
        times[password] = min(sent(cloud, body)[1] for body in bodies)
    short_s, long_s = times.values()
    assert long_s > short_s / 2
