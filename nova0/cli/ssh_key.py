"""The caller's ed25519 key for servers: ~/.ssh/nova0_ed25519, 0600, made once."""

from __future__ import annotations

import os
from pathlib import Path

from nova0.cli.person import Person


def path_of(person: Person, state_path: Path) -> Path:
    """Where the private key is: in the person's home, or under the state for users without one."""
    return person.home / ".ssh/nova0_ed25519" if person.has_home() else state_path / "ssh/nova0_ed25519"


def ensure(path: Path, person: Person) -> str:
    """The public key line, making the pair if there is none."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    openssh = serialization.Encoding.OpenSSH
    if not path.exists():
        person.make_folder(path.parent)
        key = Ed25519PrivateKey.generate()
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        )
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secret)
        person.own(path)
    loaded = serialization.load_ssh_private_key(path.read_bytes(), password=None)
    line = loaded.public_key().public_bytes(openssh, serialization.PublicFormat.OpenSSH).decode() + " nova0"
    public = path.with_name(path.name + ".pub")
    if not public.exists():
        public.write_text(line + "\n")
        public.chmod(0o644)
        person.own(public)
    return line
