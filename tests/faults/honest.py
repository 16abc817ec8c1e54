"""Honest clients of a cloud: what they wait for an answer, alone and beside an attack.

`python -m tests.faults.honest URL TOKEN SECONDS [CLIENTS]` prints {"answers", "failed", "p50_s", "p99_s", "worst_s"};
each client keeps a connection, asks about once a second, and opens a new one for each fourth question. As HTTP has it
(RFC 9112, 9.3.1), what is asked over a kept connection that was closed meanwhile is asked again over a new one.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import http.client  # noqa: E402
import json  # noqa: E402
import random  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402
from urllib.parse import urlsplit  # noqa: E402

import gevent  # noqa: E402

REPO = Path(__file__).resolve().parents[2]
CLIENTS = 64
WARM_UP_S = 5.0  # until an attack has opened what it opens
PATHS = ("/v2.1/servers?limit=10", "/v2.1/flavors", "/network/v2.0/networks", "/identity/v3/auth/catalog", "/")


def measured(url: str, token: str, seconds: float, clients: int = CLIENTS) -> dict[str, Any]:
    """What honest clients of another process waited, in seconds."""
    words = [sys.executable, "-m", "tests.faults.honest", url, token, str(seconds), str(clients)]
    done = subprocess.run(words, cwd=REPO, capture_output=True, text=True, timeout=seconds + 120, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def beside(name: str, url: str, token: str, seconds: float) -> dict[str, Any]:
    """The same while an attack of tests/faults/attacks runs in a third process, on its way for a while before."""
    words = [sys.executable, "-m", "tests.faults.attacks", name, url, str(seconds + 20)]
    attacker = subprocess.Popen(words, cwd=REPO, stdout=subprocess.PIPE)
    try:
        assert attacker.stdout is not None
        attacker.stdout.readline()
        gevent.sleep(WARM_UP_S)
        found = measured(url, token, seconds)
        assert attacker.poll() is None, f"the attack {name} ended early"
        return found
    finally:
        attacker.kill()
        attacker.communicate()


def attacks() -> list[str]:
    """All there are."""
    return sorted(path.stem for path in (REPO / "tests/faults/attacks").glob("[a-z]*.py"))


def main(url: str, token: str, seconds: float, clients: int) -> dict[str, Any]:
    where = urlsplit(url)
    until, waited, failed = time.monotonic() + seconds, [], []

    def connect() -> http.client.HTTPConnection:
        return http.client.HTTPConnection(where.hostname or "", where.port, timeout=30)

    def ask(connection: http.client.HTTPConnection, path: str) -> None:
        connection.request("GET", path, headers={"X-Auth-Token": token})
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise ValueError(f"status {answer.status}")

    def client(number: int) -> None:
        chance = random.Random(number)
        gevent.sleep(chance.random())
        kept, asked = connect(), 0
        while time.monotonic() < until:
            path, began = PATHS[(number + asked) % len(PATHS)], time.monotonic()
            asked += 1
            try:
                try:
                    ask(kept, path)
                except (ConnectionError, http.client.RemoteDisconnected):
                    if asked % 4 == 1:  # it was a new one
                        raise
                    kept = connect()
                    ask(kept, path)
            except (OSError, ValueError, http.client.HTTPException) as error:
                failed.append(f"{type(error).__name__}: {error}")
                kept = connect()
            waited.append(time.monotonic() - began)
            if asked % 4 == 0:
                kept.close()
                kept = connect()
            gevent.sleep(0.5 + chance.random())

    gevent.joinall([gevent.spawn(client, number) for number in range(clients)])
    waited.sort()
    return {
        "answers": len(waited),
        "failed": failed[:5],
        "p50_s": waited[len(waited) // 2],
        "p99_s": waited[min(len(waited) - 1, int(len(waited) * 0.99))],
        "worst_s": waited[-1],
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], float(sys.argv[3]), int((*sys.argv, CLIENTS)[4]))))
