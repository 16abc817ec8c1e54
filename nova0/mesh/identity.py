"""This machine's place in the cluster as it lies on disk, and the making of a new cluster."""

from __future__ import annotations

from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from nova0.mesh import keys
from nova0.mesh.certificate import FORMAT, Certificate, Chain, Signed, SignerSet, issue, read_signers, sign, verify
from nova0.mesh.errors import JoinRefused


class Identity:
    """Read once at start. `cluster` is the root's public key, `chain` what this machine shows others."""

    def __init__(self, state_dir: Path, cluster: bytes, pair: keys.CurvePair, chain: Chain) -> None:
        self.state_dir, self.cluster, self.pair, self.chain = state_dir, cluster, pair, chain
        self.certificate, self.signers = verify(chain, cluster)
        if self.certificate.key != pair.public:
            raise JoinRefused(
                f"{state_dir}: node.cert is for another key than node.key (a copied or restored folder?): "
                "empty it and join again with a token"
            )

    def verify(self, chain: Chain) -> Certificate:
        """A peer's certificate after every check; remembers a newer signer set. Raises JoinRefused."""
        certificate, newest = verify(chain, self.cluster, self.signers)
        if newest.generation > self.signers.generation:
            self.signers = newest
            self.chain = Chain(self.chain.certificate, chain.signers)
            keys.write_public(self.state_dir / "node.cert", msgspec.msgpack.encode(self.chain))
        return certificate

    def signer(self) -> Ed25519PrivateKey:
        """Raises JoinRefused where this machine may not sign newcomers in."""
        try:
            return keys.signing_key(self.state_dir / "signer.key")
        except FileNotFoundError:
            raise JoinRefused(
                f"{self.certificate.host} holds no signer key: ask a controller that does (`nova0 agents`)"
            ) from None

    def sign_in(
        self, host: str, roles: tuple[str, ...], topics: tuple[str, ...], key: bytes, vouch: bytes = b""
    ) -> Signed:
        """`vouch`: the public half of the newcomer's own `vouch.key`."""
        return issue(self.signer(), self.cluster, host, roles, key, topics=topics, vouch=vouch)


def is_member(state_dir: str | Path) -> bool:
    """True where this machine has a key, a certificate and a cluster to which they belong."""
    folder = Path(state_dir)
    return all((folder / name).exists() for name in ("node.key", "node.cert", "root.pub"))


def load(state_dir: str | Path) -> Identity:
    """Raises JoinRefused, with the remedy, on a machine that is not a member."""
    folder = Path(state_dir)
    if not is_member(folder):
        raise JoinRefused(
            f"{folder}: this machine is in no cluster: `nova0 up` starts one, `nova0 join TOKEN` joins one"
        )
    chain = msgspec.msgpack.decode((folder / "node.cert").read_bytes(), type=Chain)
    return Identity(folder, (folder / "root.pub").read_bytes(), keys.node_key(folder), chain)


def create_cluster(state_dir: str | Path, host: str) -> None:
    """Make root, signer and this machine's own certificate (controller and host). Raises JoinRefused
    where the machine is already in a cluster."""
    folder = Path(state_dir)
    if is_member(folder):
        raise JoinRefused(f"{folder}: {host} is already in a cluster; `nova0 down --purge` leaves it for good")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    pair = keys.node_key(folder)
    root = keys.new_signing_key(folder / "root.key")
    signer = keys.new_signing_key(folder / "signer.key")
    cluster = keys.public_of(root)
    signers = sign(root, "signers", SignerSet(FORMAT, cluster, 1, [keys.public_of(signer)]))
    vouch = keys.public_of(keys.vouching_key(folder))
    certificate = issue(signer, cluster, host, ("controller", "host"), pair.public, vouch=vouch)
    store(folder, cluster, Chain(certificate, signers))


def store(folder: Path, cluster: bytes, chain: Chain) -> None:
    """Keep what makes this machine a member; the certificate last, so that half of it is none."""
    read_signers(chain.signers, cluster)
    keys.write_public(folder / "root.pub", cluster)
    keys.write_public(folder / "node.cert", msgspec.msgpack.encode(chain))
