"""Which store this node has worked for, kept across restarts: so that one put back from an older copy, or
a second one of the same cluster, is noticed before it has anything destroyed.

A store is told by its id and by a mark that grows with every commit. A doubt stays until the operator
says that this store is the right one: an adoption, signed by a signer of the cluster (`nova0 adopt`).
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TypeVar

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import Struct

from nova0.mesh import keys
from nova0.mesh.certificate import FORMAT, Signed, check, sign
from nova0.mesh.errors import JoinRefused
from nova0.mesh.identity import Identity
from nova0.mesh.wire import BROKEN

LOG = logging.getLogger(__name__)
T = TypeVar("T")
KIND = "adoption"
SAVE_S = 5.0  # a mark that only grew is written this often


class Adoption(Struct, array_like=True, frozen=True):
    """The operator's word that this store is the cluster's; a higher epoch replaces a lower."""

    format: int
    cluster: bytes
    store_id: str
    epoch: int
    signer: bytes


class StoreClaim(Struct, frozen=True):
    """What a controller says of its store in a greeting."""

    node: str
    boot: int
    store_id: str
    mark: int
    adoption: Signed | None = None


class Memory(Struct):
    """The store last worked for. `boot` is the start of `node` that showed it; `doubted` stays set though
    an older copy may since have grown past `mark`."""

    store_id: str
    mark: int
    node: str
    boot: int
    epoch: int = 0
    doubted: bool = False


class Stores:
    """One process's memory. `adoption` is the newest one seen: a controller shows it in its greetings."""

    def __init__(self, identity: Identity, process: str) -> None:
        self._identity = identity
        self._path = identity.state_dir / f"store.{process}"
        self._adoption_path = identity.state_dir / "adoption"
        self._memory: Memory | None = None
        self._doubts: dict[str, str] = {}  # controller's node -> why
        self._written = 0.0
        self._dirty = False
        self.adoption: Signed | None = None
        self._memory = self._read(self._path, Memory)
        if self._memory is None and self._path.exists():
            self._memory = Memory("unreadable", 0, "", 0)  # which one it was is not known: every store is doubted
        self.adoption = self._read(self._adoption_path, Signed)

    def _read(self, path: Path, kind: type[T]) -> T | None:
        """None where there is no such file, or one that cannot be read: that is logged."""
        try:
            return msgspec.msgpack.decode(path.read_bytes(), type=kind)
        except FileNotFoundError:
            return None
        except BROKEN as error:
            LOG.error("%s cannot be read (%s): once the store is known to be right, `nova0 adopt`", path, error)
            return None

    @property
    def epoch(self) -> int:
        """Of the newest adoption this node has taken."""
        return self._memory.epoch if self._memory is not None else 0

    def doubt(self, node: str = "") -> str:
        """Why destructive work is not done on the word of controller `node` (or of any); "" when it is."""
        return self._doubts.get(node, "") if node else next(iter(self._doubts.values()), "")

    def greeted(self, claim: StoreClaim) -> str:
        """A controller said which store it works from. Returns the doubt, if there is one."""
        if not claim.store_id:
            self._doubts.pop(claim.node, None)
            return ""
        memory = self._memory
        adopted = self._epoch_of(claim)
        if memory is None or adopted > memory.epoch:
            if memory is not None:
                LOG.warning("store %s behind %s is adopted (epoch %d)", claim.store_id[:8], claim.node, adopted)
            self._memory = Memory(claim.store_id, claim.mark, claim.node, claim.boot, adopted)
            self._doubts.pop(claim.node, None)
            self.save(now=True)
            return ""
        why = ""
        if claim.store_id != memory.store_id:
            why = f"it is not the store {memory.store_id[:8]} this host worked for"
        elif memory.doubted or self._went_back(memory, claim):
            why = f"this host has seen its commit {memory.mark}, it showed {claim.mark}: a restored older copy?"
            if not memory.doubted:
                memory.doubted = True
                self.save(now=True)
        if why:
            if claim.node not in self._doubts:
                LOG.error("nothing destructive is done for %s: store %s: %s", claim.node, claim.store_id[:8], why)
            self._doubts[claim.node] = (
                f"store {claim.store_id[:8]} behind {claim.node}: {why} Compare `nova0 ps --all` with what runs, "
                f"then `nova0 adopt` on {claim.node.partition('/')[0]}"
            )
            return self._doubts[claim.node]
        self._doubts.pop(claim.node, None)
        if (claim.node, claim.boot, claim.mark) != (memory.node, memory.boot, memory.mark):
            memory.mark, memory.node, memory.boot = max(memory.mark, claim.mark), claim.node, claim.boot
            self.save(now=True)
        return ""

    def marked(self, node: str, boot: int, mark: int) -> None:
        """A beat of a controller: its store has come so far."""
        memory = self._memory
        if memory is not None and (memory.node, memory.boot) == (node, boot) and node not in self._doubts:
            self._dirty = self._dirty or mark > memory.mark
            memory.mark = max(memory.mark, mark)

    def adopt(self, store_id: str, at_least: int = 0) -> Signed:
        """On a controller: sign that its store is the right one. Raises JoinRefused where no signer key is."""
        signer = self._identity.signer()
        last = max(at_least, self.epoch_of(self.adoption))
        record = Adoption(FORMAT, self._identity.cluster, store_id, last + 1, keys.public_of(signer))
        self.adoption = sign(signer, KIND, record)
        keys.write_public(self._adoption_path, msgspec.msgpack.encode(self.adoption))
        return self.adoption

    def renew(self, signer: Ed25519PrivateKey) -> None:
        """Sign anew what an earlier signer said."""
        if self.adoption is not None:
            record = msgspec.msgpack.decode(self.adoption.body, type=Adoption)
            self.adoption = sign(signer, KIND, msgspec.structs.replace(record, signer=keys.public_of(signer)))
            keys.write_public(self._adoption_path, msgspec.msgpack.encode(self.adoption))

    @staticmethod
    def epoch_of(signed: Signed | None) -> int:
        """As written in it, unchecked; 0 for none."""
        return msgspec.msgpack.decode(signed.body, type=Adoption).epoch if signed is not None else 0

    def save(self, *, now: bool = False) -> None:
        """Write what changed; a few bytes, and seldom, so in the loop."""
        if self._memory is None or not (now or (self._dirty and time.monotonic() - self._written > SAVE_S)):
            return
        self._dirty, self._written = False, time.monotonic()
        try:
            keys.write_public(self._path, msgspec.msgpack.encode(self._memory))
        except OSError as error:  # of use after a restart only: this node goes on, and tries again
            self._dirty = True
            LOG.warning("which store this node works for is not on disk: %s", error)

    @property
    def due(self) -> bool:
        return self._dirty and time.monotonic() - self._written > SAVE_S

    def _went_back(self, memory: Memory, claim: StoreClaim) -> bool:
        """Within one start of one controller a lower mark is only a greeting that was overtaken by a beat."""
        return claim.mark < memory.mark and (claim.node, claim.boot) != (memory.node, memory.boot)

    def _epoch_of(self, claim: StoreClaim) -> int:
        """Of the adoption shown, if it is for that store and a signer of this cluster made it; else 0."""
        if claim.adoption is None:
            return 0
        try:
            record = msgspec.msgpack.decode(claim.adoption.body, type=Adoption)
            if record.store_id != claim.store_id or record.cluster != self._identity.cluster:
                return 0
            if record.signer not in self._identity.signers.signers:
                raise JoinRefused("its signer does not count (any more)")
            check(record.signer, KIND, claim.adoption)
        except (JoinRefused, msgspec.MsgspecError) as error:
            LOG.warning("the adoption shown by %s does not hold: %s", claim.node, error)
            return 0
        return record.epoch
