"""Another signer for the cluster while it works: certificates made anew, the old signer dropped, calls go on."""

from __future__ import annotations

import gevent
import msgspec
import pytest
from cluster import Cluster
from contract import GONE, PaintAgent, PaintAPI, until
from test_rekeying import Asking, all_up, host

from nova0.mesh import identity, keys
from nova0.mesh.certificate import FORMAT, Chain, SignerSet, issue, sign
from nova0.mesh.errors import CallTimeout, JoinRefused, Unreachable
from nova0.mesh.node import Node
from nova0.mesh.orders import Orders
from nova0.mesh.rotation import Rotation, rotate


@pytest.fixture
def lab(tmp_path):
    cluster = Cluster(tmp_path, handshake_s=0.5)
    cluster.main = cluster.bus("lab0", "controller", ("controller",), store_id="the-store")
    cluster.main.offer(PaintAgent(cluster.main))
    cluster.main.start()
    yield cluster
    cluster.close()


def rotated(lab, root="root.key", **more):
    folder = lab.folder / "lab0"
    return rotate(folder, folder / root, Rotation(lab.main).order, **more)


def restarted(lab, node):
    node.stop()
    lab.nodes.remove(node)
    again = Node(node.settings)
    again.offer(PaintAgent(again))
    lab.nodes.append(again)
    again.start()
    return again


@pytest.mark.design("X1", "X2")
def test_the_signer_changes_under_calls_and_the_old_one_signs_nobody_in(lab):
    """threat: a signer's key is stolen."""
    one, two, beside = host(lab), host(lab, "lab2"), host(lab, process="beside")
    all_up(lab.main, one, two, beside)
    Orders(lab.main).adopt()
    stolen, before = lab.main.identity.signer(), lab.main.identity.signers
    to, across = Asking(lab.main, "lab1"), Asking(two, "lab1")
    told = rotated(lab)
    to.end()
    across.end()
    assert told["dropped"] and told["reissued"] == ["lab0", "lab1", "lab2"] and not told["missing"]
    new = keys.public_of(lab.main.identity.signer())
    for node in (lab.main, one, two, beside):
        until(lambda n=node: n.identity.signers.signers == [new], what=f"{node.node} knows which signer counts")
        assert node.identity.signers.generation == before.generation + 2
        assert node.identity.certificate.signer == new
        assert identity.load(lab.folder / node.host).certificate.signer == new
    all_up(lab.main, one, two, beside)
    # with the stolen key: a machine of its own, with the certificate and set of before
    pair = keys.new_pair(lab.folder / "evil.key")
    forged = issue(stolen, one.identity.cluster, "evil", ("controller",), pair.public)
    for node in (lab.main, one):
        with pytest.raises(JoinRefused, match="signer was dropped"):
            node.identity.verify(Chain(forged, node.identity.chain.signers))
    # newcomers, a restart of everything, and the adoption of the store: all under the new signer
    lab.main = restarted(lab, lab.main)
    lab.controller = lab.main.settings
    three = host(lab, "lab3")
    two = restarted(lab, two)
    all_up(lab.main, one, two, three)
    assert three.identity.certificate.signer == new
    assert msgspec.msgpack.decode(lab.main.stores.adoption.body)[4] == new


@pytest.mark.design("X3")
def test_with_a_member_away_the_old_signer_counts_until_it_is_back(lab):
    one, two = host(lab), host(lab, "lab2")
    all_up(lab.main, one, two)
    two.stop()
    until(lambda: lab.main.roster.peers["lab2/host"].status in GONE)
    told = rotated(lab)
    assert not told["dropped"] and "lab2" in told["missing"] and told["reissued"] == ["lab0", "lab1"]
    lab.nodes.remove(two)
    two = Node(two.settings)
    lab.nodes.append(two)
    two.start()
    all_up(lab.main, one, two)
    again = rotated(lab)
    assert again["dropped"] and again["reissued"] == ["lab2"] and again["signer"] == told["signer"]
    all_up(lab.main, one, two)
    assert two.identity.certificate.signer.hex() == told["signer"]


@pytest.mark.design("X3")
def test_dropped_at_once_those_away_must_join_again_and_are_told_so(lab):
    one, two = host(lab), host(lab, "lab2")
    all_up(lab.main, one, two)
    two.stop()
    until(lambda: lab.main.roster.peers["lab2/host"].status in GONE)
    told = rotated(lab, drop="now")
    assert told["dropped"] and list(told["missing"]) == ["lab2"]
    lab.nodes.remove(two)
    two = Node(two.settings)
    lab.nodes.append(two)
    two.start()
    main = two.roster.peers["lab0/controller"]
    until(lambda: main.link is not None and "join it again with a token" in main.link.trouble, what="it is told")
    with pytest.raises(Unreachable):
        two.stub(PaintAPI, "lab0", timeout_s=1).where()
    assert lab.main.stub(PaintAPI, "lab1").where() == "lab1"


@pytest.mark.slow
@pytest.mark.design("X2")
def test_the_live_links_of_a_member_left_behind_are_cut(lab):
    """threat: a stolen signer's key made a member that is linked already."""
    one = host(lab)
    all_up(lab.main, one)
    until(lambda: (lab.main.stub(PaintAPI).colour("blue"), one.agent.colours)[1], what="it hears casts")
    one.offers._methods["mesh", "reissued"].function = lambda chain: 1 / 0  # it will not take the new one
    one.offers._methods["mesh", "signers"].function = lambda signed: None
    told = rotated(lab, drop="now")
    assert list(told["missing"]) == ["lab1"]
    assert not lab.main.roster.admits(one.pair.public)
    link = one.roster.peers["lab0/controller"].link
    until(lambda: not link.up, what="its link is cut")
    for _ in range(10):
        lab.main.stub(PaintAPI).colour("red")
        gevent.sleep(0.05)
    assert "red" not in one.agent.colours, "nor does it hear what is cast"
    with pytest.raises((Unreachable, CallTimeout)):  # maybe it had been sent before the cut was seen
        one.stub(PaintAPI, "lab0", timeout_s=1).add(1)


@pytest.mark.design("X4")
def test_only_the_roots_word_counts_and_never_an_older_one(lab):
    """threat: rollback to an earlier signer set."""
    one = host(lab)
    all_up(lab.main, one)
    first = one.identity.chain.signers
    with pytest.raises(JoinRefused, match="--root-key FILE"):
        rotated(lab, root="elsewhere.key")
    keys.new_signing_key(lab.folder / "lab0" / "other.key")
    with pytest.raises(JoinRefused, match="not the root's key"):
        rotated(lab, root="other.key")
    (lab.folder / "lab0" / "root.key").rename(lab.folder / "stick.key")
    assert rotate(lab.folder / "lab0", lab.folder / "stick.key", Rotation(lab.main).order)["dropped"]
    until(lambda: one.identity.signers.generation == 3)
    assert not one.identity.adopt_signers(first)
    signer = lab.main.identity.signer()
    forged = sign(signer, "signers", SignerSet(FORMAT, one.identity.cluster, 99, [keys.public_of(signer)]))
    with pytest.raises(JoinRefused):
        one.identity.adopt_signers(forged)
    assert identity.load(lab.folder / "lab1").signers.generation == 3
    with pytest.raises(JoinRefused, match="something else"):
        mine = one.identity.certificate
        more = issue(signer, mine.cluster, mine.host, ("controller", "host"), mine.key, node_id=mine.node_id,
                     vouch=mine.vouch)  # fmt: skip
        Rotation(one).reissued(Chain(more, one.identity.chain.signers))
