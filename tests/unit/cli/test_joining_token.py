"""A join token comes from standard input or a file, and never stands on a command line."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest

from nova0.cli import joining_token, main
from nova0.cli.failure import Failure

TOKEN = "bUFya2VkVG9rZW4tMQ"


def test_an_argument_is_refused_and_the_way_is_named_and_it_is_not_told_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("NOVA0_STATE_PATH", str(tmp_path / "state"))
    assert main.main(["join", TOKEN, "--fake"]) == 2
    told = capsys.readouterr().err
    assert "nova0 join -" in told and "--token-file" in told and "nova0 token" in told and TOKEN not in told
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("words", [["-"], []])
def test_it_is_read_from_standard_input(words, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"  {TOKEN}\nmore\n"))
    assert joining_token.read(*(words or ["-"]), None) == TOKEN


def test_it_is_read_from_a_file_and_what_cannot_be_read_is_told(tmp_path):
    place = tmp_path / "token"
    place.write_text(f"{TOKEN}\n")
    assert joining_token.read("-", str(place)) == TOKEN
    with pytest.raises(Failure, match=r"--token-file .*none: No such file"):
        joining_token.read("-", str(tmp_path / "none"))
    place.write_bytes(b"\xff\xfe")
    with pytest.raises(Failure, match="--token-file"):
        joining_token.read("-", str(place))


@pytest.mark.parametrize("said", ["", "\n", "  \n"])
def test_nothing_that_came_is_told(said, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO(said))
    with pytest.raises(Failure, match="no token came") as refused:
        joining_token.read("-", None)
    assert refused.value.code == 2


def test_the_line_that_is_printed_has_it_on_no_command_line(tmp_path):
    """As a shell runs it: what `nova0` is given."""
    nova0 = tmp_path / "nova0"
    nova0.write_text('#!/bin/sh\necho "given: $*"; tr "\\0" " " < /proc/$$/cmdline; echo; echo "read: $(cat)"\n')
    nova0.chmod(0o755)
    line = joining_token.line(TOKEN)
    done = subprocess.run(
        ["bash"], input=line, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True, check=True
    )
    given, command, read = done.stdout.splitlines()
    assert given == "given: join -" and TOKEN not in command and read == f"read: {TOKEN}"
