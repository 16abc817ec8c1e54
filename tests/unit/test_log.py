"""What gets into a log, and what never does: control characters, values of statements, more bytes than allowed."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

from nova0 import log


def run(folder, program, level="INFO", most_bytes=20_000, kept=3, ok=True):
    """A process that logs to folder/x.log; what it wrote there, the oldest first."""
    start = (
        "from gevent import monkey\nmonkey.patch_all()\nimport logging, sys, os, gevent\nfrom nova0 import log\n"
        f"log.setup({level!r}, {str(folder / 'x.log')!r}, most_bytes={most_bytes}, kept={kept})\n"
        "LOG = logging.getLogger('nova0.test')\n"
    )
    words = [sys.executable, "-c", start + textwrap.dedent(program)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert (done.returncode == 0) is ok, done.stderr
    assert not done.stdout + done.stderr, "everything goes to the file"
    return "".join(path.read_text() for path in sorted(folder.glob("x.log*"), reverse=True))


def only_plain(text):
    return all(char.isprintable() or char == "\n" for char in text)


HOSTILE = "\\x1b[31mred\\x07\\r\\n2026-01-01 00:00:00.000 INFO nova0 all is well\\x00\\x9b\\u202e\\u2028\\ud800"


@pytest.mark.parametrize(
    "line",
    [
        f"LOG.info('%s', '{HOSTILE}')",
        f"LOG.info('{HOSTILE}')",
        f"LOG.info('a\\nb %s', '{HOSTILE}')",
        f"try:\n    raise ValueError('{HOSTILE}')\nexcept ValueError:\n    LOG.exception('%s', '{HOSTILE}')",
        f"raise ValueError('{HOSTILE}')",
        f"def f():\n    raise ValueError('{HOSTILE}')\ngevent.spawn(f).join()",
        f"import threading\ndef f():\n    raise ValueError('{HOSTILE}')\nt = threading.Thread(target=f)\n"
        "t.start()\nt.join()",
        f"log.request.set({{'request_id': '{HOSTILE}'}})\nLOG.info('x')",
        f"logging.getLogger('other').warning('%s', '{HOSTILE}')",
    ],
    ids=["argument", "words", "lines", "exception", "end", "greenlet", "thread", "request", "library"],
)
def test_no_control_character_gets_in_and_no_line_is_forged(tmp_path, line):
    text = run(tmp_path, line, ok=not line.startswith("raise"))
    assert "red" in text
    assert only_plain(text)
    assert not [line for line in text.splitlines() if line.startswith("2026-01-01")]
    assert "\\x1b[31mred\\x07\\r" in text


def test_a_traceback_stays_readable(tmp_path):
    text = run(tmp_path, "try:\n    1 / 0\nexcept ZeroDivisionError:\n    LOG.exception('no')")
    first, *lines = text.splitlines()
    assert first.endswith("ERROR nova0.test no")
    assert lines[0] == "    Traceback (most recent call last):"
    assert lines[-1] == "    ZeroDivisionError: division by zero"


def test_what_a_greenlet_was_called_with_is_not_told_when_it_fails(tmp_path):
    text = run(tmp_path, "def f(secret):\n    raise ValueError('no')\ngevent.spawn(f, 'hush-hush').join()")
    assert "ValueError: no" in text
    assert "hush" not in text


@pytest.mark.parametrize("name", ["peewee", "urllib3.connectionpool", "asyncio", "anything"])
def test_libraries_never_speak_at_debug(tmp_path, name):
    text = run(tmp_path, f"logging.getLogger({name!r}).debug('hush-hush')\nLOG.debug('said')", level="DEBUG")
    assert "said" in text
    assert "hush" not in text


def test_a_file_is_turned_over_while_its_process_runs_and_standard_error_follows(tmp_path):
    program = """
        for number in range(2000):
            LOG.info("line %d %s", number, "x" * 50)
        print("said to the end", file=sys.stderr, flush=True)
        os.write(1, b"and to standard output\\n")
    """
    run(tmp_path, program, most_bytes=20_000, kept=3)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["x.log", "x.log.1", "x.log.2", "x.log.3"]
    assert all(path.stat().st_size <= 20_000 + 200 for path in tmp_path.iterdir())
    last = (tmp_path / "x.log").read_text()
    assert last.endswith("said to the end\nand to standard output\n")
    assert "line 1999" in last


def test_what_others_write_to_standard_error_counts(tmp_path):
    program = """
        for number in range(30):
            os.write(2, b"y" * 1000 + b"\\n")
            LOG.info("line %d", number)
    """
    run(tmp_path, program, most_bytes=10_000, kept=9)
    assert len(list(tmp_path.iterdir())) >= 3
    assert all(path.stat().st_size <= 10_000 + 1200 for path in tmp_path.iterdir())


def test_files_and_their_folder_are_for_owner_and_group_from_the_first_moment_and_later(tmp_path):
    folder = tmp_path / "log"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    for name in ("x.log", "x.log.1", "up.log"):
        (folder / name).write_text("before\n")
        (folder / name).chmod(0o644)
    os.umask(old := os.umask(0))
    try:
        os.umask(0)
        run(folder, "for number in range(400): LOG.info('x' * 100)", most_bytes=10_000, kept=3)
    finally:
        os.umask(old)
    assert folder.stat().st_mode & 0o777 == 0o750
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o640}
    assert (folder / "x.log").read_text()


def test_a_file_others_may_not_read_stays_so(tmp_path):
    (tmp_path / "x.log").touch()
    (tmp_path / "x.log").chmod(0o600)
    run(tmp_path, "LOG.info('x')")
    assert (tmp_path / "x.log").stat().st_mode & 0o777 == 0o600


def test_plain_shows_what_cannot_be_printed():
    assert log.plain("Grüße\t\x1b[0m\\") == "Grüße\\t\\x1b[0m\\"
