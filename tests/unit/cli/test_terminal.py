"""What commands print of other machines' and guests' words: no escape sequence, no line of their making."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import re
import select
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from nova0.cli import cloud as clouds
from nova0.cli import commands, main, mesh_door, output, servers, settings, terminal
from nova0.cli.commands import top, watch
from nova0.mesh.errors import RemoteError

REPO = Path(__file__).resolve().parents[3]
EVIL = "lab9\x1b]0;owned\x07\x1b[2J\n\x9b31mlab1  up\r\u2028\u202e\x7f"
STEERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def member(**more):
    return {"node": EVIL, "host": EVIL, "status": "up", "roles": [EVIL], "topics": [EVIL], "address": EVIL, "load": 0,
            "version": EVIL, "protocol": 2, "beat_age_s": 0.1, "detail": EVIL, "quarantine": EVIL} | more  # fmt: skip


@pytest.fixture
def mesh(monkeypatch):
    """A node whose every word is the attacker's."""
    events = [
        {"event": "member", "node": EVIL, "was": "up", "status": "down", "detail": EVIL},
        {"event": "cast", "publisher": EVIL, "topic": EVIL, "method": "m", "arguments": {"a": EVIL}},
        {"event": EVIL, EVIL: EVIL},
    ]
    node = SimpleNamespace(
        members=lambda: [member()],
        watch=lambda: iter(events),
        call=lambda *words, **more: EVIL,
        everyone=lambda *words: [{"node": EVIL, "error": EVIL}],
        describe=lambda agent: [],
    )

    @contextlib.contextmanager
    def local(args):
        yield node

    monkeypatch.setattr(mesh_door, "local_node", local)
    return node


@pytest.mark.parametrize(
    "words, lines",
    [
        (["agents"], 2),
        (["agents", "--json"], None),
        (["watch"], 3),
        (["watch", "--json"], 3),
        (["call", "compute@lab9", "inspect", "uuid=x"], None),
        (["top", "--once", "--interval", "0.1"], 2),
        (["top", "--once", "--json", "--interval", "0.1"], 1),
    ],
)
def test_words_of_another_machine_are_written_out(mesh, capsys, words, lines):
    assert main.main(words) == 0
    said = capsys.readouterr().out
    assert not STEERS.search(said) and "lab9\\u001b" in said
    assert lines is None or said.count("\n") == lines, said
    if "--json" in words:
        for document in said.splitlines() if words[0] != "agents" else [said]:
            assert EVIL in json.dumps(json.loads(document), ensure_ascii=False) or json.loads(document)


def test_json_reads_back_as_what_was_said(mesh, capsys):
    main.main(["agents", "--json"])
    assert json.loads(capsys.readouterr().out)[0]["node"] == EVIL


def test_an_error_of_another_machine_is_one_line(mesh, capsys, monkeypatch):
    def fail(*words, **more):
        raise RemoteError(EVIL)

    monkeypatch.setattr(mesh, "call", fail)
    assert main.main(["call", "compute@lab9", "inspect", "uuid=x"]) == 1
    said = capsys.readouterr().err
    assert not STEERS.search(said) and said.count("\n") == 1


@pytest.fixture
def console(monkeypatch):
    wrote = "boot\r\n\x1b[31mroot login:\x1b[0m\r\nlone\rover\x07\r\n"
    monkeypatch.setattr(settings, "load", lambda args: None)
    monkeypatch.setattr(clouds.Cloud, "named", classmethod(lambda cls: None))
    monkeypatch.setattr(servers, "find", lambda cloud, name: {"id": "1", "name": name})
    monkeypatch.setattr(servers, "console", lambda cloud, id, lines=None: wrote)
    return wrote


def test_a_guests_console_is_shown_with_its_escape_sequences_written_out(console, capsys):
    assert main.main(["log", "first"]) == 0
    said = capsys.readouterr().out
    assert said == "boot\n\\u001b[31mroot login:\\u001b[0m\nlone\\u000dover\\u0007\n"


def test_raw_gives_a_guests_console_as_it_is(console, capsys):
    assert main.main(["log", "first", "--raw"]) == 0
    assert capsys.readouterr().out == console


def test_on_a_terminal_tables_and_moving_lines_hold_only_our_own_sequences():
    """Drawn by rich on a real terminal: its own colours are there, the attacker's title and clearing are not."""
    program = f"""
import sys
from nova0.cli import output, terminal
evil = {EVIL!r}
with terminal.guarded():
    output.show_table(["NODE", "STATUS"], [[evil, "up"], [evil, evil]])
    progress = output.Progress()
    progress.stage(evil, evil)
    progress.end()
    print(evil)
"""
    leader, follower = pty.openpty()
    done = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.DEVNULL, stdout=follower, stderr=follower, cwd=REPO,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "400"},
    )  # fmt: skip
    os.close(follower)
    said = b""
    with contextlib.suppress(OSError):  # its end, once nobody has the terminal open
        while select.select([leader], [], [], 20)[0] and (piece := os.read(leader, 65536)):
            said += piece
    done.kill()
    assert done.wait(30) == 0, said
    os.close(leader)
    text = said.decode()
    assert "\x1b[32m" in text, "a terminal gets colours"
    assert "\x07" not in text and "\x1b]" not in text and "\x1b[2J" not in text and "\x9b" not in text
    assert "lab9\\u001b]0;owned\\u0007" in text


def test_the_live_table_of_top_holds_no_sequence_of_others():
    row = {name: EVIL for name in ("node", "status", "address", "version", "detail", "error")} | {"roles": [EVIL]}
    numbers = ("load", "calls_per_s", "asked_per_s", "casts_per_s", "gaps", "reconnects", "p50_ms", "p99_ms",
               "bytes_per_s")  # fmt: skip
    table = {"at": 0, "from": EVIL, "nodes": [row | dict.fromkeys(numbers)]}
    from rich.console import Console

    out = io.StringIO()
    Console(file=out, width=600).print(top._picture(table, SimpleNamespace(sort="node")))
    assert not STEERS.search(out.getvalue()) and "lab9\\u001b" in out.getvalue()


def test_a_node_whose_numbers_make_no_sense_leaves_the_table_of_top_to_the_others():
    sound = {"answered": 1, "asked": 1, "failed": 0, "casts_sent": 0, "casts_heard": 0, "bytes_in": 1, "bytes_out": 1,
             "load": 0, "gaps": 0, "reconnects": 0, "stalls": 0, "up_s": 5.0, "at_s": 5.0, "buckets": [1] * 3,
             "asked_buckets": [1] * 3}  # fmt: skip
    later = sound | {"up_s": 6.0, "at_s": 6.0}
    for wrong in ({"buckets": [1]}, {"at_s": "x"}, {"answered": None}, {"at_s": float("nan")}, {}):
        shown = top.row_or_why(member(), {"answer": sound}, {"answer": later | wrong})
        assert len(top.cells(shown)) == len(top.COLUMNS)
    assert "no sense" in top.row_or_why(member(), {"answer": sound}, {"answer": {"load": 1}})["error"]


def test_an_event_is_one_line():
    said = terminal.cell(watch.line({"event": "member", "node": EVIL, "was": "up", "status": "down", "detail": EVIL}))
    assert "\n" not in said and not STEERS.search(said)


def test_names_that_look_alike_are_told_apart(capsys):
    """threat: a character that no terminal shows, in a name like another's."""
    names = ["lab1", "lab\u200b1", "\ufefflab1", "lab1\u2063", "lab1\u3164", "lab1\U000e0031", "la\u00adb1"]
    with terminal.guarded():
        for name in names:
            print(name)
        output.show_json(names)
        output.show_table(["A"], [[name] for name in names])
    said = capsys.readouterr().out
    assert said.isascii() and len(set(said.splitlines()[:7])) == 7
    assert json.loads(said[said.index("[") : said.index("]") + 1]) == names


def test_a_name_that_is_no_text_is_printed_all_the_same(capsys):
    with terminal.guarded():
        print("disk \udcff")
        output.show_table(["A"], [["\udcff"]])
    assert capsys.readouterr().out == "disk \\udcff\nA\n\\udcff\n"


def test_every_command_prints_through_the_guard():
    """No command writes to a descriptor or a raw stream, but those that carry bytes or draw."""
    allowed = {"log.py", "top.py"}
    for path in Path(commands.__path__[0]).glob("*.py"):
        text = path.read_text()
        assert path.name in allowed or not re.search(r"terminal\.raw|__stdout__|\.buffer|os\.write", text), path.name
