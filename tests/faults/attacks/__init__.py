"""Attacks on the API's door, a file each: `attack(url, until)` goes on until time.monotonic() is past `until`.

Each runs as a process of its own, without a token, from one address: `python -m tests.faults.attacks NAME URL SECONDS`.
A new file is tried by tests/faults/test_honest_clients.py without being named anywhere.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from urllib.parse import urlsplit


def opened(url: str) -> socket.socket:
    """A connection to the server, that waits 10 s at most."""
    where = urlsplit(url)
    return socket.create_connection((where.hostname or "", where.port or 80), timeout=10)


TURNS_PER_S = 10


def kept(url: str, count: int, until: float, first: bytes, then: bytes = b"", reopened: int = 100) -> None:
    """Hold `count` connections that have sent `first`, and send `then` each second; of those that were closed open
    `reopened` anew each second."""
    held: list[socket.socket] = []
    wanted, turn = count, 0
    while time.monotonic() < until:
        began = time.monotonic()
        turn += 1
        held = [one for one in held if _still_open(one, then if turn % TURNS_PER_S == 0 else b"")]
        for _ in range(min(wanted, count - len(held))):
            try:
                one = opened(url)
                one.sendall(first)
            except OSError:
                break
            held.append(one)
        wanted = reopened // TURNS_PER_S
        time.sleep(max(0.01, 1 / TURNS_PER_S - (time.monotonic() - began)))
    for one in held:
        one.close()


def _still_open(one: socket.socket, then: bytes) -> bool:
    one.setblocking(False)
    try:
        while piece := one.recv(65536):
            del piece
    except BlockingIOError:
        pass
    except OSError:
        one.close()
        return False
    else:
        one.close()
        return False
    try:
        if then:
            one.send(then)
    except BlockingIOError:
        pass
    except OSError:
        one.close()
        return False
    return True


def many(count: int, work: Callable[[int], None]) -> None:
    """`work(number)` in `count` threads."""
    import threading

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(count)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
