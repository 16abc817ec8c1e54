"""The way from a command to this machine's own mesh node: its UNIX socket. Commands are never peers."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nova0.cli import settings
from nova0.cli.failure import Failure

ROOTS_STATE = Path("/var/lib/nova0")
PROCESSES = ("host", "controller")  # either answers; the host's runs on every machine


@contextmanager
def local_node(args: argparse.Namespace, processes: tuple[str, ...] = PROCESSES) -> Iterator[Any]:
    """A connected client of the local node (nova0.mesh.local_client), of the first of `processes` that
    answers. Failure when none runs here."""
    from nova0.config import state_home
    from nova0.mesh import local_client
    from nova0.mesh.errors import Unreachable

    state_paths = [settings.state_path(args)]
    if state_paths[0] == state_home() != ROOTS_STATE:  # root's: for members of the group nova0
        state_paths.append(ROOTS_STATE)
    refused = []
    for path in (place / "run" / f"mesh-{process}.sock" for place in state_paths for process in processes):
        if not path.exists():
            continue
        try:
            client = local_client.connect(str(path))
        except Unreachable as error:
            refused.append(error.message)
            continue
        with client:
            yield client
        return
    _not_put_out(state_paths[0])
    looked = " and ".join(str(place / "run") for place in state_paths)
    nobody = f"no agent of nova0 runs here ({looked}): `nova0 up` or `nova0 join -`"
    raise Failure(refused[0] if refused else nobody)


def _not_put_out(state_path: Path) -> None:
    """A machine that was put out starts no more: say why. Raises Failure."""
    from nova0.mesh import identity
    from nova0.mesh.errors import PutOut
    from nova0.mesh.tombstones import refuse_if_out

    try:
        if identity.is_member(state_path / "mesh"):
            refuse_if_out(identity.load(state_path / "mesh"))
    except PutOut as out:
        raise Failure(out.message) from None
    except OSError:
        return  # another user's: then this is not for us to say


def arguments(words: list[str]) -> dict[str, Any]:
    """key=value words as call arguments: the value is JSON where it parses as such, else text."""
    import json

    found: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key.isidentifier():
            raise Failure(f"{word!r} is no key=value", code=2)
        try:
            found[key] = json.loads(value)
        except ValueError:
            found[key] = value
    return found


def agent_name(text: str) -> str:
    """TOPIC, TOPIC@HOST or HOST/PROCESS, checked for its shape."""
    if not text or text.startswith("@") or text.endswith("@") or " " in text:
        raise Failure(f"{text!r}: name an agent as TOPIC, TOPIC@HOST or HOST/PROCESS, like compute@lab1", code=2)
    return text
