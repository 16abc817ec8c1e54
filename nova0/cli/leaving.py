"""`nova0 leave`, step by step: asked, told to the controller, then removed here. Cut short, it is gone on with.

A file in the state says how far it came: until the controller was told nothing is removed, and from then on this
machine starts no agents any more.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nova0 import atomic_file
from nova0.cli import held_guests, mesh_door, processes, settings, state, take_down
from nova0.cli import role as roles
from nova0.cli.asking import confirm
from nova0.cli.failure import Failure
from nova0.crashpoints import crash_point
from nova0.mesh.errors import MeshError, PutOut

if TYPE_CHECKING:
    from nova0.mesh.identity import Identity

KEPT = ("log", "images", "build", "own")  # unless --purge
REACHED_WITHIN_S = 15.0
CALL = ("Nothing was removed. With the controller gone for good: `nova0 leave --without-controller`; "
        "else `nova0 up` goes on here")  # fmt: skip


def refuse_if_leaving(state_path: Path) -> None:
    """A machine that has begun to leave starts nothing. Raises Failure."""
    if _noted(state_path):
        raise Failure("this machine is leaving its cluster: `nova0 leave` goes on with it")


def leave(args: argparse.Namespace) -> int:
    """Exit code of `nova0 leave`."""
    state_path = Path(settings.load(args).state_path)
    if not state_path.exists():
        if not args.quiet:
            print(f"this machine is in no cluster ({state_path} does not exist)")
        return 0
    state.refuse_if_not_ours(state_path)
    role = roles.load(state_path)
    if (state_path / "mesh/signer.key").exists() if role is None else "controller" in role.runs:
        raise Failure("this machine is the controller of its cloud: `nova0 destroy` ends the whole cloud")
    roles.make_state(state_path)
    if role is not None:
        role.apply()
        settings.load(args)
    noted = _noted(state_path)
    if not noted.get("told") and (state_path / "mesh/node.cert").exists():
        _begin(args, state_path, noted)
    _remove(args, state_path)
    return 0


def _begin(args: argparse.Namespace, state_path: Path, noted: dict[str, Any]) -> None:
    """Ask, stop the agents, tell the controller. When this returns the guests are nobody's any more."""
    from nova0.mesh import identity, leaving, tombstones

    me = identity.load(state_path / "mesh")
    host, out = me.certificate.host, ""
    try:
        tombstones.refuse_if_out(me)
    except PutOut as error:
        out = error.message
    if noted and leaving.has_left(me):  # told, and cut short before that was noted
        _note(state_path, told=True)
        return
    if out and not args.without_controller:
        raise Failure(f"{out}. To remove its guests here instead: `nova0 leave --without-controller`")
    guests = take_down.guests_here(args)
    what = f"{held_guests.count(guests)} and their disks are" if guests != 1 else "1 guest and its disk are"
    more = f"; so is all of {state_path}, with the unit and ssh key that nova0 made" if args.purge else ""
    settled = "the controller is NOT told" if args.without_controller else "its servers show ERROR in the cloud"
    confirm(f"{host} leaves its cluster: {what} removed from this machine, {settled}{more}. Go on?", args.yes)
    if not args.without_controller:
        _refuse_without_controller(args, state_path)
    crash_point("leave.begun")
    _note(state_path, told=False)
    processes.stop(state_path)
    if args.without_controller:
        print(
            f"the cloud still counts {host}, and its servers: on the controller, `nova0 evict {host}`, "
            f"then `nova0 fence {host}`, and delete its servers"
        )
    else:
        servers = _tell(state_path, me, before=bool(noted))
        show = "1 server of it shows" if len(servers) == 1 else f"{len(servers)} servers of it show"
        print(f"{host} left the cluster: {show} ERROR there")
    _note(state_path, told=True)
    crash_point("leave.told")


def _refuse_without_controller(args: argparse.Namespace, state_path: Path) -> None:
    """While the agents run they know whether there is one; then nothing need be stopped to find out."""
    if processes.holder(state_path, "host") is None:
        return
    with mesh_door.local_node(args, ("host",)) as node:
        up = [m for m in node.members() if "controller" in m["roles"] and m["status"] in ("up", "suspect")]
    if not up:
        raise Failure(f"no controller answers. {CALL}")


def _tell(state_path: Path, me: Identity, before: bool) -> list[str]:
    """Say it in the machine's own name, over a node of its own. Raises Failure; only if no controller can have heard
    it, now or `before`, is this machine as it was."""
    import gevent

    from nova0.agents import bundles
    from nova0.mesh import leaving
    from nova0.mesh.node import Node
    from nova0.rpcapi.conductor import ConductorAPI

    heard = before
    roles = tuple(me.certificate.roles)
    node = Node(dataclasses.replace(bundles.mesh_settings("host", roles), host=me.certificate.host))
    try:
        node.start()
        deadline = time.monotonic() + REACHED_WITHIN_S
        while not any("controller" in m.roles and m.status == "up" for m in node.members()):
            if time.monotonic() > deadline:
                raise Failure(f"no controller answers within {REACHED_WITHIN_S:g} s. {CALL}")
            gevent.sleep(0.05)
        doubt = node.store_doubt()
        if doubt:
            raise Failure(f"the controller's store is in doubt here ({doubt}): `nova0 adopt` there first. {CALL}")
        heard = True
        servers: list[str] = node.stub(ConductorAPI).host_leaves() if "host" in roles else []
        leaving.leave(node)
        return servers
    except MeshError as error:
        raise Failure(
            f"{error.message}. Nothing was removed here; the controller may have settled some of it: give the same "
            "command again, or with the controller gone for good `nova0 leave --without-controller`"
        ) from error
    finally:
        node.stop()
        if not heard:
            (state_path / "leaving.json").unlink(missing_ok=True)


def _remove(args: argparse.Namespace, state_path: Path) -> None:
    processes.stop(state_path)
    removed = take_down.remove_guests_and_networks()
    crash_point("leave.guests_removed")
    if args.purge:
        removed += take_down.remove_key(state_path)
    for line in (*(f"removed: {one}" for one in removed), take_down.remove_unit()):
        if line:
            print(line)
    for line in state.remove(state_path, keep=() if args.purge else KEPT):
        print(f"removed: {line}")


def _noted(state_path: Path) -> dict[str, Any]:
    path = state_path / "leaving.json"
    try:
        found: dict[str, Any] = json.loads(path.read_text())
        return found
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise Failure(f"{path} is damaged ({error}): remove it, and give `nova0 leave` again") from error


def _note(state_path: Path, *, told: bool) -> None:
    atomic_file.write(state_path / "leaving.json", json.dumps({"at": time.time(), "told": told}), 0o644)
