"""This machine's keys: where the root's lies, and whether this is still the machine they were made on."""

from __future__ import annotations

from nova0.cli.checks import OK, WARNING, Finding, Look


def check(look: Look) -> list[Finding]:
    if not (look.state_path / "mesh" / "node.cert").exists():
        return []
    return [_root_key(look)]


def _root_key(look: Look) -> Finding:
    path = look.state_path / "mesh" / "root.key"
    if not path.exists():
        return Finding("root key", OK, "not on this machine")
    return Finding(
        "root key",
        WARNING,
        f"{path}: who reads it can make signers of their own",
        f"copy it to two safe places, then shred -u {path}; `nova0 mesh rotate --root-key FILE` takes it from there",
    )
