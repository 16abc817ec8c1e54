"""Another root for the cluster while it works: who is there follows, who was away follows, the old one is out."""

from __future__ import annotations

import stat
import subprocess
import sys

import msgspec
import pytest
from cluster import Cluster
from contract import GONE, PaintAgent, PaintAPI, until
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from test_rekeying import Asking, all_up, host
from test_rotation import restarted, rotated

from nova0.mesh import certificate, identity, keys, tokens
from nova0.mesh.certificate import FORMAT, Chain, Handover, Root, Roots, SignerSet, Trust, hand_over, issue, sign
from nova0.mesh.errors import JoinRefused
from nova0.mesh.joining import join
from nova0.mesh.node import Node
from nova0.mesh.rotation import Rotation, rotate_root


@pytest.fixture
def lab(tmp_path):
    cluster = Cluster(tmp_path, handshake_s=0.5)
    cluster.main = cluster.bus("lab0", "controller", ("controller",), store_id="the-store")
    cluster.main.offer(PaintAgent(cluster.main))
    cluster.main.start()
    yield cluster
    cluster.close()


def changed(lab, old="lab0/root.key", new="second.key"):
    return rotate_root(lab.folder / "lab0", lab.folder / old, lab.folder / new, Rotation(lab.main).order_root)


def follows(node, version):
    until(lambda: node.identity.roots.version == version, what=f"{node.node} knows root {version}")
    assert identity.roots_of(node.identity.state_dir) == node.identity.roots


def key_in(lab, name):
    return keys.signing_key(lab.folder / name)


@pytest.mark.design("J1", "J2")
def test_the_root_changes_under_calls_and_the_old_one_signs_nothing_any_more(lab):
    """threat: the root's key is stolen."""
    one, two, beside = host(lab), host(lab, "lab2"), host(lab, process="beside")
    all_up(lab.main, one, two, beside)
    cluster, before = lab.main.identity.cluster, lab.main.identity.signers
    to, across = Asking(lab.main, "lab1"), Asking(two, "lab1")
    told = changed(lab)
    to.end()
    across.end()
    assert told["version"] == 2 and told["changed"] and not told["missing"] and not told["dropped"]
    assert told["told"] == ["lab1/beside", "lab1/host", "lab2/host"]
    assert stat.S_IMODE((lab.folder / "second.key").stat().st_mode) == 0o600
    new = key_in(lab, "second.key")
    for node in (lab.main, one, two, beside):
        follows(node, 2)
        assert node.identity.roots.key == keys.public_of(new) != cluster == node.identity.cluster
        assert node.identity.signers.age == (2, before.generation + 1) and node.identity.signers.root == 2
    # with the old root's key: a signer of the thief's own, in a set of any number
    old, thief = key_in(lab, "lab0/root.key"), keys.new_signing_key(lab.folder / "thief.key")
    pair = keys.new_pair(lab.folder / "evil.key")
    forged = issue(thief, cluster, "evil", ("controller",), pair.public)
    for root in (1, 2, 3):
        signers = sign(old, "signers", SignerSet(FORMAT, cluster, 1 << 40, [keys.public_of(thief)], root))
        for roots in ((), one.identity.chain.roots):
            with pytest.raises(JoinRefused):
                one.identity.verify(Chain(forged, signers, None, roots))
            with pytest.raises(JoinRefused):  # nor a newcomer, whatever it is shown with it
                certificate.verify(Chain(forged, signers, None, roots or one.identity.chain.roots), Roots((cluster,)))
    assert not one.identity.adopt_signers(sign(old, "signers", SignerSet(FORMAT, cluster, 1 << 40, before.signers)))
    with pytest.raises(JoinRefused, match="earlier root: version 2 counts"):
        rotated(lab)
    # the new one does: another signer, then a certificate by the one before counts no more
    stolen = lab.main.identity.signer()
    assert rotated(lab, root="../second.key")["dropped"]
    by_old_signer = issue(stolen, cluster, "evil", ("controller",), pair.public)
    for node in (lab.main, one, two, beside):
        until(lambda n=node: n.identity.signers.age == (2, before.generation + 3), what=f"{node.node} has the set")
        with pytest.raises(JoinRefused, match="signer was dropped"):
            node.identity.verify(Chain(by_old_signer, node.identity.chain.signers))
    all_up(lab.main, one, two, beside)


@pytest.mark.design("J3")
def test_who_was_away_during_two_changes_follows_and_newcomers_join_under_the_third_root(lab):
    one, two = host(lab), host(lab, "lab2")
    all_up(lab.main, one, two)
    early = lab.token()
    two.stop()
    until(lambda: lab.main.roster.peers["lab2/host"].status in GONE)
    assert list(changed(lab)["missing"]) == ["lab2/host"]
    assert changed(lab, "second.key", "third.key")["version"] == 3
    lab.main = restarted(lab, lab.main)
    lab.controller = lab.main.settings
    follows(lab.main, 3)
    lab.nodes.remove(two)
    two = Node(two.settings)
    two.offer(PaintAgent(two))
    lab.nodes.append(two)
    assert two.identity.roots.version == 1
    two.start()
    follows(two, 3)
    follows(one, 3)
    three = host(lab, "lab3")
    assert tokens.parse(lab.token()).root == three.identity.roots.key
    join(lab.settings("lab4"), early)  # minted before both
    assert identity.load(lab.folder / "lab4").roots == three.identity.roots
    all_up(lab.main, one, two, three)
    assert lab.main.stub(PaintAPI, "lab2").where() == "lab2"
    assert two.stub(PaintAPI, "lab3").add(1) == 11


@pytest.mark.design("J3")
def test_after_many_changes_they_still_fit_through_a_door_and_then_no_more_are_taken(lab):
    one, two = host(lab), host(lab, "lab2")
    all_up(lab.main, one, two)
    two.stop()
    until(lambda: lab.main.roster.peers["lab2/host"].status in GONE)
    me, last = lab.main.identity, key_in(lab, "lab0/root.key")
    roots, signers = me.roots, me.signers.signers
    while roots.version < certificate.MOST_ROOTS:
        new = Ed25519PrivateKey.generate()
        roots, last = roots.follow([hand_over(last, new, roots)]), new
    (lab.folder / "last.key").write_bytes(last.private_bytes_raw())
    made = SignerSet(FORMAT, me.cluster, 9, signers, roots.version)
    told = Rotation(lab.main).order_root(msgspec.msgpack.encode(Trust(roots.records, sign(last, "signers", made))))
    assert told["told"] == ["lab1/host"]
    two = restarted(lab, two)
    three = host(lab, "lab3")
    for node in (one, two, three):
        follows(node, certificate.MOST_ROOTS)
    all_up(lab.main, one, two, three)
    assert one.stub(PaintAPI, "lab3").where() == "lab3"  # who show themselves at a door, where little is read
    assert three.stub(PaintAPI, "lab2").where() == "lab2"
    with pytest.raises(JoinRefused, match="make a new cluster"):
        changed(lab, "last.key", "one-more.key")


@pytest.mark.design("J3")
def test_a_controller_that_was_restored_from_before_the_change_hears_it_of_a_host(lab):
    one = host(lab)
    all_up(lab.main, one)
    kept = (lab.folder / "lab0" / "node.cert").read_bytes()
    changed(lab)
    follows(one, 2)
    lab.main.stop()
    lab.nodes.remove(lab.main)
    (lab.folder / "lab0" / "node.cert").write_bytes(kept)
    lab.main = Node(lab.main.settings)
    lab.nodes.append(lab.main)
    assert lab.main.identity.roots.version == 1
    lab.main.start()
    follows(lab.main, 2)


@pytest.mark.design("J4")
def test_only_a_record_that_both_roots_signed_changes_the_root(lab):
    """threat: forged change of root."""
    one = host(lab)
    all_up(lab.main, one)
    folder = lab.folder
    old, other = key_in(lab, "lab0/root.key"), keys.new_signing_key(folder / "other.key")
    me = lab.main.identity
    signer = keys.public_of(me.signer())

    def refused(node, record, root=other, version=2):
        signers = sign(root, "signers", SignerSet(FORMAT, me.cluster, 99, [signer], version))
        before = node.identity.trust
        with pytest.raises(JoinRefused):
            node.identity.adopt(Trust((record,), signers))
        with pytest.raises(JoinRefused):
            node.identity.verify(Chain(node.identity.chain.certificate, signers, None, (record,)))
        assert node.identity.trust == before == identity.load(node.identity.state_dir).trust

    good = hand_over(old, other, me.roots)
    by_new_alone = sign(other, "root", Root(FORMAT, me.cluster, 2, keys.public_of(other)))
    elsewhere = sign(old, "root", Root(FORMAT, b"c" * 32, 2, keys.public_of(other)))
    later = sign(old, "root", Root(FORMAT, me.cluster, 3, keys.public_of(other)))
    broken = sign(old, "root", Root(FORMAT, me.cluster, 2, b"short"))
    refused(one, Handover(good.root, b"s" * 64))
    refused(one, Handover(by_new_alone, good.accepted))
    for signed in (elsewhere, later, broken):
        refused(one, Handover(signed, other.sign(b"nova0/1/root\0" + signed.body)))
    refused(one, Handover(msgspec.structs.replace(good.root, body=b"\x91" * 1500), good.accepted))
    refused(one, good, root=old, version=1)  # the root, but with it no signers by its word
    with pytest.raises(JoinRefused):
        one.identity.adopt(Trust((), sign(other, "signers", SignerSet(FORMAT, me.cluster, 99, [signer], 2))))
    # once one is held: no other in its place, and none that was root before
    earlier = one.identity.chain
    changed(lab)
    follows(one, 2)
    refused(one, good)
    new = key_in(lab, "second.key")
    refused(one, hand_over(new, old, one.identity.roots), root=old, version=3)
    first = Trust((), sign(old, "signers", SignerSet(FORMAT, me.cluster, 999, [signer])))
    assert not one.identity.adopt(first)
    assert identity.load(folder / "lab1").roots.version == 2
    identity.switch(folder / "lab1", earlier)  # a certificate that was made before, and comes late
    assert identity.load(folder / "lab1").trust == one.identity.trust
    # who names another root in its token does not join here
    token = tokens.parse(lab.token())
    for root, version in ((keys.public_of(other), 2), (keys.public_of(new), 7)):
        with pytest.raises(JoinRefused, match="another root"):
            join(lab.settings("lab5"), msgspec.structs.replace(token, root=root, root_version=version).text())


@pytest.mark.design("J5")
def test_a_crash_leaves_the_root_before_or_the_new_one_and_the_command_goes_on(lab, monkeypatch):
    one = host(lab)
    all_up(lab.main, one)
    before = identity.load(lab.folder / "lab0").trust
    write = keys.write_public

    def full(path, body):
        if path.name == "node.cert":
            raise OSError(28, "No space left on device")
        write(path, body)

    with monkeypatch.context() as m:  # between the new key and the record
        m.setattr(keys, "write_public", full)
        with pytest.raises(OSError, match="No space"):
            changed(lab)
    made = (lab.folder / "second.key").read_bytes()
    assert lab.main.identity.trust == before == identity.load(lab.folder / "lab0").trust
    with monkeypatch.context() as m:  # between the record and telling it
        m.setattr(Rotation, "_everybody", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            changed(lab)
    assert (lab.folder / "second.key").read_bytes() == made
    assert identity.load(lab.folder / "lab0").roots.version == 2
    told = changed(lab, old="nowhere.key")  # needs the old one no more
    assert told["version"] == 2 and not told["changed"] and told["told"] == ["lab1/host"]
    follows(one, 2)


KILLED = """
import os, sys
from pathlib import Path
import msgspec
from nova0.mesh import identity, rotation
from nova0.mesh.certificate import Trust
folder, when, rename = Path(sys.argv[1]), sys.argv[2], os.rename
def dies(path, to):
    if Path(to).name == "node.cert" and when == "before":
        os._exit(9)
    rename(path, to)
    if Path(to).name == "node.cert":
        os._exit(9)
os.rename = dies
me = identity.load(folder)
give = lambda trust: me.adopt(msgspec.msgpack.decode(trust, type=Trust))
rotation.rotate_root(folder, folder / "root.key", folder.parent / "second.key", give)
"""


@pytest.mark.parametrize(("when", "version"), [("before", 1), ("after", 2)])
@pytest.mark.design("J5")
def test_killed_while_it_writes_the_root_is_whole_and_the_command_goes_on(lab, when, version):
    lab.main.stop()
    lab.nodes.remove(lab.main)
    died = subprocess.run([sys.executable, "-c", KILLED, str(lab.folder / "lab0"), when], timeout=120)
    assert died.returncode == 9
    held = identity.load(lab.folder / "lab0")
    assert held.roots.version == held.signers.root == version
    lab.main = Node(lab.main.settings)
    lab.nodes.append(lab.main)
    lab.main.start()
    told = changed(lab)
    assert told["version"] == 2 and told["changed"] == (version == 1)
    assert lab.main.identity.roots.key == keys.public_of(key_in(lab, "second.key"))


@pytest.mark.slow
@pytest.mark.design("J2")
def test_signers_that_are_not_this_controllers_go_with_the_old_root(lab):
    """threat: who stole the root has made a signer with it, and members."""
    one = host(lab)
    all_up(lab.main, one)
    old, thief = key_in(lab, "lab0/root.key"), keys.new_signing_key(lab.folder / "thief.key")
    me = lab.main.identity
    more = SignerSet(FORMAT, me.cluster, 50, [*me.signers.signers, keys.public_of(thief)])
    for node in (lab.main, one):
        Rotation(node).take(Trust((), sign(old, "signers", more)))
    two = host(lab, "lab2")
    all_up(lab.main, one, two)
    theirs = two.identity.certificate
    Rotation(two).reissued(
        two.identity.chain_for(
            issue(thief, theirs.cluster, "lab2", theirs.roles, theirs.key, node_id=theirs.node_id, vouch=theirs.vouch)
        )
    )
    for node in (lab.main, one):  # else one goes on with the certificate of before, which is good
        seen = lambda n=node: n.roster.peers["lab2/host"].certificate  # noqa: E731
        until(lambda s=seen: s() and s().signer == keys.public_of(thief), what="the thief's certificate is believed")
    all_up(lab.main, one, two)
    assert changed(lab)["dropped"] == [keys.public_of(thief).hex()]
    follows(one, 2)
    assert one.identity.signers.signers == [keys.public_of(me.signer())]
    for node in (lab.main, one):
        until(lambda n=node: not n.roster.admits(two.pair.public), what="the thief's member is out")


@pytest.mark.design("J5")
def test_a_wrong_key_or_file_is_one_clear_line_and_changes_nothing(lab):
    before = lab.main.identity.trust
    with pytest.raises(JoinRefused, match="bring it for this command with --root-key FILE"):
        changed(lab, old="nowhere.key")
    keys.new_signing_key(lab.folder / "other.key")
    with pytest.raises(JoinRefused, match="not the root's key of this cluster"):
        changed(lab, old="other.key")
    (lab.folder / "text").write_text("hello")
    with pytest.raises(JoinRefused, match="no signing key"):
        changed(lab, new="text")
    with pytest.raises(JoinRefused, match="Not a directory"):
        changed(lab, new="text/new.key")
    assert not (lab.folder / "second.key").exists()
    changed(lab)
    with pytest.raises(JoinRefused, match="before, and cannot be again"):
        changed(lab, old="second.key", new="lab0/root.key")
    assert lab.main.identity.roots.version == 2 and lab.main.identity.trust != before
