"""`nova0 down`, step by step: servers through the API while it answers, processes, then what is left here."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from pathlib import Path

from nova0.cli import clouds, processes, settings
from nova0.cli import role as roles
from nova0.cli.cloud import Cloud
from nova0.cli.failure import Failure
from nova0.cli.person import caller

SERVERS_GONE_WITHIN_S = 60.0


def down(args: argparse.Namespace) -> int:
    """Exit code of `nova0 down`."""
    state_path = Path(settings.load(args).state_path)
    if not state_path.exists():
        if not args.quiet:
            print(f"nova0 was never up here ({state_path} does not exist)")
        return 0
    role = roles.load(state_path)
    roles.make_state(state_path)  # says so at once where this user may not
    if not args.keep_guests:
        for line in delete_servers(state_path):
            print(line)
    stopped = processes.stop(state_path)
    if stopped:
        print(f"stopped: {', '.join(stopped)}")
    if args.keep_guests:
        return 0
    settings.load(args, _stored_options(role))
    path = clouds.path_of(caller(), state_path)
    if path.exists() and clouds.merge(path, {"nova0": None, "nova0-admin": None}, caller()):
        path.with_name("nova0-ca.pem").unlink(missing_ok=True)
        print(f"removed the entries nova0 and nova0-admin from {path}")
    from nova0.agents import running

    removed = running.clean_up(args.purge)
    for line in removed:
        print(f"removed: {line}")
    if args.purge:
        _remove_unit()
    elif not stopped and not removed and not args.quiet:
        print("nothing of nova0 runs here")
    return 0


def _stored_options(role: roles.Role | None) -> dict[str, str]:
    """What `up` stored, as overrides, so that the clean-up finds the same driver and host name."""
    overrides = {}
    for variable, value in (role.environment if role else {}).items():
        group, _, option = variable.removeprefix("NOVA0_").rpartition("__")
        name = f"{group.lower()}.{option.lower()}" if group else option.lower()
        if name in ("host", "compute_driver"):
            overrides[name] = value
    return overrides


def delete_servers(state_path: Path) -> list[str]:
    """Delete this machine's servers by name in the API, if it answers here. Returns lines to show."""
    if processes.facts(state_path, "controller") is None:
        return []
    try:
        entry = clouds.find("nova0-admin", state_path)
        admin = Cloud(entry, "nova0-admin")
        admin.sign_in()
        servers = list(admin.pages("compute", "/servers/detail", "servers", all_tenants="true"))
    except Failure as failure:
        return [f"servers stay in the store: {failure.message}"]
    for server in servers:
        with contextlib.suppress(Failure):
            admin.delete("compute", f"/servers/{server['id']}")
    deadline = time.monotonic() + SERVERS_GONE_WITHIN_S
    left = servers
    while left and time.monotonic() < deadline:
        time.sleep(0.2)  # the API is asked again: it tells nobody
        left = list(admin.pages("compute", "/servers/detail", "servers", all_tenants="true"))
        here = {fact["id"] for fact in left if fact.get("OS-EXT-STS:task_state") == "deleting"}
        if not here:
            break
    lines = [f"deleted server {server['name']}" for server in servers if server["id"] not in {s["id"] for s in left}]
    lines += [f"server {server['name']} could not be deleted (its host is {_host(server)})" for server in left]
    return lines


def _host(server: dict[str, object]) -> str:
    return str(server.get("OS-EXT-SRV-ATTR:host") or "not known")


def _remove_unit() -> None:
    from nova0.cli import unit

    if unit.PATH.exists():
        with contextlib.suppress(OSError):
            unit.disable()
            print(f"removed: {unit.PATH}", file=sys.stdout)
