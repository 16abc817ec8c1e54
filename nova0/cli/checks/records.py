"""What this host remembers of its instances: whether all of it can be read."""

from __future__ import annotations

from pathlib import Path

from nova0.cli.checks import OK, WARNING, Finding, Look

SHOWN = 3


def check(look: Look) -> list[Finding]:
    """Nothing where this machine holds none, or they are not for this user to read."""
    folder = look.state_path / "instances-records"
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError:
        return []
    aside = [name.removesuffix(".unreadable") for name in names if name.endswith(".unreadable")]
    torn = [name.removesuffix(".json") for name in names if name.endswith(".json") and not _readable(folder / name)]
    bad = sorted({*aside, *torn})
    if not bad:
        return [Finding("records", OK, f"{sum(name.endswith('.json') for name in names)} instances")]
    named = ", ".join(bad[:SHOWN]) + (f" and {len(bad) - SHOWN} more" if len(bad) > SHOWN else "")
    return [
        Finding(
            "records",
            WARNING,
            f"{len(bad)} can't be read: {named}",
            f"their guests run on and are taken up again from the store: look at nova0 ps --all, then remove "
            f"{folder}/*.unreadable",
        )
    ]


def _readable(path: Path) -> bool:
    import msgspec

    from nova0.host.compute.records import Record

    try:
        return msgspec.json.decode(path.read_bytes(), type=Record).uuid == path.stem
    except FileNotFoundError:
        return True  # removed meanwhile
    except (OSError, msgspec.DecodeError):
        return False
