"""A stranger opens 2,000 connections to the API, asks one thing on each and keeps them; then somebody else asks."""

import socket
import time

import requests

BEFORE = "a new client timed out after 30 s; the connections lived for 75 s and could ask again"
NEEDS = ()


def attack(world):
    cloud = world.cloud(hosts=0)
    held = []
    try:
        for _ in range(2000):
            try:
                one = socket.create_connection(("127.0.0.1", cloud.port), timeout=10)
                one.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            except OSError:
                continue
            held.append(one)
        held[-1].recv(4096)  # now all have been let in
        began = time.monotonic()
        status = requests.get(f"{cloud.url}/", timeout=30).status_code
        took_s = time.monotonic() - began
    finally:
        for one in held:
            one.close()
    return status == 200 and took_s < 5, f"{status} after {took_s:.2f} s, from the same address"
