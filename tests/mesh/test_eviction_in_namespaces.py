"""A cluster cut in two, hosts in network namespaces: what one half puts out, the other serves no more once
they meet again."""

from __future__ import annotations

import os

import pytest
from cluster import Cluster
from contract import until
from namespaces import MARKS, ip, make_host, remove

from nova0.mesh import keys, tombstones
from nova0.mesh.errors import MeshError, PutOut, Unreachable
from nova0.mesh.identity import create_cluster
from nova0.mesh.joining import join, mint_token
from nova0.mesh.local_client import connect

pytestmark = MARKS
NET = "10.249.78"


@pytest.fixture
def halves():
    """Namespaces 0 and 1 on one bridge, 2 and 3 on another; `cut(True)` parts the two, `cut(False)` joins them."""
    tag = f"e{os.getpid() % 10000}"
    names = [f"{tag}n{n}" for n in range(4)]
    try:
        for half in "ab":
            ip("link", "add", f"{tag}{half}", "type", "bridge")
            ip("link", "set", f"{tag}{half}", "up")
        ip("addr", "add", f"{NET}.254/24", "dev", f"{tag}a")
        ip("link", "add", f"{tag}ja", "type", "veth", "peer", "name", f"{tag}jb")
        for half in "ab":
            ip("link", "set", f"{tag}j{half}", "master", f"{tag}{half}", "up")
        for number, name in enumerate(names):
            make_host(name, f"{tag}v{number}", f"{tag}{'ab'[number // 2]}", f"{NET}.{number + 1}/24")
        yield names, lambda apart: ip("link", "set", f"{tag}ja", "down" if apart else "up")
    finally:
        remove(names, [*(f"{tag}v{n}" for n in range(4)), f"{tag}ja", f"{tag}a", f"{tag}b"])


def asked(settings, what, *args):
    with connect(settings.socket_path) as client:
        return getattr(client, what)(*args)


def statuses(settings):
    try:
        return {m["host"]: m["status"] for m in asked(settings, "members")}
    except (Unreachable, PutOut):
        return {}


@pytest.mark.design("E7")
def test_threat_a_host_put_out_across_a_partition_is_not_served_after_healing(tmp_path, halves):
    """threat: evicted node that only those reach who have not heard of it, until the halves meet again."""
    names, cut = halves
    cluster = Cluster(tmp_path, listen="0.0.0.0")
    try:
        everyone = [
            cluster.settings(
                f"lab{n}",
                roles=("controller",) if n == 0 else ("host",),
                advertise=f"{NET}.{n + 1}",
                socket_path=str(tmp_path / f"lab{n}.sock"),
            )
            for n in range(4)
        ]
        create_cluster(everyone[0].state_dir, "lab0")
        cluster.process(everyone[0], names[0]).ready()
        for made in everyone[1:]:
            join(made, mint_token(everyone[0]))
        late = [cluster.process(made, name) for made, name in zip(everyone[1:], names[1:], strict=True)]
        for process in late:
            process.ready()
        lab0, lab1, lab2, lab3 = everyone
        for made in everyone:
            until(lambda made=made: list(statuses(made).values()).count("up") == 4, 30, f"{made.host} sees all")
        cut(True)
        until(lambda: statuses(lab0).get("lab2") == statuses(lab0).get("lab3") == "down", 30, "cut in two")
        until(lambda: statuses(lab3).get("lab0") == "down", 30, "seen by the other half as well")
        found = asked(lab0, "key_of", "lab2")
        signer = keys.signing_key(tmp_path / "lab0" / "signer.key")
        stone = tombstones.put_out(
            signer, found["cluster"], found["key"], "lab2", "stolen", "lab0", node_id=found["node_id"]
        )
        asked(lab0, "put_out", stone)
        until(lambda: asked(lab1, "tombstones"), 30, "its own half knows")
        assert asked(lab3, "tombstones") == []
        assert asked(lab2, "call", "paint@lab3", "where") == "lab3"  # nobody there can know
        before = late[2].log()
        cut(False)
        until(lambda: asked(lab3, "tombstones"), 30, "told at the first greeting")
        until(lambda: statuses(lab3).get("lab0") == "up", 30, "healed")
        with pytest.raises(MeshError):
            asked(lab2, "call", "paint@lab3", "where")
        since = late[2].log()[len(before) :]
        assert since.index("lab2 was put out of the cluster") < since.index("lab0/host is up"), since

        def told():
            try:
                asked(lab2, "members")
            except PutOut as out:
                return "stolen" in out.message
            return False

        until(told, 30, "lab2 knows as well")
        until(lambda: statuses(lab1).get("lab3") == statuses(lab3).get("lab1") == "up", 30, "the others are together")
        assert statuses(lab3)["lab2"] == "left" and asked(lab1, "call", "paint@lab3", "where") == "lab3"
    finally:
        cluster.close()
