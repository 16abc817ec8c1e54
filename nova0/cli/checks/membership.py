"""This machine's keys: whether they still count, where the root's lies, and whether this is still the machine they
were made on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nova0.cli.checks import BLOCKS, OK, WARNING, Finding, Look


def check(look: Look) -> list[Finding]:
    if not (look.state_path / "mesh" / "node.cert").exists():
        return []
    return [*_put_out(look), _root_key(look), _machine(look), *_others(look)]


def _put_out(look: Look) -> list[Finding]:
    """Nothing where its files are not for this user to read."""
    from nova0.mesh import identity
    from nova0.mesh.errors import MeshError
    from nova0.mesh.roster import put_out_text
    from nova0.mesh.tombstones import Tombstones
    from nova0.mesh.wire import BROKEN

    try:
        me = identity.load(look.state_path / "mesh")
        stone = Tombstones(me).of(me.chain)
    except (OSError, MeshError, *BROKEN):
        return []
    if stone is None:
        return []
    remedy = (
        "its servers still run: nova0 leave --without-controller removes them; or back in: nova0 token on a "
        "controller, then here nova0 down, nova0 join -"
    )
    return [Finding("membership", BLOCKS, put_out_text(stone), remedy)]


def _root_key(look: Look) -> Finding:
    path = look.state_path / "mesh" / "root.key"
    roots = _roots(look)
    version = f"; version {len(roots)} counts" if len(roots) > 1 else ""
    if not path.exists():
        return Finding("root key", OK, f"not on this machine{version}")
    if _public(path) in roots[:-1]:
        return Finding("root key", WARNING, f"{path} is of an earlier root, of no use{version}", f"shred -u {path}")
    return Finding(
        "root key",
        WARNING,
        f"{path}: who reads it can make signers of their own{version}",
        f"copy it to two safe places, then shred -u {path}; `nova0 mesh rotate --root-key FILE` takes it from there",
    )


def _roots(look: Look) -> tuple[bytes, ...]:
    """First to present, where this machine's files may be read; what is wrong with them, the node's start says."""
    from nova0.mesh import identity
    from nova0.mesh.errors import MeshError
    from nova0.mesh.wire import BROKEN

    try:
        return identity.roots_of(look.state_path / "mesh").keys
    except (OSError, MeshError, *BROKEN):
        return ()


def _public(path: Path) -> bytes:
    from nova0.mesh import keys

    try:
        return keys.public_of(keys.signing_key(path))
    except (OSError, ValueError):
        return b""


def _machine(look: Look) -> Finding:
    from nova0.mesh import machine
    from nova0.mesh.settings import MeshSettings

    root = str(look.root).rstrip("/")
    settings = MeshSettings(state_dir=str(look.state_path / "mesh"), host="")
    settings.dmi_file, settings.machine_id_file = root + settings.dmi_file, root + settings.machine_id_file
    differs = machine.changed(settings)
    if not differs:
        return Finding("machine", OK, "the one its keys were made on")
    remedy = "a copy: nova0 leave --without-controller, then join; its disk moved here for good: nova0 node rekey"
    return Finding("machine", BLOCKS, f"its keys were made on another ({differs})", remedy)


def _others(look: Look) -> list[Finding]:
    """What this machine's node has seen or heard of the others; nothing where none runs."""
    from nova0.mesh import local_client
    from nova0.mesh.errors import MeshError

    for name in ("host", "controller"):
        path = look.state_path / "run" / f"mesh-{name}.sock"
        if not path.exists():
            continue
        try:
            with local_client.connect(str(path)) as node:
                members = node.members()
        except MeshError:
            continue  # the next one may answer
        return [*_copies(members), *_wrong_servers(members)]
    return []


def _copies(members: list[dict[str, Any]]) -> list[Finding]:
    held = {m["host"]: m["quarantine"] for m in members if m["quarantine"]}
    remedy = "stop the copy; or, on the one to keep, nova0 down, nova0 node rekey, nova0 up"
    return [Finding("copies", WARNING, f"{host}: {why}", remedy) for host, why in held.items()]


def _wrong_servers(members: list[dict[str, Any]]) -> list[Finding]:
    """Who offers what its certificate does not let it answer."""
    from nova0 import rpcapi
    from nova0.mesh.surface import declared

    rpcapi.surfaces()
    found = []
    for m in members:
        if topics := m.get("wrong_topics"):
            users = m["node"].partition("/")[2].startswith("user-")
            name, known = m["node"] if users else m["host"], users or any(declared(topic) for topic in topics)
            asked = "a newer nova0? a topic of your own (nova0 token --topic)? else "
            said = f"{m['node']} offers {', '.join(topics)} and may not; it is not asked"
            remedy = f"{'' if known else asked}nova0 evict {name}"
            found.append(Finding("wrong server", WARNING, said, remedy))
    return found
