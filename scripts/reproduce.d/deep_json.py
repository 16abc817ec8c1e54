"""A stranger asks the API for a token with a body of nested lists, 100,000 deep."""

import requests

BEFORE = "400: refused, nothing else waits"
NEEDS = ()


def attack(world):
    cloud = world.cloud(hosts=0)
    body = b'{"auth":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    answer = requests.post(
        f"{cloud.url}/identity/v3/auth/tokens", data=body, headers={"Content-Type": "application/json"}, timeout=20
    )
    return answer.status_code == 400, f"{answer.status_code} after {answer.elapsed.total_seconds():.2f} s"
