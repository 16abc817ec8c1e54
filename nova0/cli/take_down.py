"""What `nova0 down` does, and the removals that `leave` and `destroy` have in common."""

from __future__ import annotations

import argparse
from pathlib import Path

from nova0.cli import clouds, held_guests, mesh_door, outside, processes, settings, ssh_key, state, unit
from nova0.cli import role as roles
from nova0.cli.failure import Failure
from nova0.cli.person import caller
from nova0.mesh.errors import MeshError
from nova0.objects.errors import DriverError, NetworkError


def down(args: argparse.Namespace) -> int:
    """Exit code of `nova0 down`."""
    state_path = Path(settings.load(args).state_path)
    if not state_path.exists():
        if not args.quiet:
            print(f"nova0 was never up here ({state_path} does not exist)")
        return 0
    if not state.is_ours(state_path):
        raise Failure(f"{state_path} is not nova0's: nothing of it runs here; see NOVA0_STATE_PATH")
    roles.make_state(state_path)  # says so at once where this user may not
    guests = running_guests(args)
    stopped = processes.stop(state_path)
    if stopped:
        stay = "stays as it is" if guests == 1 else "stay as they are"
        on = f"; {held_guests.count(guests)} {stay}" if guests else ""
        print(f"stopped: {', '.join(stopped)}{on}. `nova0 up` goes on with everything")
    elif not args.quiet:
        print("nothing of nova0 runs here")
    return 0


def running_guests(args: argparse.Namespace) -> int:
    """How many guests this machine's host process holds; 0 where none answers."""
    try:
        with mesh_door.local_node(args, ("host",)) as node:
            return len(held_guests.all_of(node))
    except (Failure, MeshError):
        return 0


def remove_guests_and_networks() -> list[str]:
    """Raises Failure where something could not be removed; the state that tells of it must stay then."""
    from nova0.agents import host_bundle

    try:
        return host_bundle.remove_everything()
    except (DriverError, NetworkError) as error:
        raise Failure(f"{error.message}. The state is kept: mend that, and give the same command again") from error


def guests_here(args: argparse.Namespace) -> int:
    """As this machine's host process says, else as is found here without it. Raises Failure."""
    from nova0.agents import host_bundle

    running = running_guests(args)
    if running:
        return running
    try:
        return len(host_bundle.guests_here())
    except DriverError as error:
        raise Failure(f"{error.message}. Nothing was removed") from error


def remove_clouds(state_path: Path) -> list[str]:
    """Take this cloud's entries out of every clouds.yaml that `up` wrote them into, and its CA from beside them."""
    try:
        known = clouds.passwords(state_path)
    except FileNotFoundError:
        return []
    removed, person = [], caller()
    places = [Path(one["path"]) for one in outside.everything(state_path, outside.CLOUDS)]
    for path in dict.fromkeys([*places, clouds.path_of(person, state_path)]):
        names = clouds.take_out(path, known, person)
        if names:
            removed.append(f"the entries {' and '.join(names)} of {path}")
    ca = state_path / "tls/ca.pem"
    beside = clouds.path_of(person, state_path).with_name("nova0-ca.pem")
    for path in dict.fromkeys([*(Path(one["path"]) for one in outside.everything(state_path, outside.CA)), beside]):
        ours = outside.is_as_written(state_path, path)
        if path.is_file() and (ours or (ca.exists() and ca.read_bytes() == path.read_bytes())):
            path.unlink()
            removed.append(str(path))
    return removed


def remove_key(state_path: Path) -> list[str]:
    """The ssh key that `up` made, also in the home of another who called it."""
    person = caller()
    places = [Path(one["path"]) for one in outside.everything(state_path, outside.KEY)]
    return [line for path in places for line in ssh_key.forget(path, person, state_path)]


def remove_unit() -> str:
    """A line, or ""."""
    try:
        return unit.disable()
    except OSError as error:
        return f"kept: {unit.PATH}: {error.strerror}: remove it with sudo"
