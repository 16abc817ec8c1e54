"""A member says a version and a detail with escape sequences and line ends; somebody runs `nova0 agents`."""

import contextlib
import io
from types import SimpleNamespace

from nova0.cli import main, mesh_door

BEFORE = "the terminal took the sequences, and a line of the member's making stood in the table"
NEEDS = ()
EVIL = "0.1\x1b[2J\nlab1/controller  up\x9b32m"


def attack(world):
    member = {
        "node": "lab9/host",
        "status": "up",
        "roles": ["member"],
        "topics": [],
        "address": "192.0.2.9:1",
        "version": EVIL,
        "protocol": 2,
        "beat_age_s": 0.1,
        "detail": EVIL,
        "quarantine": "",
        "host": "lab9",
    }
    mesh_door.local_node = lambda args: contextlib.nullcontext(SimpleNamespace(members=lambda: [member]))
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        main.main(["agents"])
    shown = said.getvalue()
    held = "\x1b" not in shown and "\x9b" not in shown and shown.count("\n") == 2
    return held, f"{shown.count(chr(10))} lines, the last: {shown.splitlines()[-1]!r}"
