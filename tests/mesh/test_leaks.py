"""A peer that comes and is killed two hundred times leaves nothing behind in a node that lives on."""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import gevent
import greenlet
import pytest
import zmq
from cluster import Cluster
from contract import PaintAPI, until

from nova0.mesh.bus import Status

CYCLES = 200


class Lives:
    """The peer's lives: one after the other, each ended with SIGKILL."""

    def __init__(self, settings):
        plain = {k: v for k, v in dataclasses.asdict(settings).items() if not callable(v)}
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("forking_peer.py")), json.dumps(plain)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def say(self, word, answer):
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        with gevent.Timeout(60, AssertionError(f"no {answer}")):
            assert self.process.stdout.readline().strip() == answer

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def held(node):
    """What this process holds: descriptors by what they are, open ZeroMQ sockets, living greenlets, peers."""
    gc.collect()
    found = Counter()
    for name in os.listdir("/proc/self/fd"):
        try:
            found[os.readlink(f"/proc/self/fd/{name}").partition(":")[0]] += 1
        except FileNotFoundError:
            continue
    objects = gc.get_objects()
    found["zmq sockets"] = sum(isinstance(o, zmq.Socket) and not o.closed for o in objects)
    found["greenlets"] = sum(isinstance(o, greenlet.greenlet) and bool(o) for o in objects)
    found["routes"] = len(node.answering._routes)
    found["connections at the gate"] = len(node._rpc_gate._open)
    found["at the door"] = len(node.door._gate._open)
    return found


@pytest.mark.design("F5")
@pytest.mark.covers("S202")
@pytest.mark.slow
def test_two_hundred_killed_peers_leave_nothing_behind(tmp_path):
    cluster = Cluster(tmp_path)
    main = cluster.bus("lab0", "controller", ("controller",))
    main.start()
    lives = Lives(cluster.member("lab1"))
    boots = [0]

    def cycle():
        lives.say("start", "READY")
        boots[0] += 1

        def up():
            peer = main.roster.peers.get("lab1/host")
            link = peer.link if peer is not None and peer.boot == boots[0] and peer.status is Status.UP else None
            return link is not None and link.up

        until(up, 60, f"start {boots[0]} is up")
        if boots[0] % 10 == 0:
            assert main.stub(PaintAPI, "lab1").add(1) == 11
        lives.say("kill", "KILLED")

    def settled():
        until(lambda: main.roster.peers["lab1/host"].status is Status.DOWN, 60, "it is down")
        return held(main)

    try:
        for _ in range(10):
            cycle()
        before = settled()
        for _ in range(CYCLES - 10):
            cycle()
        settled()
        more = {}

        def as_before():  # a dial under way holds a socket or two for a moment
            more.clear()
            more.update({k: (before[k], v) for k, v in held(main).items() if v > before[k] + 6})
            return not more

        try:
            until(as_before, 30)
        except AssertionError:
            raise AssertionError(f"held before and after {CYCLES} lives: {more}") from None
    finally:
        lives.close()
        cluster.close()
