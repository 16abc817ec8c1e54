"""The one way a command fails: a line that says what is wrong and what to do about it."""

from __future__ import annotations


class Failure(Exception):
    """Printed as one line on standard error; `code` becomes the exit code (1: failed, 2: wrong usage)."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
