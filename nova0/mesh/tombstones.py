"""Who was put out: signed tombstones, merged by union, on disk before they count, never taken back.

One file for each key in the state folder, so that the processes of a machine share them without a lock.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from hashlib import blake2b

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from nova0.mesh import keys
from nova0.mesh.certificate import (
    FOR_GOOD,
    FORMAT,
    MAX_SIGNED_BYTES,
    Certificate,
    Chain,
    Signed,
    Stone,
    Tombstone,
    machine_of,
    read_certificate,
    read_stone,
    sign,
    tombstone_of,
)
from nova0.mesh.errors import Busy, JoinRefused, PutOut
from nova0.mesh.identity import Identity
from nova0.mesh.wire import BROKEN, Tombs
from nova0.native import offload

LOG = logging.getLogger(__name__)
MOST = 4096  # tombstones kept; more are refused, and `nova0 evict` says so
MOST_BAD = 4  # that do not hold in one message; the rest of it is not looked at
LEFT = "left the cluster"  # reason of a tombstone that a machine asked for itself
MOST_BYTES = 2 * MAX_SIGNED_BYTES + 200
COME_BACK = "Back in with a new key only: `nova0 token` on a controller, then here `nova0 down` and `nova0 join -`"

_read = msgspec.msgpack.Decoder(Stone).decode


class Tombstones:
    """The set of one machine. `summary` is what beats and greetings compare."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._folder = identity.state_dir / "tombstones"
        self._held: dict[bytes, tuple[Tombstone, bytes]] = {}  # key -> what is said, and as it travels
        self._bodies: set[bytes] = set()
        self._machines: dict[bytes, Tombstone] = {}  # node id -> the one that reaches furthest
        self.for_good: dict[str, Tombstone] = {}  # by the name of who was put out
        self._unsaved: list[tuple[Tombstone, bytes]] = []
        self.summary = Tombs()
        self._add(self._on_disk())

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[Tombstone]:
        return iter([tombstone for tombstone, _ in self._held.values()])

    def is_out(self, key: bytes) -> bool:
        return key in self._held

    def of_key(self, key: bytes) -> Tombstone | None:
        return self._held[key][0] if key in self._held else None

    def of(self, chain: Chain) -> Tombstone | None:
        """The tombstone that covers a verified chain: its key, its machine's key, or its machine for good."""
        machine = machine_of(chain)
        keys_shown = [machine.key]
        if chain.user is not None:
            keys_shown.append(msgspec.msgpack.decode(chain.user.body, type=Certificate).key)
        for key in keys_shown:
            if key in self._held:
                return self._held[key][0]
        tombstone = self._machines.get(machine.node_id)
        return tombstone if tombstone is not None and machine.serial <= tombstone.serial else None

    def stone(self, key: bytes) -> bytes:
        """That of one key, as it travels."""
        return self._held[key][1]

    def stones(self) -> list[bytes]:
        """All of them, as they travel."""
        return [body for _, body in self._held.values()]

    def merge(self, stones: list[bytes]) -> tuple[list[Tombstone], str]:
        """Check, write down, then count. The new ones, and what was wrong with the rest ("": nothing).
        Blocks its greenlet on the disk."""
        new: list[tuple[Tombstone, bytes]] = []
        wrong, bad = "", 0
        for body in stones[:MOST]:
            if body in self._bodies:
                continue
            try:
                stone = _read_stone(body)
                said = tombstone_of(stone)
                held = self._held.get(said.key)
                if held is not None and held[0].serial >= said.serial:
                    continue
                if held is None and len(self._held) + len(new) >= MOST:
                    raise Busy(f"{MOST} tombstones are held, no more are taken")
                read_stone(stone, self._identity.cluster, self._identity.signers, self.is_out)
                new.append((said, body))
            except (JoinRefused, Busy) as error:
                wrong, bad = error.message, bad + 1
                if bad >= MOST_BAD:
                    break
        if not new:
            return [], wrong
        try:
            offload(self._write, new)
        except OSError as error:  # a full disk must not keep anybody in: tried again by `save`
            LOG.error("%s: tombstones not written: %s", self._folder, error)
            self._unsaved += new
        return self._add(new), wrong

    @property
    def unsaved(self) -> bool:
        return bool(self._unsaved)

    def save(self) -> None:
        """Write what could not be written. Raises OSError. Blocks on the disk: run on a real thread."""
        self._write(self._unsaved)
        self._unsaved.clear()

    def renew(self, signer: Ed25519PrivateKey) -> None:
        """Sign anew what others no longer believe: its signer was dropped, or it is an operator's who was put out or
        whose certificate's signer was dropped. Blocks its greenlet on the disk. Raises OSError."""
        public, signers = keys.public_of(signer), self._identity.signers.signers
        if public not in signers:
            return
        anew = []
        for tombstone, body in self._held.values():
            operator = _read(body).operator
            signed_by = read_certificate(operator).signer if operator else tombstone.signer
            if signed_by not in signers or (operator and self.is_out(tombstone.signer)):
                again = msgspec.structs.replace(tombstone, signer=public)
                anew.append((again, msgspec.msgpack.encode(Stone(sign(signer, "tombstone", again)))))
        if anew:
            offload(self._write, anew)
        for tombstone, body in anew:
            self._hold(tombstone, body)

    def _hold(self, tombstone: Tombstone, body: bytes) -> None:
        held = self._held.get(tombstone.key)
        if held is not None:
            self._bodies.discard(held[1])
        self._held[tombstone.key] = tombstone, body
        self._bodies.add(body)
        furthest = self._machines.get(tombstone.node_id)
        if tombstone.node_id and (furthest is None or furthest.serial < tombstone.serial):
            self._machines[tombstone.node_id] = tombstone
        if tombstone.serial >= FOR_GOOD:
            self.for_good[tombstone.name] = tombstone

    def _add(self, new: list[tuple[Tombstone, bytes]]) -> list[Tombstone]:
        added = []
        for tombstone, body in new:
            held = self._held.get(tombstone.key)
            if held is None or held[0].serial < tombstone.serial:
                self._hold(tombstone, body)
                added.append(tombstone)
        rows = sorted(t.key + t.serial.to_bytes(8, "big") for t, _ in self._held.values())
        self.summary = Tombs(len(rows), blake2b(b"".join(rows), digest_size=8).digest())
        return added

    def _write(self, new: list[tuple[Tombstone, bytes]]) -> None:
        for tombstone, body in new:
            keys.write_public(self._folder / tombstone.key.hex(), body)

    def _on_disk(self) -> list[tuple[Tombstone, bytes]]:
        """Checked when they came; who wrote them down is this machine."""
        found = []
        for path in sorted(self._folder.glob("[0-9a-f]*"))[:MOST]:
            try:
                body = path.read_bytes()
                tombstone = tombstone_of(_read_stone(body))
                if tombstone.cluster == self._identity.cluster:
                    found.append((tombstone, body))
            except (OSError, JoinRefused) as error:
                LOG.error("%s: a tombstone cannot be read (it comes again from others): %s", path, error)
        return found


def _read_stone(body: bytes) -> Stone:
    if len(body) > MOST_BYTES:
        raise JoinRefused("tombstone is too long")
    try:
        return _read(body)
    except BROKEN as error:
        raise JoinRefused(f"tombstone cannot be read: {error}") from None


def put_out(
    signer: Ed25519PrivateKey,
    cluster: bytes,
    key: bytes,
    name: str,
    reason: str,
    by: str,
    *,
    node_id: bytes = b"",
    serial: int = FOR_GOOD,
    operator: Signed | None = None,
) -> bytes:
    """A new tombstone as it travels. With `node_id` the machine's certificates up to `serial` go, by
    default all for good; to retire only an old key, give its certificate's serial. `operator`: the
    certificate of `signer` where that is an operator's key."""
    tombstone = Tombstone(
        FORMAT, cluster, key, node_id, serial, name, reason[:200], by, time.time(), keys.public_of(signer)
    )
    return msgspec.msgpack.encode(Stone(sign(signer, "tombstone", tombstone), operator))


def put_out_text(tombstone: Tombstone) -> str:
    """For people: who was put out, by whom and why."""
    if left_by_itself(tombstone):
        return f"{tombstone.name} left the cluster"
    why = f": {tombstone.reason}" if tombstone.reason else ""
    return f"{tombstone.name} was put out of the cluster by {tombstone.by}{why}"


def left_by_itself(tombstone: Tombstone) -> bool:
    """The machine it is about asked for it (nova0.mesh.leaving)."""
    return tombstone.reason == LEFT and tombstone.by == tombstone.name


def refuse_if_out(identity: Identity) -> None:
    """Raises PutOut, with the remedy, where this machine itself was put out of its cluster."""
    tombstone = Tombstones(identity).of(identity.chain)
    if tombstone is not None:
        raise PutOut(f"{put_out_text(tombstone)}. {COME_BACK}")


def as_rows(tombstones: Iterable[Tombstone]) -> list[dict[str, object]]:
    """In plain values, newest first: name, reason, by, at (seconds), key (hex), for_good."""
    return [
        {
            "name": t.name,
            "reason": t.reason,
            "by": t.by,
            "at": t.at,
            "key": t.key.hex(),
            "for_good": bool(t.node_id) and t.serial >= FOR_GOOD,
        }
        for t in sorted(tombstones, key=lambda t: -t.at)
    ]
