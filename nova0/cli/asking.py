"""Asking before something is lost."""

from __future__ import annotations

import sys

from nova0.cli.failure import Failure


def confirm(question: str, yes: bool) -> None:
    """Ask on a terminal; `yes`: it was answered on the command line. Raises Failure without a yes: of wrong
    usage (2) where nobody can be asked."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Failure(f"{question} Say --yes", code=2)
    try:
        answer = input(f"{question} [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise Failure("nothing was done")
