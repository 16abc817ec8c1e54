"""A stranger without a token asks for one with a list of methods of mixed kinds; another looks at the API meanwhile."""

import threading
import time

import requests

BEFORE = "nobody was answered for 20 s: 58 KB of methods were compared each with each"
NEEDS = ()


def attack(world):
    cloud = world.cloud(hosts=0)
    methods = [one for number in range(5000) for one in (number, str(number))]
    body = {"auth": {"identity": {"methods": methods}}}
    asked = threading.Thread(
        target=lambda: requests.post(f"{cloud.url}/identity/v3/auth/tokens", json=body, timeout=120), daemon=True
    )
    asked.start()
    time.sleep(0.2)  # until it is at work
    begun = time.monotonic()
    other = requests.get(f"{cloud.url}/", timeout=120)
    waited_s = time.monotonic() - begun
    asked.join()
    return other.ok and waited_s < 2, f"the other was answered after {waited_s:.2f} s"
