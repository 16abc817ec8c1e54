"""The whole suite's lanes: every folder of tests has a share, and what goes over twice its share fails."""

from __future__ import annotations

import subprocess
import sys
import tomllib

from tests.lanes import HERE, Folder, memory_mib


def test_every_folder_has_a_share_and_a_lane():
    budget = tomllib.loads((HERE / "budget.toml").read_text())
    folders = {path.parent.name for path in HERE.glob("*/test_*.py")} | {"unit"}
    in_lanes = [name for lane in budget["lanes"].values() for name in lane]
    assert sorted(in_lanes) == sorted(budget["minutes"]) == sorted(folders)


def test_no_lane_is_given_more_than_45_minutes():
    budget = tomllib.loads((HERE / "budget.toml").read_text())
    for lane in budget["lanes"].values():
        assert sum(budget["minutes"][name] for name in lane) <= 45


def test_over_twice_its_share_is_over_and_said():
    folder = Folder("mesh", 1.0)
    folder.seconds = 119
    assert not folder.over
    folder.seconds = 121
    assert folder.over and "OVER TWICE ITS SHARE" in folder.line()


def test_memory_counts_a_process_and_its_children():
    inner = "x = b'1' * 50_000_000; print(1, flush=True); input()"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdin is not None
        process.stdout.readline()
        assert 50 < memory_mib(process.pid) < 200
        process.stdin.close()
