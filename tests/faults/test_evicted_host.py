"""A host is put out of the cluster while it runs guests: what its users are shown, what it does, how it comes back."""

from __future__ import annotations

import pytest

from nova0.mesh import identity
from nova0.mesh.errors import PutOut
from nova0.mesh.joining import join, mint_token
from nova0.mesh.local_client import connect
from nova0.mesh.tombstones import put_out
from tests.faults.processes import Cloud, until


@pytest.fixture
def cloud(tmp_path):
    made = Cloud(tmp_path, hosts=2)
    try:
        yield made.start()
    finally:
        made.stop()


def evict(cloud, host):
    """As `nova0 evict` on the controller."""
    me = identity.load(cloud.controller.state / "mesh")
    with connect(str(cloud.controller.state / "run" / "mesh-controller.sock")) as node:
        found = node.key_of(host)
        node.put_out(put_out(me.signer(), me.cluster, found["key"], host, "stolen", "ctl", node_id=found["node_id"]))


@pytest.mark.slow
@pytest.mark.design("E6", "E10")
def test_servers_of_an_evicted_host_are_unknown_until_it_joins_again(cloud):
    server = cloud.boot()
    place = cloud.rested(server)["OS-EXT-SRV-ATTR:host"]
    host = next(host for host in cloud.hosts if host.host == place)
    evict(cloud, place)
    shown = until(lambda: s if (s := cloud.server(server))["status"] == "UNKNOWN" else None, 20, "it is unknown")
    assert f"nova0 fence {place}" in shown["fault"]["details"] and shown["OS-EXT-STS:vm_state"] == "active"
    until(lambda: place not in cloud.up(), 20, "nothing is placed there")
    other = cloud.boot()
    assert cloud.rested(other)["OS-EXT-SRV-ATTR:host"] != place

    def refused():
        with connect(str(host.state / "run" / "mesh-host.sock")) as node:
            try:
                node.call("compute", "host_state")
            except PutOut as error:
                return error.message
        return ""

    assert "nova0 join -" in until(refused, 20, "the host knows, and asks for nothing")
    assert cloud.guests()[place] == [server], "what runs there is left alone"

    cloud.controller.end()
    cloud.controller.start()
    cloud.log_in()
    assert cloud.server(server)["status"] == "UNKNOWN", "still, after a restart"

    host.end()
    token = mint_token(cloud._settings("ctl", "controller", door_port=cloud.door))
    join(cloud._settings(place, "host"), token)
    host.start()
    until(lambda: cloud.server(server)["status"] == "ACTIVE", 30, "it is back with a new key, and the server as it was")
    assert "fault" not in cloud.server(server) and place in cloud.up()
