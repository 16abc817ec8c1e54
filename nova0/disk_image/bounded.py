"""Runs a program that reads what strangers wrote, within bounds of time, memory and what it may write."""

from __future__ import annotations

import shutil
import subprocess

MOST_S = 60.0  # of the clock
MOST_CPU_S = 30
MOST_MEMORY_BYTES = 1024**3
MOST_FILE_BYTES = 256 * 1024**2  # the tables of the largest disk that may be made


class TookTooMuch(Exception):
    """The program was ended at a bound; the message says at which."""


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Its outcome and what it said. Raises TookTooMuch; FileNotFoundError where the program is not installed."""
    if shutil.which(command[0]) is None:
        raise FileNotFoundError(command[0])
    limits = [
        f"--cpu={MOST_CPU_S}",
        f"--as={MOST_MEMORY_BYTES}",
        f"--fsize={MOST_FILE_BYTES}",
        "--core=0",
    ]
    bounded = ["prlimit", *limits, "--", "setpriv", "--no-new-privs", "--", *command]
    try:
        done = subprocess.run(
            bounded, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=MOST_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise TookTooMuch(f"{command[0]} took over {MOST_S:.0f} s") from None
    if done.returncode < 0:
        raise TookTooMuch(
            f"{command[0]} took over {MOST_CPU_S} s of processor time, or wrote over {MOST_FILE_BYTES // 1024**2} MiB"
        )
    return done
