"""2,000 connections that have asked one thing and are kept open."""

from tests.faults.attacks import kept


def attack(url: str, until: float) -> None:
    kept(url, 2000, until, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
