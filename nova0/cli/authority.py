"""With whose key a command signs: this controller's signer, or an operator's."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nova0.cli import settings
from nova0.cli.failure import Failure

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from nova0.mesh.certificate import Signed
    from nova0.mesh.identity import Identity
    from nova0.mesh.local_client import LocalClient
    from nova0.mesh.operators import OperatorKey


@dataclass(frozen=True)
class Authority:
    key: Ed25519PrivateKey
    name: str
    operator: Signed | None = None

    def tombstone(self, found: dict[str, Any], name: str, reason: str) -> bytes:
        """For what `LocalClient.key_of` found."""
        from nova0.mesh.tombstones import put_out

        return put_out(
            self.key, found["cluster"], found["key"], name, reason, self.name,
            node_id=found["node_id"], operator=self.operator,
        )  # fmt: skip


def default_file() -> Path:
    """Where an operator's key is looked for: ~/.config/nova0/operator.key."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "nova0/operator.key"


def operator(file: str | None, node: LocalClient) -> OperatorKey:
    """The operator's key in `file`, or in the usual place, with the newest certificate to be had, which the file keeps.
    Raises Failure, JoinRefused."""
    from nova0.mesh import operators

    path = Path(file) if file else default_file()
    before = held(path)
    key = operators.renewed(node, before)
    if key != before:
        try:
            operators.save(path, key)
        except OSError as error:
            print(f"nova0: {path}: its new certificate cannot be written there: {error.strerror}", file=sys.stderr)
    return key


def held(path: Path) -> OperatorKey:
    """The operator's key in that file. Raises Failure."""
    from nova0.mesh import operators

    try:
        return operators.load(path)
    except FileNotFoundError:
        raise Failure(f"no operator's key in {path}: `nova0 operator create NAME` on a controller makes one") from None
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}") from error


def controller(args: argparse.Namespace) -> Identity:
    """This machine's identity where it can sign. Raises Failure elsewhere, or for whom it is not."""
    from nova0.mesh import identity

    folder = settings.state_path(args) / "mesh"
    try:
        if (folder / "signer.key").exists():
            me = identity.load(folder)
            me.signer()
            return me
    except PermissionError:
        raise Failure(f"{folder} is for root, or the user nova0 runs as: use sudo") from None
    raise Failure("no signer of the cluster is here: run this on a controller (`nova0 agents` shows where it is)")


def find(args: argparse.Namespace, file: str | None, node: LocalClient) -> Authority:
    """The operator's key in `file`; without one this controller's signer, else the operator's usual file."""
    if file is None:
        try:
            me = controller(args)
            return Authority(me.signer(), me.certificate.host)
        except Failure as none_here:
            if not default_file().exists():
                raise Failure(f"{none_here.message}, or give an operator's key (--key FILE)") from None
    key = operator(file, node)
    return Authority(key.private(), key.name, key.certificate)
