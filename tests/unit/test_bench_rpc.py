"""scripts/bench rpc: a short run of it, and what it says to bad input."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "scripts" / "bench.d" / "rpc.py"


def run(*words, **more):
    return subprocess.run([sys.executable, str(BENCH), *words], capture_output=True, text=True, timeout=280, **more)


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--peers", "raw,carrier-pigeon"], "no peer 'carrier-pigeon'"), (["--runs", "0"], "must be positive")],
)
def test_bad_input_gets_one_clear_line(words, said):
    ended = run(*words)
    assert ended.returncode == 2 and said in ended.stderr.splitlines()[-1]


@pytest.mark.slow
def test_a_short_run_compares_with_raw_and_leaves_nothing(tmp_path):
    words = [
        "--peers",
        "nova0,nova0 journaled,raw",
        "--workloads",
        "call,many",
        "--runs",
        "1",
        "--secs",
        "0.1",
        "--json",
    ]
    ended = run(*words, env={"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path), "HOME": str(tmp_path)})
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert told["troubles"] == {}
    for peer in ("nova0", "nova0 journaled", "raw"):
        assert told["medians"][peer]["call.p50_us"] > 0 and told["medians"][peer]["many.per_s"] > 0
    ratio = next(row for row in told["goals"] if row["says"] == "p50 of one call, of raw")
    medians = told["medians"]
    assert ratio["measured"] == medians["nova0"]["call.p50_us"] / medians["raw"]["call.p50_us"]
    assert list(tmp_path.glob("nova0-bench-*")) == []


@pytest.mark.slow
def test_a_fan_out_counts_every_delivery(tmp_path):
    words = ["--peers", "raw", "--workloads", "fanout", "--runs", "1", "--secs", "0.2", "--json"]
    ended = run(*words, env={"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path), "HOME": str(tmp_path)})
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert told["troubles"] == {} and told["medians"]["raw"]["fanout.lost"] == 0
    assert told["medians"]["raw"]["fanout.per_s"] > 0 and told["medians"]["raw"]["fanout.us"] > 0
