"""This machine's place in the cluster as it lies on disk, and the making of a new cluster."""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from nova0.mesh import keys
from nova0.mesh.certificate import (
    FORMAT,
    Certificate,
    Chain,
    Handover,
    Roots,
    Signed,
    SignerSet,
    Trust,
    issue,
    read_signers,
    sign,
    verify,
    verify_kind,
    vouch_for,
)
from nova0.mesh.errors import JoinRefused

LOG = logging.getLogger(__name__)
NEXT_KEY = "node.key.next"  # of a change of key under way; it counts once node.cert is for it


class Identity:
    """Read once at start. `cluster` is the first root's public key, `roots` lead to the one that counts, `chain`
    is what this machine shows others."""

    def __init__(self, state_dir: Path, cluster: bytes, pair: keys.CurvePair, chain: Chain) -> None:
        self.state_dir, self.cluster, self.pair, self.chain = state_dir, cluster, pair, chain
        self.roots = Roots((cluster,)).follow(chain.roots)
        self.certificate, self.signers = verify(chain, Roots((cluster,)))
        if self.certificate.key != pair.public:
            raise JoinRefused(
                f"{state_dir}: node.cert is for another key than node.key (a copied or restored folder?): "
                "empty it and join again with a token"
            )

    def verify(self, chain: Chain) -> Certificate:
        """A peer's certificate after every check; remembers a newer root or signer set. Raises JoinRefused."""
        certificate, newest = verify(chain, self.roots, self.signers)
        if newest.age > self.signers.age:
            roots = self.roots.follow(chain.roots)
            try:
                self._keep(chain.signers, roots.records)
            except OSError as error:  # it counts, and is shown again after a restart
                LOG.warning("%s: which signers count is not on disk: %s", self.state_dir, error)
            self._renew(newest, chain.signers, roots)
        return certificate

    def _keep(self, signed: Signed, records: tuple[Handover, ...]) -> None:
        """Roots and signers lie in one file with the certificate: they change together or not at all."""
        with _writing(self.state_dir):
            on_disk = _chain(self.state_dir)  # another process may have put a newer certificate there
            newest = _newer(on_disk, msgspec.structs.replace(on_disk, signers=signed, roots=records))
            keys.write_public(self.state_dir / "node.cert", msgspec.msgpack.encode(newest))

    def _renew(self, newest: SignerSet, signed: Signed, roots: Roots) -> None:
        self.signers, self.roots = newest, roots
        self.chain = msgspec.structs.replace(self.chain, signers=signed, roots=roots.records)

    def adopt(self, trust: Trust) -> bool:
        """A set of signers, and the roots that lead to the one that signed it; True if it is newer than what is
        known. On disk before it counts. Raises JoinRefused, OSError."""
        roots = self.roots.follow(trust.roots)
        newest = read_signers(trust.signers, roots)
        if newest.root != roots.version and roots.version > self.roots.version:
            raise JoinRefused("those signers are by the word of an earlier root, which counts no more")
        if newest.cluster != self.cluster or newest.age <= self.signers.age:
            return False
        self._keep(trust.signers, roots.records)
        self._renew(newest, trust.signers, roots)
        return True

    def adopt_signers(self, signed: Signed) -> bool:
        """The same of a set alone."""
        return self.adopt(Trust((), signed))

    @property
    def trust(self) -> Trust:
        return Trust(self.chain.roots, self.chain.signers)

    def chain_for(self, certificate: Signed) -> Chain:
        """With what leads from that certificate of this cluster to its root."""
        return Chain(certificate, self.chain.signers, None, self.chain.roots)

    def chain_to(self, roots_known: int) -> Chain:
        """What this machine shows one who has seen so many changes of root: little fits through a door."""
        return msgspec.structs.replace(self.chain, roots=self.chain.roots[roots_known:])

    def take(self, fresh: Identity) -> None:
        """Go on with what is on disk now: another key, certificate, root or signer set. Never an older set."""
        self.pair, self.certificate = fresh.pair, fresh.certificate
        if fresh.signers.age >= self.signers.age:
            self.chain, self.signers, self.roots = fresh.chain, fresh.signers, fresh.roots
        else:
            self.chain = msgspec.structs.replace(fresh.chain, signers=self.chain.signers, roots=self.chain.roots)

    def check_own(self, chain: Chain, key: bytes) -> Certificate:
        """A certificate handed out to this machine for its key `key`. Raises JoinRefused."""
        made, now = self.verify(chain), self.certificate
        if (made.key, made.host, made.node_id, made.vouch) != (key, now.host, now.node_id, now.vouch):
            raise JoinRefused(f"{now.host}: the certificate handed out is not for this machine")
        return made

    def earlier(self, old: Signed, now: Certificate) -> Certificate:
        """An earlier certificate of the machine whose present one is `now`. Raises JoinRefused."""
        before = verify_kind("node", old, self.cluster, self.signers)
        if before.node_id != now.node_id or before.host != now.host or before.serial >= now.serial:
            raise JoinRefused(f"{now.host}: that is no earlier certificate of this machine")
        return before

    @property
    def can_sign(self) -> bool:
        return (self.state_dir / "signer.key").exists()

    def signer(self) -> Ed25519PrivateKey:
        """Raises JoinRefused where this machine may not sign newcomers in."""
        try:
            return keys.signing_key(self.state_dir / "signer.key")
        except FileNotFoundError:
            raise JoinRefused(
                f"{self.certificate.host} holds no signer key: ask a controller that does (`nova0 agents`)"
            ) from None

    def sign_in(
        self, host: str, roles: tuple[str, ...], topics: tuple[str, ...] | None, key: bytes, vouch: bytes = b""
    ) -> Signed:
        """`topics`: None for those of its roles. `vouch`: the public half of the newcomer's own `vouch.key`."""
        return issue(self.signer(), self.cluster, host, roles, key, topics=topics, vouch=vouch)

    def vouch(self, name: str, key: bytes) -> tuple[Chain, str]:
        """For a user's agent on this machine: what it shows others, and its process name. Raises JoinRefused."""
        if not 1 <= len(name) <= 48 or not all(c.isascii() and (c.isalnum() or c in "-._") for c in name):
            raise JoinRefused(f"agent name {name!r}: letters, digits, '-', '.' and '_' only, at most 48")
        signer = keys.vouching_key(self.state_dir)
        if self.certificate.process or keys.public_of(signer) != self.certificate.vouch:
            raise JoinRefused(
                f"{self.certificate.host}: the certificate of this machine does not let it vouch for users' agents: "
                "put it out (`nova0 evict`) and join it again"
            )
        process, serial = f"user-{name}", keys.next_boot(self.state_dir, "vouched")
        signed = vouch_for(signer, self.certificate, key, process, serial)
        return msgspec.structs.replace(self.chain, user=signed), process


def is_member(state_dir: str | Path) -> bool:
    """True where this machine has a key, a certificate and a cluster to which they belong."""
    folder = Path(state_dir)
    return all((folder / name).exists() for name in ("node.key", "node.cert", "root.pub"))


def load(state_dir: str | Path) -> Identity:
    """Raises JoinRefused, with the remedy, on a machine that is not a member."""
    folder = Path(state_dir)
    if not is_member(folder):
        raise JoinRefused(f"{folder}: this machine is in no cluster: `nova0 up` starts one, `nova0 join -` joins one")
    _finish_switch(folder)
    return Identity(folder, (folder / "root.pub").read_bytes(), keys.node_key(folder), _chain(folder))


def _chain(folder: Path) -> Chain:
    return msgspec.msgpack.decode((folder / "node.cert").read_bytes(), type=Chain)


def roots_of(folder: Path) -> Roots:
    """The cluster's roots as this machine knows them. Raises OSError, JoinRefused."""
    return Roots(((folder / "root.pub").read_bytes(),)).follow(_chain(folder).roots)


def _newer(on_disk: Chain, chain: Chain) -> Chain:
    """That chain, with the roots and signers that are on disk where those are newer."""
    held, told = (msgspec.msgpack.decode(c.signers.body, type=SignerSet).age for c in (on_disk, chain))
    if held > told:
        return msgspec.structs.replace(chain, signers=on_disk.signers, roots=on_disk.roots)
    return chain


def switch(folder: Path, chain: Chain) -> None:
    """From here on this machine has the key in NEXT_KEY and this certificate for it; whole or not at all."""
    with _writing(folder):
        keys.write_public(folder / "node.cert", msgspec.msgpack.encode(_newer(_chain(folder), chain)))
    _finish_switch(folder)


def _finish_switch(folder: Path) -> None:
    """The certificate says which of two keys counts; a crash may have come between the two files."""
    ready = folder / NEXT_KEY
    if ready.exists():
        with _writing(folder):
            if ready.exists() and keys.read_pair(ready).public == _machine_key(folder):
                ready.rename(folder / "node.key")


def _machine_key(folder: Path) -> bytes:
    return msgspec.msgpack.decode(_chain(folder).certificate.body, type=Certificate).key


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """One process of the machine at a time changes key and certificate."""
    with open(folder / "lock.identity", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def create_cluster(state_dir: str | Path, host: str) -> None:
    """Make root, signer and this machine's own certificate (controller and host). Raises JoinRefused
    where the machine is already in a cluster."""
    folder = Path(state_dir)
    if is_member(folder):
        raise JoinRefused(f"{folder}: {host} is already in a cluster; `nova0 leave` takes it out")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    pair = keys.node_key(folder)
    root = keys.new_signing_key(folder / "root.key")
    signer = keys.new_signing_key(folder / "signer.key")
    cluster = keys.public_of(root)
    signers = sign(root, "signers", SignerSet(FORMAT, cluster, 1, [keys.public_of(signer)]))
    vouch = keys.public_of(keys.vouching_key(folder))
    certificate = issue(signer, cluster, host, ("controller", "host"), pair.public, vouch=vouch)
    store(folder, cluster, Chain(certificate, signers))


def store_vouched(folder: Path, vouched: dict[str, Any]) -> None:
    """Keep what the machine's own node said (`LocalClient.vouch`): this folder is a user's agent's now."""
    for node, body in vouched["peers"].items():
        keys.write_public(folder / "peers" / node.replace("/", "~"), body)
    store(folder, vouched["cluster"], msgspec.msgpack.decode(vouched["chain"], type=Chain))


def store(folder: Path, cluster: bytes, chain: Chain) -> None:
    """Keep what makes this machine a member; the certificate last, so that half of it is none."""
    read_signers(chain.signers, Roots((cluster,)).follow(chain.roots))
    keys.write_public(folder / "root.pub", cluster)
    keys.write_public(folder / "node.cert", msgspec.msgpack.encode(chain))
