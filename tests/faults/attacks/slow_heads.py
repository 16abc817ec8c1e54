"""500 connections whose headers come a few bytes a second."""

from tests.faults.attacks import kept


def attack(url: str, until: float) -> None:
    kept(url, 500, until, b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ", b"a")
