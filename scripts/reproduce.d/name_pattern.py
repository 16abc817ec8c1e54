"""A reader asks for servers whose name fits a regular expression that backtracking never ends; another asks beside."""

import threading
import time
from urllib.parse import quote

import requests

BEFORE = "a*a*a*a*x held everybody for over 100 s, until the controller was killed"
NEEDS = ()


def attack(world):
    cloud = world.cloud(hosts=1)
    network = cloud.session.get(f"{cloud.url}/network/v2.0/networks").json()["networks"][0]["id"]
    server = {
        "name": "a" * 255, "imageRef": cloud.image, "flavorRef": "42", "networks": [{"uuid": network}],
    }  # fmt: skip
    made = cloud.session.post(f"{cloud.url}/v2.1/servers", json={"server": server}, timeout=30)
    headers = dict(cloud.session.headers)
    said = []

    def ask(pattern):
        url = f"{cloud.url}/v2.1/servers?name={quote(pattern)}"
        said.append(requests.get(url, headers=headers, timeout=60).status_code)

    patterns = ["a*a*a*a*x", "(a|a|b?)*(a|b)*x", "(a+)+x", r"(a)\1", "((a?b?){30}){30}x"]
    asked = [threading.Thread(target=ask, args=(pattern,), daemon=True) for pattern in patterns]
    for one in asked:
        one.start()
    begun, worst_s = time.monotonic(), 0.0
    while time.monotonic() - begun < 3:
        before = time.monotonic()
        requests.get(f"{cloud.url}/v2.1/servers", headers=headers, timeout=60)
        worst_s = max(worst_s, time.monotonic() - before)
    for one in asked:
        one.join(5)
    held = made.status_code == 202 and worst_s < 2 and sorted(said) == [200, 200, 200, 400, 400]
    return held, f"answers {sorted(said)}; another's list took {worst_s:.2f} s at most"
