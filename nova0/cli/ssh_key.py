"""The caller's ed25519 key for servers: ~/.ssh/nova0_ed25519, 0600, made once.

Beside a key that nova0 made lies a note of the clouds that use it; with the last of them the key goes. A key that
somebody put there is used as it is, never changed and never removed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nova0 import atomic_file
from nova0.cli import outside, state
from nova0.cli.failure import Failure
from nova0.cli.person import Person

COMMENT = "nova0"  # of the public key, here and in the cloud


def path_of(person: Person, state_path: Path) -> Path:
    """Where the private key is: in the person's home, or under the state for users without one."""
    return person.home / ".ssh/nova0_ed25519" if person.has_home() else state_path / "ssh/nova0_ed25519"


def ensure(path: Path, person: Person, state_path: Path) -> str:
    """The public key line, making the pair if there is none. Raises Failure for a file that is no key we can use."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    made = not path.exists()
    if made:
        person.make_folder(path.parent)
        key = Ed25519PrivateKey.generate()
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        )
        atomic_file.create(path, secret)
        person.own(path)
    line = f"{_public(path)} {COMMENT}"
    public = path.with_name(path.name + ".pub")
    if not public.exists():
        atomic_file.write(public, line + "\n", 0o644)
        person.own(public)
    note: dict[str, Any] | None = {"public": line, "used_by": []} if made else _note(path)
    if note is not None and note["public"] == line and str(state_path) not in note["used_by"]:
        note["used_by"].append(str(state_path))
        _write_note(path, note, person)
    if note is not None:
        outside.remember(state_path, outside.KEY, path)
    return line


def forget(path: Path, person: Person, state_path: Path) -> list[str]:
    """This state's cloud is gone: the pair goes too, if nova0 made it, nobody changed it and no other cloud of this
    machine uses it. The paths removed."""
    note = _note(path)
    if note is None:
        return []
    others = [one for one in note["used_by"] if one != str(state_path) and state.is_ours(Path(one))]
    try:
        same = f"{_public(path)} {COMMENT}" == note["public"]
    except (Failure, OSError):
        same = not path.exists()
    if others or not same:
        if path.exists():
            _write_note(path, note | {"used_by": others}, person)
        return []
    public = path.with_name(path.name + ".pub")
    removed = [path, path.with_name(path.name + ".known_hosts"), _note_path(path)]
    if public.exists() and public.read_text().split()[:2] == note["public"].split()[:2]:
        removed.append(public)
    there = [one for one in removed if one.exists()]
    for one in there:
        one.unlink()
    return [str(one) for one in there]


def _public(path: Path) -> str:
    from cryptography.hazmat.primitives import serialization

    try:
        loaded = serialization.load_ssh_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError) as error:
        raise Failure(f"{path} is no key that can be used without a passphrase ({error}): move it away") from error
    form = serialization.PublicFormat.OpenSSH
    return loaded.public_key().public_bytes(serialization.Encoding.OpenSSH, form).decode()


def _note_path(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _note(path: Path) -> dict[str, Any] | None:
    """None where nova0 did not make the key."""
    try:
        note = json.loads(_note_path(path).read_text())
        return {"public": str(note["public"]), "used_by": [str(one) for one in note["used_by"]]}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_note(path: Path, note: dict[str, Any], person: Person) -> None:
    with atomic_file.writing(_note_path(path), 0o644) as file:
        file.write(json.dumps(note, indent=1).encode() + b"\n")
        person.own_like(path, file.fileno())
