"""The line for each request: few for strangers, and none with a secret."""

import logging

import pytest

from nova0.controller.api import access_log
from nova0.controller.api.connections import Connections


@pytest.fixture
def noted(caplog):
    caplog.set_level(logging.INFO, "nova0.api.access")
    log, table = access_log.AccessLog(), Connections(100, 100)

    def note(address="10.0.0.1", known=False, line="GET / HTTP/1.1", times=1):
        connection = table.admit((address, 5), None)
        connection.known = known
        before = len(caplog.records)
        for _ in range(times):
            log.note(connection, line, 200, 10, 1.0)
        table.remove(connection)
        return [record.getMessage() for record in caplog.records[before:]]

    return note


def test_a_stranger_gets_a_few_lines_and_the_rest_is_counted(noted, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(access_log.time, "monotonic", lambda: now[0])
    assert len(noted(times=1000)) == 100
    assert len(noted("10.0.0.2", times=10)) == 10, "each address has its own"
    assert len(noted(known=True, times=200)) == 200
    now[0] += 1
    lines = noted(times=1000)
    assert len(lines) == 5
    assert "900 more from there are left out" in lines[0]


def test_its_memory_is_bounded(noted):
    for number in range(5000):
        noted(f"10.0.{number // 250}.{number % 250}")


@pytest.mark.parametrize(
    "line",
    [
        "GET /v2.1/servers?token=hush HTTP/1.1",
        "GET /v2.1/servers?a=b&X-Auth-Token=hush&c=d HTTP/1.1",
        "GET /v2.1/servers?adminPass=hush HTTP/1.1",
        "GET /v2.1/servers?user_data=hush HTTP/1.1",
        f"GET /v2.0/tokens/hush{'a' * 80} HTTP/1.1",
        f"GET /v2.1/servers?name=gAAAAA{'b' * 30}hush{'a' * 80} HTTP/1.1",
        f"GET /{'x/' * 2000}?token=hush HTTP/1.1",
    ],
)
def test_what_may_be_a_secret_is_not_shown(noted, line):
    (shown,) = noted(line=line)
    assert "hush" not in shown
    assert len(shown) < 700


def test_ids_and_filters_are_shown(noted):
    line = "GET /v2.1/servers/01234567-89ab-cdef-0123-456789abcdef?name=web&limit=5 HTTP/1.1"
    assert line in noted(line=line)[0]
