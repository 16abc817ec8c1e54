"""Guests that this machine keeps although the cloud disowns them."""

from __future__ import annotations

import json

from nova0.cli.checks import WARNING, Finding, Look

REMEDY = "nova0 guests shows them; compare with nova0 ps --all on the controller, then nova0 guests release"


def check(look: Look) -> list[Finding]:
    """As the host's process wrote it down, else as it says, where its files are not for this user to read."""
    path = look.state_path / "instances-records" / "disowned"
    try:
        kept = sum(bool(one.get("kept")) for one in json.loads(path.read_text()).values())
    except PermissionError:
        kept = _told(look)
    except (OSError, ValueError, AttributeError):
        return []
    if not kept:
        return []
    found = f"{kept} guests are kept in doubt: the cloud disowned them, more at once than disown_most allows"
    return [Finding("guests", WARNING, found, REMEDY)]


def _told(look: Look) -> int:
    from nova0.cli import held_guests
    from nova0.mesh import local_client
    from nova0.mesh.errors import MeshError

    try:
        with local_client.connect(str(look.state_path / "run/mesh-host.sock")) as node:
            return sum(bool(guest["kept"]) for guest in held_guests.all_of(node))
    except MeshError:
        return 0
