"""A stranger holds 300 connections, each with 1 MB of a body that never ends."""

import socket
from pathlib import Path

import requests

BEFORE = "the controller's memory went from 107 to 396 MB, and 2,000 such connections were possible"
NEEDS = ()
MOST_MB = 80


def attack(world):
    cloud = world.cloud(hosts=0)
    pid = cloud.controller.child.pid

    def resident_mb():
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024

    before, held = resident_mb(), []
    head = (
        b"POST /identity/v3/auth/tokens HTTP/1.1\r\nHost: x\r\n"
        b"Content-Type: application/json\r\nContent-Length: 1000000\r\n\r\n"
    )
    try:
        for _ in range(300):
            one = socket.create_connection(("127.0.0.1", cloud.port), timeout=10)
            held.append(one)
            try:
                one.sendall(head + b" " * 999_999)
            except OSError:
                continue  # it was refused meanwhile
        status = requests.get(f"{cloud.url}/", timeout=30).status_code
        after = resident_mb()
    finally:
        for one in held:
            one.close()
    return status == 200 and after - before < MOST_MB, f"from {before:.0f} to {after:.0f} MB, others get {status}"
