"""`nova0 destroy`, step by step: counted, asked, servers through the API, then what is left on this machine."""

from __future__ import annotations

import argparse
import contextlib
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nova0.cli import clouds, held_guests, processes, settings, state, take_down
from nova0.cli import role as roles
from nova0.cli.asking import confirm
from nova0.cli.cloud import Cloud
from nova0.cli.failure import Failure
from nova0.crashpoints import crash_point

SERVERS_GONE_WITHIN_S = 60.0


@dataclass(frozen=True)
class Counted:
    """What the store holds."""

    servers: list[str]  # names
    projects: int  # that have servers
    elsewhere: list[str]  # other hosts
    images: int
    networks: int


def destroy(args: argparse.Namespace) -> int:
    """Exit code of `nova0 destroy`."""
    state_path = Path(settings.load(args).state_path)
    if not state_path.exists():
        if not args.quiet:
            print(f"no cloud is here ({state_path} does not exist)")
        return 0
    state.refuse_if_not_ours(state_path)
    role = roles.load(state_path)
    if state.is_hosts(state_path) if role is None else "controller" not in role.runs:
        raise Failure("this machine is a host of a cluster: `nova0 leave` takes it out, `destroy` is the controller's")
    roles.make_state(state_path)
    if role is not None:
        role.apply()
        settings.load(args)
    there = _count(state_path, role)
    facts = processes.facts(state_path, "controller")
    if there.elsewhere and not args.force:
        hosts = ", ".join(there.elsewhere)
        raise Failure(
            f"other hosts are joined: {hosts}. `nova0 leave` on each first; or --force: what runs there is deleted "
            "while they answer, and each must then be freed by `nova0 leave --without-controller` there"
        )
    if there.servers and facts is None and not args.purge:
        raise Failure(
            f"the controller does not answer, and the store would keep its {len(there.servers)} servers: "
            "`nova0 up --daemon` first, or --purge to remove the store as well"
        )
    confirm(_question(args, state_path, there), args.yes)
    crash_point("destroy.begun")
    if facts is not None:
        _delete_servers(args, state_path, facts)
    crash_point("destroy.servers_deleted")
    stopped = processes.stop(state_path)
    if stopped:
        print(f"stopped: {', '.join(stopped)}")
    removed = take_down.remove_guests_and_networks()
    crash_point("destroy.guests_removed")
    removed += take_down.remove_clouds(state_path)
    if args.purge:
        removed += take_down.remove_key(state_path)
    for line in removed:
        print(f"removed: {line}")
    if not args.purge:
        print(f"kept: store, images and keys in {state_path}; `nova0 up` begins with them, --purge removes them")
        return 0
    line = take_down.remove_unit()
    if line:
        print(line)
    for line in state.remove(state_path):
        print(f"removed: {line}")
    if there.elsewhere:
        print(f"on {', '.join(there.elsewhere)}: `nova0 leave --without-controller`")
    return 0


def _question(args: argparse.Namespace, state_path: Path, there: Counted) -> str:
    names = ", ".join(there.servers[:8]) + (", ..." if len(there.servers) > 8 else "")
    servers = f"{len(there.servers)} server{'' if len(there.servers) == 1 else 's'}"
    where = f" of {there.projects} projects" if there.projects > 1 else ""
    guests = take_down.guests_here(args)
    named = f" ({names})" if names else ""
    what = f"{servers}{where}{named} and their disks, {held_guests.count(guests)} on this machine"
    if there.elsewhere:
        what += f", those on {', '.join(there.elsewhere)} as far as they answer"
    if args.purge:
        what += f"; all of {state_path}: the store with {there.networks} networks, {there.images} images, all users"
        what += " and the cluster's keys"
    return f"destroy this whole cloud: {what}?"


def _count(state_path: Path, role: roles.Role | None) -> Counted:
    """As the store has it, whether or not its controller runs. Raises Failure on a store that cannot be read."""
    from nova0.mesh import identity
    from nova0.mesh.tombstones import Tombstones

    out, me = set(), ""
    if identity.is_member(state_path / "mesh"):
        mine = identity.load(state_path / "mesh")
        me, out = mine.certificate.host, set(Tombstones(mine).for_good)
    path = state_path / "store.sqlite"
    if not path.exists():
        return Counted([], 0, [], 0, 0)
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as store:
            query = "SELECT name, project_id FROM instance WHERE deleted_at IS NULL ORDER BY id"
            servers = store.execute(query).fetchall()
            hosts = [name for (name,) in store.execute("SELECT host FROM host ORDER BY host")]
            images = store.execute("SELECT count(*) FROM image WHERE deleted_at IS NULL").fetchone()[0]
            networks = store.execute("SELECT count(*) FROM network").fetchone()[0]
    except sqlite3.Error as error:
        raise Failure(f"{path} cannot be read ({error}): nothing was removed") from error
    names = ["".join(c if c.isprintable() else "?" for c in name) for name, _ in servers]
    others = [name for name in hosts if name != me and name not in out]
    return Counted(names, len({project for _, project in servers}), others, images, networks)


def _delete_servers(args: argparse.Namespace, state_path: Path, facts: dict[str, Any]) -> None:
    """Through this machine's own API, whatever any clouds.yaml says. Raises Failure where servers stay that the store
    would keep; nothing else was removed then."""
    try:
        admin = Cloud(clouds.own(state_path, facts["api_url"], "nova0-admin"), "this cloud")
        admin.sign_in()
        servers = _all(admin)
    except (Failure, OSError) as error:
        if args.purge:
            return
        raise Failure(f"{getattr(error, 'message', error)}. Nothing was removed") from error
    refused: dict[str, str] = {}
    for server in servers:
        try:
            admin.delete("compute", f"/servers/{server['id']}")
        except Failure as failure:
            refused[server["id"]] = failure.message
    deadline = time.monotonic() + SERVERS_GONE_WITHIN_S
    left = _all(admin)
    while time.monotonic() < deadline and any(s["id"] not in refused and s["status"] != "ERROR" for s in left):
        time.sleep(0.2)  # the API is asked again: it tells nobody
        left = _all(admin)
    gone = {server["id"] for server in servers} - {server["id"] for server in left}
    if servers:
        print(f"deleted: {len(gone)} of {len(servers)} servers")
    if left and not args.purge:
        why = "; ".join(f"{server['name']}: {refused.get(server['id']) or _fault(server)}" for server in left[:5])
        raise Failure(f"{len(left)} servers could not be deleted: {why}. Nothing else was removed; again, or --purge")


def _fault(server: dict[str, Any]) -> str:
    return str((server.get("fault") or {}).get("message", "its host is silent"))


def _all(admin: Cloud) -> list[dict[str, Any]]:
    return list(admin.pages("compute", "/servers/detail", "servers", all_tenants="true"))
