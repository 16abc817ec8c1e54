"""Is this still the machine that the state folder was made on? What its firmware and system say is kept
there and compared at each start, so that a copied disk does not speak with another machine's key.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from nova0.mesh.errors import JoinRefused
from nova0.mesh.keys import write_public
from nova0.mesh.settings import MeshSettings


class Machine(msgspec.Struct, frozen=True):
    """Empty where the machine does not say (no DMI, a container, not root)."""

    dmi_uuid: str = ""
    machine_id: str = ""


def present(settings: MeshSettings) -> Machine:
    return Machine(_text(settings.dmi_file), _text(settings.machine_id_file))


def changed(settings: MeshSettings) -> str:
    """What differs from the last start, for a person; "": nothing."""
    kept, now = _kept(settings), present(settings)
    differ = [
        f"{name} {getattr(kept, field)} before, {getattr(now, field)} now"
        for field, name in (("dmi_uuid", "DMI UUID"), ("machine_id", "machine-id"))
        if getattr(kept, field) and getattr(now, field) and getattr(kept, field) != getattr(now, field)
    ]
    return "; ".join(differ)


def check(settings: MeshSettings, *, moved: bool = False) -> None:
    """Compare and keep. `moved`: the operator says that this folder belongs here now. Raises JoinRefused."""
    differs = "" if moved else changed(settings)
    if differs:
        raise JoinRefused(
            f"{settings.state_dir}: made on another machine ({differs}). Is this a copy of {settings.host}, which goes "
            "on elsewhere? `nova0 leave --without-controller` (a controller's: `nova0 destroy --purge`), then join "
            "with a token. Has its disk moved here for good? "
            "`nova0 node rekey`, then start again"
        )
    kept, now = _kept(settings), present(settings)
    both = Machine(now.dmi_uuid or kept.dmi_uuid, now.machine_id or kept.machine_id)
    if both != kept:
        write_public(_path(settings), msgspec.json.encode(both))


def _path(settings: MeshSettings) -> Path:
    return Path(settings.state_dir) / "machine"


def _kept(settings: MeshSettings) -> Machine:
    try:
        return msgspec.json.decode(_path(settings).read_bytes(), type=Machine)
    except (OSError, msgspec.MsgspecError):
        return Machine()


def _text(path: str) -> str:
    try:
        return Path(path).read_text().strip()[:64] if path else ""
    except (OSError, UnicodeDecodeError):
        return ""
