"""What hosts said of themselves, as this controller's store has it: one that cannot be read takes out its host, and
guests that a host keeps in doubt wait for a person."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from urllib.parse import quote

import msgspec

from nova0.cli.checks import WARNING, Finding, Look

REMEDY = "are these servers deleted or moved? nova0 ps --all here; then nova0 guests release there"


def check(look: Look) -> list[Finding]:
    """Nothing where no store is, or none that this user may read."""
    from nova0.objects.host import IN_DOUBT, HostState

    path = look.state_path / "store.sqlite"
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=2.0)) as store:
            rows = store.execute("SELECT host, state FROM host ORDER BY host").fetchall()
    except sqlite3.Error:
        return []
    found = []
    for host, state in rows:
        try:
            said = msgspec.json.decode(state, type=HostState)
            doubts = [note for note in said.notes if IN_DOUBT in note]
            found += [Finding("guests", WARNING, f"{host}: {note}", REMEDY) for note in doubts[:1]]
        except (msgspec.MsgspecError, ValueError, TypeError) as error:
            remedy = f"mend what {host} reports (see its log), and it comes back; gone for good: nova0 evict {host}"
            what = f"{host}: its report cannot be read ({error}): no server goes there"
            found.append(Finding("hosts", WARNING, what, remedy))
    return found
