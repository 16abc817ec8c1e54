"""A stranger asks for paths with escape sequences, a bell and a line of their own, as often as one can in 5 s."""

import socket
import time

BEFORE = "ESC, BEL, CR and NUL stood in the log as they were, which grew by 7.3 MB in 5 s"
NEEDS = ()


def attack(world):
    cloud = world.cloud(hosts=0)
    log = cloud.controller.state / "controller.log"
    for path in (b"/\x1b[31m", b"/\x07\x00", b"/\r2026-01-01 00:00:00.000 INFO nova0 all is well", b"/%1b[31m%0d%0a"):
        with socket.create_connection(("127.0.0.1", cloud.port), timeout=10) as one:
            one.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
            one.recv(4096)
    before, until = log.stat().st_size, time.monotonic() + 5
    with socket.create_connection(("127.0.0.1", cloud.port), timeout=10) as one:
        while time.monotonic() < until:
            one.sendall(b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n")
            one.recv(4096)
    grown_kb = (log.stat().st_size - before) / 1024
    raw = sorted({char for char in log.read_text(errors="replace") if not char.isprintable() and char != "\n"})
    return not raw and grown_kb < 200, f"raw characters {raw or 'none'}, grown by {grown_kb:.0f} KB in 5 s"
