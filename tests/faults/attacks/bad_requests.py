"""20 connections that send what is no request, over and over."""

import time

from tests.faults.attacks import many, opened

FORMS = (
    b"GET /\x1b[31m HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
)


def attack(url: str, until: float) -> None:
    def send(number: int) -> None:
        while time.monotonic() < until:
            try:
                with opened(url) as one:
                    one.sendall(FORMS[number % len(FORMS)])
                    while one.recv(4096):
                        pass
            except OSError:
                pass
            time.sleep(0.2)

    many(20, send)
