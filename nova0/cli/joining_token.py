"""A join token as commands read and print it: never on a command line, which every user of a machine sees."""

from __future__ import annotations

import sys
from pathlib import Path

from nova0.cli.failure import Failure

MOST = 16_384  # characters; a token has some hundred


def line(token: str) -> str:
    """What joins another machine, to be pasted into a shell there (a here-string is the shell's own, on no command
    line)."""
    return f"nova0 join - <<< {token}"


def read(word: str, file: str | None) -> str:
    """The token from a file, or standard input (a terminal asks for it, unseen). Raises Failure."""
    if word != "-":
        raise Failure(
            "a token on a command line is seen by every user of this machine: `nova0 join -` reads it from standard "
            "input, `--token-file FILE` from a file. Others may have seen this one: make a new one (`nova0 token`)",
            code=2,
        )
    if file is not None:
        try:
            with Path(file).open() as opened:
                token = opened.read(MOST)
        except (OSError, UnicodeDecodeError) as error:
            raise Failure(f"--token-file {file}: {getattr(error, 'strerror', None) or error}") from error
    elif sys.stdin is not None and sys.stdin.isatty():
        from getpass import getpass

        token = getpass("token (as `nova0 token` on the controller prints it): ")
    else:
        token = sys.stdin.readline(MOST) if sys.stdin is not None else ""
    token = token.strip()
    if not token:
        raise Failure("no token came: `nova0 join -` reads it from standard input (`nova0 token` makes one)", code=2)
    return token
