"""Hosts as network namespaces: what the tests that need links of their own make them with."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

MARKS = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("ip") is None, reason="needs root and iproute2"),
]


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True)


def make_host(name, port, bridge, address=""):
    """A namespace whose eth0 is joined to `bridge` by `port`; with an IPv4 `address` (ADDRESS/BITS) or none."""
    ip("netns", "add", name)
    ip("link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name)
    ip("link", "set", port, "master", bridge, "up")
    if address:
        ip("-n", name, "addr", "add", address, "dev", "eth0")
    ip("-n", name, "link", "set", "lo", "up")
    ip("-n", name, "link", "set", "eth0", "up")


def remove(names, links):
    """Whatever of these namespaces and links there is."""
    for name in names:
        subprocess.run(["ip", "netns", "del", name], capture_output=True)
    for link in links:
        subprocess.run(["ip", "link", "del", link], capture_output=True)
