"""`nova0 schedule simulate`: a load replayed over hosts that are not there, and what it says of bad words."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


def run(*words, code=0, stdin=""):
    done = subprocess.run(
        [sys.executable, "-m", "nova0.cli.main", "schedule", "simulate", *words],
        capture_output=True,
        text=True,
        input=stdin,
    )
    assert done.returncode == code, done.stderr
    return done


def simulated(*words, **more):
    return json.loads(run("--json", *words, **more).stdout)


def test_equal_hosts_end_within_one_of_each_other():
    found = simulated("--hosts", "8", "--servers", "300", "--size", "1:64:1")
    assert found["placed"] == 300 and found["servers_most"] - found["servers_least"] <= 1


def test_a_negative_multiplier_packs():
    signs = [f"--set={name}_weight_multiplier=-1" for name in ("ram", "cpu", "disk")]
    found = simulated("--hosts", "10", "--servers", "100", "--size", "1:512:1", *signs)
    assert found["empty_hosts"] >= 7


def test_what_does_not_fit_is_counted_by_the_filter_that_refused_it():
    found = simulated("--hosts", "2:4:1024:100", "--servers", "10", "--size", "1:512:1")
    assert (found["placed"], found["rejected"], found["reasons"]) == (4, 6, {"RamFilter": 6})


@pytest.mark.slow
def test_the_same_seed_gives_the_same_load_and_servers_go_again():
    words = ("--servers", "200", "--lifetime", "20", "--seed", "7", "--set=shuffle_best_same_weighed_hosts=false")
    first = simulated(*words)
    assert first["servers"] == simulated(*words)["servers"]
    assert sum(first["servers"].values()) < 100


def test_a_recorded_load_is_replayed():
    load = '{"boot": "a", "vcpus": 2}\n{"boot": "b"}\n{"delete": "a"}\n'
    assert simulated("--load", "-", "--hosts", "2", stdin=load)["servers_most"] == 1


def test_servers_asked_for_together_are_placed_all_or_none():
    load = '{"boot": "a", "together": ["b", "c"]}\n{"boot": "d", "together": ["e", "f"], "at_least": 1}\n'
    found = simulated("--load", "-", "--hosts", "1:8:1024:100", stdin=load)
    assert (found["placed"], found["rejected"]) == (2, 4)


def test_a_load_may_describe_its_hosts_and_be_one_array():
    host = {"hypervisor_type": "fake", "hypervisor_version": 1, "virt_type": "fake", "arch": "x86_64", "disk_gb": 10}
    lab1 = host | {"host": "lab1", "hypervisor_hostname": "lab1", "vcpus": 2, "memory_mb": 2048}
    boots = [{"boot": name, "hints": {"group": "g"}, "policy": "anti-affinity"} for name in "ab"]
    load = json.dumps([{"host": lab1, "metadata": {"ram_allocation_ratio": ["2"]}}, *boots], indent=1)
    assert simulated("--load", "-", stdin=load)["reasons"] == {"ServerGroupAntiAffinityFilter": 1}
    elsewhere = simulated("--load", "-", "--hosts", "2", stdin=load)
    assert (elsewhere["hosts"], elsewhere["placed"]) == (2, 2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--set", "nope=1"], "nope"),
        (["--set", "ram_weight_multiplier"], "OPTION=VALUE"),
        (["--hosts", "many"], "write N or N:VCPUS:MIB:GIB"),
        (["--size", "1:2"], "write VCPUS:MIB:GIB"),
        (["--policy", "best"], "there is no driver 'best'"),
        (["--load", "/no/such/file"], "No such file"),
    ],
)
def test_bad_words_get_one_line(words, said):
    error = run(*words, code=1).stderr
    assert said in error and error.count("\n") == 1


def test_a_line_of_a_load_that_cannot_be_read_is_named():
    assert "line 2" in run("--load", "-", code=1, stdin='{"boot": "a"}\n{"boot": 3}\n').stderr
