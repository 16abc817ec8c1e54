"""The compute books' plain rules: states, names, patterns, devices, keys, extra specs."""

import time

import pytest

from nova0.controller.api.errors import ApiError
from nova0.controller.compute import block_devices, extra_specs, flavors, keypairs, preconditions
from nova0.controller.compute.create import canonical, hostname_from
from nova0.controller.compute.server_filters import Pattern
from nova0.controller.context import RequestContext
from nova0.controller.db.compute_tables import InstanceRow
from nova0.objects.flavor import Flavor
from nova0.objects.states import TaskState, VmState

USER = RequestContext(request_id="req-1", project_id="p", roles=frozenset({"member", "reader"}))
ADMIN = RequestContext(request_id="req-2", project_id="a", roles=frozenset({"admin", "member", "reader"}))


def server(vm_state=VmState.ACTIVE, task_state=None, **more):
    columns = {"uuid": "u", "launched_at": 1.0, "host": "lab1"} | more
    return InstanceRow(vm_state=vm_state, task_state=task_state, **columns)


ALLOWED = {
    "stop": {VmState.ACTIVE, VmState.ERROR},
    "start": {VmState.STOPPED},
    "reboot": {VmState.ACTIVE},
    "hard reboot": {VmState.ACTIVE, VmState.STOPPED, VmState.PAUSED, VmState.SUSPENDED, VmState.ERROR},
    "pause": {VmState.ACTIVE},
    "unpause": {VmState.PAUSED},
    "update_metadata": {VmState.ACTIVE, VmState.PAUSED, VmState.SUSPENDED, VmState.STOPPED},
    "delete": set(VmState),
}


@pytest.mark.covers("S079")
@pytest.mark.parametrize("action", sorted(ALLOWED))
@pytest.mark.parametrize("vm_state", list(VmState))
def test_an_action_passes_in_exactly_the_states_of_the_table(action, vm_state):
    if vm_state in ALLOWED[action]:
        preconditions.check(action, server(vm_state), USER)
    else:
        with pytest.raises(ApiError) as refused:
            preconditions.check(action, server(vm_state), USER)
        assert refused.value.code == 409
        assert vm_state in refused.value.message


@pytest.mark.covers("S079")
def test_tasks_locks_and_a_missing_start_refuse_too():
    for row in (
        server(task_state=TaskState.POWERING_OFF),
        server(locked_by="owner"),
        server(launched_at=None),
        server(host=None),
    ):
        with pytest.raises(ApiError) as refused:
            preconditions.check("stop", row, USER)
        assert refused.value.code == 409
    preconditions.check("stop", server(locked_by="owner"), ADMIN)
    preconditions.check("hard reboot", server(task_state=TaskState.REBOOTING), USER)
    preconditions.check("delete", server(launched_at=None, host=None, task_state=TaskState.SPAWNING), USER)


@pytest.mark.parametrize(
    ("name", "hostname"),
    [("web 1", "web-1"), ("Web.Server_2", "web-server-2"), ("żółw", "w"), ("日本", "server-u"), ("-a-" * 40, None)],
)
def test_host_names_are_made_of_names(name, hostname):
    made = hostname_from(name, "u")
    assert made == hostname if hostname else len(made) <= 63 and made.strip("-") == made


def test_addresses_have_one_form():
    assert canonical("0000:0000:0000:0000:0000:babe:220.12.22.2") == "::babe:dc0c:1602"
    assert canonical("") is None


@pytest.mark.parametrize(
    "pattern", ["(", "x" * 300, r"(a)\1", "(?=a)b", "(?<!a)b", "a{2000}", r"((\pL*){30}){30}", "." * 255]
)
def test_patterns_that_mean_nothing_or_are_too_large_are_refused(pattern):
    with pytest.raises(ApiError, match="Invalid filter name"):
        Pattern("name", pattern)


def test_a_pattern_that_takes_long_over_many_names_is_refused_in_time():
    """Linear, and yet the worst RE2 takes: an automaton that does not fit, over the longest names."""
    search, text = Pattern("name", "((a?b?){15}){15}x"), "ab" * 127
    begun = time.thread_time()
    with pytest.raises(ApiError, match="takes too long"):
        for _ in range(100_000):
            search(text)
    assert time.thread_time() - begun < 1


@pytest.mark.parametrize("pattern", ["web", "^web-[0-9]+", "(a|b)c*", r"10\.0\.0\.(1|2)$", "a?b?"])
def test_ordinary_patterns_search(pattern):
    assert Pattern("name", pattern)("web-12 ac 10.0.0.1")


@pytest.mark.covers("S376", "S392")
def test_the_one_local_image_disk_is_the_root():
    root = {"source_type": "image", "destination_type": "local", "uuid": "i", "boot_index": 0}
    assert block_devices.normalised("i", [], [root])[0] == "i"
    assert block_devices.normalised("", [], [root])[0] == "i"
    [device] = block_devices.normalised("i", [], [])[1]
    assert (device["source_type"], device["boot_index"]) == ("image", 0)
    for bad in (
        [root, root],
        [root | {"uuid": "other"}],
        [root | {"boot_index": 1}],
        [root | {"source_type": "blank"}],
    ):
        with pytest.raises(ApiError) as refused:
            block_devices.normalised("i", [], bad)
        assert refused.value.code == 400
    with pytest.raises(ApiError):
        block_devices.normalised("i", [{"device_name": "vda"}], [root])


@pytest.mark.covers("S393", "S236")
def test_an_image_too_big_for_the_flavor_is_refused():
    flavor = Flavor(flavor_id="1", name="f", vcpus=1, memory_mb=64, root_gb=1)
    flavors.check_image_fits(flavor, min_ram_mb=64, min_disk_gb=1, size_bytes=2**30)
    for more in ({"min_ram_mb": 65}, {"min_disk_gb": 2}, {"size_bytes": 2**30 + 1}):
        with pytest.raises(ApiError):
            flavors.check_image_fits(flavor, **({"min_ram_mb": 0, "min_disk_gb": 0, "size_bytes": 0} | more))


def test_fingerprints_are_those_ssh_shows():
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPQdPfIpXBhMxQrMqyEWG0NGcqx+N7Wd3NgGLLmHMjfP me"
    assert len(keypairs.read_public(key, "ssh").split(":")) == 16
    for bad in ("", "ssh-rsa", "ssh-rsa AAAA", "hello world", "ssh-ed25519 ???"):
        with pytest.raises(ApiError):
            keypairs.read_public(bad, "ssh")


def test_extra_specs_of_known_namespaces_are_checked():
    extra_specs.check({"hw:cpu_policy": "dedicated", "mine": "x", "my:own": "y", "trait:HW_CPU": "required"})
    for bad in ({"hw:cpu_policy": "purple"}, {"hw:unknown": "1"}, {"hw_rng:allowed": "maybe"}, {"quota:x": "1"}):
        with pytest.raises(ApiError):
            extra_specs.check(bad)
