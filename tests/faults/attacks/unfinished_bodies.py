"""300 connections, each with a body that lacks its last byte: of 1 MB, or the most that is read without a token."""

from tests.faults.attacks import kept, many

HEAD = (
    "POST /identity/v3/auth/tokens HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
)


def attack(url: str, until: float) -> None:
    def send(number: int) -> None:
        size = (1_000_000, 262_144)[number]
        kept(url, 150, until, (HEAD % size).encode() + b" " * (size - 1))

    many(2, send)
