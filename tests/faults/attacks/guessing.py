"""100 connections that guess: half of them one account's password, half an account of another name each time."""

import http.client
import json
import time
from urllib.parse import urlsplit

from tests.faults.attacks import many


def attack(url: str, until: float) -> None:
    where = urlsplit(url)

    def guess(number: int) -> None:
        tried = 0
        while time.monotonic() < until:
            client = http.client.HTTPConnection(where.hostname or "", where.port, timeout=70)
            try:
                while time.monotonic() < until:
                    tried += 1
                    name = "demo" if number % 2 else f"user-{number}-{tried}"
                    user = {"name": name, "domain": {"id": "default"}, "password": f"guess {number} {tried}"}
                    body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}}}
                    client.request(
                        "POST", "/identity/v3/auth/tokens", json.dumps(body), {"Content-Type": "application/json"}
                    )
                    client.getresponse().read()
            except (OSError, http.client.HTTPException):
                time.sleep(0.05)
            finally:
                client.close()

    many(100, guess)
