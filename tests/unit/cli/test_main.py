"""The frame of the command line: quick help, one line for an error, exit codes, commands found by file."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from nova0.cli import main

NOVA0 = [sys.executable, "-m", "nova0.cli.main"]
HEAVY = {"gevent", "zmq", "oslo_config", "requests", "rich", "libvirt", "peewee", "cryptography", "msgspec", "shtab"}


def run(*words: str, **more) -> subprocess.CompletedProcess:
    return subprocess.run([*NOVA0, *words], capture_output=True, text=True, timeout=60, **more)


def test_help_takes_less_than_200_ms():
    took = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = run("--help")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert done.returncode == 0 and "launch" in done.stdout
    assert min(took) < 0.2, took  # of processor: nothing in it waits, and other tests run beside it


def test_reading_every_command_loads_nothing_heavy():
    script = "import sys; from nova0.cli.main import discover; discover(); print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert HEAVY & {name.partition(".")[0] for name in done.stdout.split()} == set()


@pytest.mark.covers("S073")
def test_each_file_of_commands_is_a_command_with_help_and_example():
    found = main.discover()
    assert {("up",), ("down",), ("agent", "run"), ("config", "show"), ("launch",), ("doctor",)} <= set(found)
    for words, module in found.items():
        assert module.__doc__ and "Example:" in module.__doc__, words
        assert callable(module.configure) and callable(module.run), words


def test_wrong_usage_is_exit_code_2():
    assert main.main(["launch"]) == 2
    assert main.main(["nonesuch"]) == 2
    assert main.main([]) == 2


def test_a_failure_is_one_line_with_a_remedy_and_exit_code_1(tmp_path, capsys):
    assert main.main(["--config-file", str(tmp_path / "none.conf"), "config", "show"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "none.conf" in said and "check --config-file" in said and "Traceback" not in said


def test_an_unforeseen_error_is_one_line_and_debug_shows_where(monkeypatch, capsys):
    module = main.discover()[("version",)]
    monkeypatch.setattr(module, "run", lambda args: 1 / 0)
    assert main.main(["version"]) == 1
    assert "ZeroDivisionError" in capsys.readouterr().err
    with pytest.raises(ZeroDivisionError):
        main.main(["version", "--debug"])


def test_interrupt_is_exit_code_130(monkeypatch, capsys):
    def interrupted(args):
        raise KeyboardInterrupt

    monkeypatch.setattr(main.discover()[("version",)], "run", interrupted)
    assert main.main(["version"]) == 130


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_knows_the_commands(shell, capsys):
    assert main.main(["completion", shell]) == 0
    assert "launch" in capsys.readouterr().out


def test_the_bash_completion_is_bash():
    script = run("completion", "bash").stdout
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0


def test_version_tells_what_it_stands_on(capsys):
    import json

    assert main.main(["version", "--json"]) == 0
    assert {"nova0", "Python", "pyzmq"} <= set(json.loads(capsys.readouterr().out))
