"""A store put back from an older copy, and a second store of the same cluster: nothing is destroyed on their word."""

from __future__ import annotations

import json

import gevent
import msgspec
import pytest
from cluster import Cluster
from contract import GONE, until

from nova0.mesh import identity, keys
from nova0.mesh.bus import Status
from nova0.mesh.certificate import FORMAT, sign
from nova0.mesh.errors import NotAllowed, StoreDoubted
from nova0.mesh.node import Node
from nova0.mesh.orders import Orders
from nova0.mesh.stores import KIND, Adoption, StoreClaim, Stores
from nova0.mesh.surface import CONTROLLER, MEMBER, Surface, call


class GuestsAPI(Surface):
    topic = "guests"
    served_by = MEMBER

    @call(allow=CONTROLLER, destructive=True)
    def remove(self, name: str) -> str: ...

    @call(allow=CONTROLLER)
    def make(self, name: str) -> str: ...

    @call(allow=CONTROLLER, repeatable=True)
    def listed(self) -> list[str]: ...


class GuestsAgent(GuestsAPI):
    def __init__(self):
        self.names = ["old"]

    def remove(self, name):
        self.names.remove(name)
        return name

    def make(self, name):
        self.names.append(name)
        return name

    def listed(self):
        return self.names


def linked(peer):
    return peer.link is not None and peer.link.up


class Lab(Cluster):
    """A controller whose store is two fields, and one host."""

    def __init__(self, folder):
        super().__init__(folder)
        self.mark = 100
        self.main = self.bus("lab0", "controller", ("controller",), **self.store("the-store"))
        self.main.start()
        self.agent = GuestsAgent()
        self.host = self.hosting()

    def store(self, name):
        return {"store_id": name, "commit_mark": lambda: self.mark}

    def hosting(self):
        host = self.bus("lab1")
        host.offer(self.agent)
        host.start()
        self.met(host)
        return host

    def met(self, host=None):
        """Both have greeted: the controller has heard whether it is doubted."""
        for node, other in ((self.main, "lab1/host"), (host or self.host, "lab0/controller")):
            peers = node.roster.peers
            until(lambda p=peers, o=other: o in p and p[o].status is Status.UP and linked(p[o]), what="they met")

    def restart_main(self, mark, store="the-store"):
        self.main.stop()
        self.nodes.remove(self.main)
        self.mark = mark
        self.main = Node(self.settings("lab0", "controller", ("controller",), **self.store(store)))
        self.nodes.append(self.main)
        self.controller = self.main.settings
        self.main.start()
        self.met()

    def restart_host(self):
        self.host.stop()
        self.nodes.remove(self.host)
        self.host = self.hosting()

    @property
    def guests(self):
        return self.main.stub(GuestsAPI, "lab1")


@pytest.fixture
def lab(tmp_path):
    made = Lab(tmp_path)
    yield made
    made.close()


def remembered(lab):
    return lab.host.stores._memory


@pytest.mark.design("R1", "R2")
def test_a_store_put_back_from_an_older_copy_destroys_nothing_until_it_is_adopted(lab):
    lab.mark = 150  # grows while linked: the beats say so
    until(lambda: remembered(lab).mark == 150, what="the host has heard how far the store is")
    lab.restart_main(mark=120)
    with pytest.raises(StoreDoubted, match="`nova0 adopt` on lab0"):
        lab.guests.remove("old")
    assert lab.guests.listed() == ["old"] and lab.guests.make("new") == "new"
    detail = next(m.detail for m in lab.main.members() if m.node == "lab1/host")
    assert "150" in detail and "120" in detail and "nova0 adopt" in detail
    told = Orders(lab.main).adopt()
    assert (told["epoch"], told["taken"], told["missing"]) == (1, ["lab1/host"], {})
    assert lab.guests.remove("old") == "old"
    assert next(m.detail for m in lab.main.members() if m.node == "lab1/host") == ""


@pytest.mark.design("R3")
def test_a_doubt_outlives_restarts_of_both_and_the_growth_of_the_old_copy(lab):
    lab.restart_main(mark=60)
    lab.restart_main(mark=500)  # the old copy has been written to since
    lab.restart_host()
    with pytest.raises(StoreDoubted):
        lab.guests.remove("old")
    Orders(lab.main).adopt()
    lab.restart_host()
    lab.restart_main(mark=501)
    assert lab.guests.remove("old") == "old"


@pytest.mark.design("R1")
def test_another_store_of_the_same_cluster_is_refused_and_the_right_one_is_still_served(lab):
    lab.restart_main(mark=1000, store="another")
    with pytest.raises(StoreDoubted, match="not the store the-stor"):
        lab.guests.remove("old")
    lab.restart_main(mark=101)
    assert lab.guests.remove("old") == "old"


@pytest.mark.design("R4")
def test_a_host_that_was_away_hears_of_the_adoption_at_its_greeting(lab):
    lab.restart_main(mark=60)
    lab.host.stop()
    until(lambda: lab.main.roster.peers["lab1/host"].status in GONE)
    told = Orders(lab.main).adopt()
    assert list(told["missing"]) == ["lab1/host"] and told["taken"] == []
    lab.nodes.remove(lab.host)
    lab.host = lab.hosting()
    assert lab.guests.remove("old") == "old"


@pytest.mark.design("R4")
def test_a_controller_that_lost_its_adoptions_adopts_above_them(lab):
    assert Orders(lab.main).adopt()["epoch"] == 1
    assert Orders(lab.main).adopt()["epoch"] == 2
    (lab.folder / "lab0" / "adoption").unlink()
    lab.restart_main(mark=60)
    told = Orders(lab.main).adopt()
    assert told["epoch"] == 3 and told["taken"] == ["lab1/host"]
    assert lab.guests.remove("old") == "old"


@pytest.mark.design("R2")
def test_a_clean_restart_and_a_greeting_overtaken_by_a_beat_raise_no_doubt(lab):
    lab.mark = 130
    lab.restart_main(mark=130)
    assert lab.guests.remove("old") == "old"
    stores = lab.host.stores
    boot = lab.main.boot
    assert stores.greeted(StoreClaim("lab0/controller", boot, "the-store", 129)) == ""
    assert remembered(lab).mark == 130


@pytest.mark.design("R5")
def test_an_adoption_nobody_of_the_cluster_signed_changes_nothing(lab, tmp_path):
    lab.restart_main(mark=60)
    stranger = keys.new_signing_key(tmp_path / "stranger")
    host = identity.load(lab.folder / "lab1")

    def claim(cluster, store_id, signer, by):
        record = Adoption(FORMAT, cluster, store_id, 9, keys.public_of(signer))
        return StoreClaim("lab0/controller", lab.main.boot, "the-store", 60, sign(by, KIND, record))

    real = lab.main.identity.signer()
    for forged in (
        claim(host.cluster, "the-store", stranger, stranger),  # no signer of ours
        claim(host.cluster, "the-store", real, stranger),  # says that ours signed it
        claim(host.cluster, "another", real, real),  # of another store
        claim(bytes(32), "the-store", real, real),  # of another cluster
    ):
        assert lab.host.stores.greeted(forged)
    assert lab.host.stores.epoch == 0
    with pytest.raises(StoreDoubted):
        lab.guests.remove("old")


def test_a_memory_is_read_back_as_it_was_written(lab):
    stores = Stores(lab.host.identity, "host")
    assert msgspec.to_builtins(stores._memory) == msgspec.to_builtins(remembered(lab))
    assert json.dumps(msgspec.to_builtins(stores._memory)).count("the-store") == 1


@pytest.mark.design("R5")
def test_only_root_and_the_nodes_own_user_give_orders(lab):
    from nova0.mesh.local_socket import LocalSocket

    lab.main.settings.socket_path = str(lab.folder / "x.sock")
    socket = LocalSocket(lab.main)
    with pytest.raises(NotAllowed, match="use sudo"):
        socket._answer({"op": "order", "order": "adopt"}, 4711, 1)
    assert socket._answer({"op": "order", "order": "adopt"}, 0, 1)["epoch"] == 1
    gevent.sleep(0)
