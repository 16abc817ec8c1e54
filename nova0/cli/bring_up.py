"""`nova0 up` and the tail of `nova0 join`, step by step: role, processes, seeds, clouds.yaml, farewell line."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from nova0 import atomic_file
from nova0.cli import asking, clouds, first_start, leaving, outside, processes, seed, settings, ssh_key, start
from nova0.cli import role as roles
from nova0.cli.cloud import Cloud
from nova0.cli.failure import Failure
from nova0.cli.output import Progress
from nova0.cli.person import Person, caller
from nova0.cli.role import Role


def up(args: argparse.Namespace) -> int:
    """Exit code of `nova0 up`."""
    began = time.monotonic()
    conf = settings.load(args)
    state_path = Path(conf.state_path)
    already = _already(state_path)
    if already:
        print(already)
        return 0
    roles.make_state(state_path)
    leaving.refuse_if_leaving(state_path)
    if args.new_store or args.this_store:
        _say_which_store(args, state_path)
    role = first_start.role_of(args, state_path, conf)
    from nova0.agents import bundles  # declares the options of both processes

    assert bundles
    first_start.choose_ports(role, conf)
    if "controller" in role.runs:
        first_start.ensure_cluster(state_path, role.environment.get("NOVA0_HOST") or conf.host or _host_name())
    return run(role, state_path, daemon=args.daemon, seeding=not args.no_seed, began=began)


def _say_which_store(args: argparse.Namespace, state_path: Path) -> None:
    """The operator's word on a store that a start refuses."""
    from nova0.controller.db import witness

    if args.new_store and args.this_store:
        raise Failure("--new-store and --this-store contradict each other: choose one", code=2)
    if args.this_store:
        witness.want_this(state_path)
        return
    asking.confirm(
        f"begin with an empty store in {state_path}? What was in the old one (servers, networks, images, users) is "
        "known no more; guests run on, and are left alone.",
        args.yes,
    )
    aside = witness.want_new(state_path)
    if aside:
        print(f"the old store is set aside: {aside}")


def run(role: Role, state_path: Path, *, daemon: bool, seeding: bool, began: float) -> int:
    """Start the bundles of `role`, seed, say where everything is; then stay unless `daemon`."""
    _public_url(role)
    signal.signal(signal.SIGTERM, _as_interrupt)
    progress = Progress(quiet=True)
    supervisor = start.start(role, state_path, daemon=daemon)
    try:
        door = FrontDoor(state_path, began)
        running = start.wait_ready(role, state_path, supervisor, seen=door.seen)
        roles.save(state_path, role)
        progress = Progress()
        if seeding and door.demo is not None:
            _seed(role, state_path, door.demo, door.admin_entry, progress)
    except BaseException:
        progress.end()
        with contextlib.suppress(ProcessLookupError):
            supervisor.terminate()
            supervisor.wait()
        raise
    progress.end()
    _farewell(role, state_path, running.facts, time.monotonic() - began, door.answered_s)
    if daemon:
        return 0
    sys.stdout.flush()
    try:
        return running.follow()
    except KeyboardInterrupt:
        print("nova0: stopped; guests run on (`nova0 up` goes on with them)", file=sys.stderr)
        return 130


def _as_interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


def _already(state_path: Path) -> str:
    if processes.holder(state_path, "up") is None:
        return ""
    facts = processes.facts(state_path, "controller") or processes.facts(state_path, "host")
    if facts is None:
        return "nova0 is starting here already: `nova0 agents` tells when it is ready"
    where = f" at {facts['api_url']}" if facts.get("api_url") else ""
    return f"nova0 is up here already{where}: nothing changed (`nova0 down` stops it, guests run on)"


def _host_name() -> str:
    import socket

    return socket.gethostname().partition(".")[0] or "localhost"


def _public_url(role: Role) -> None:
    address = role.environment.get("NOVA0_PUBLIC_ADDRESS")
    if address:
        port = role.environment.get("NOVA0_API__OSAPI_LISTEN_PORT", "8774")
        shown = f"[{address}]" if ":" in address else address
        role.environment["NOVA0_API__PUBLIC_URL"] = f"https://{shown}:{port}"


class FrontDoor:
    """What is done the moment a bundle is ready: its notes are said, the API is signed in to."""

    def __init__(self, state_path: Path, began: float) -> None:
        self._state_path, self._began = state_path, began
        self.demo: Cloud | None = None
        self.admin_entry: dict[str, Any] = {}
        self.answered_s = 0.0  # from the start of `up` to the first answered call

    def seen(self, name: str, facts: dict[str, Any]) -> None:
        for note in facts.get("notes") or []:
            print(note, flush=True)
        if name == "controller":
            entries = _write_clouds(self._state_path, facts["api_url"])
            self.demo, self.admin_entry = Cloud(entries["nova0"], "nova0"), entries["nova0-admin"]
            self.demo.sign_in()
            self.answered_s = time.monotonic() - self._began


def _seed(role: Role, state_path: Path, demo: Cloud, admin_entry: dict[str, Any], progress: Progress) -> None:
    """A missing image is a warning: the rest of the cloud works without it."""
    person = caller()
    progress.stage("key, network, rules")
    key_file = ssh_key.path_of(person, state_path)
    if not seed.keypair(demo, ssh_key.ensure(key_file, person, state_path)):
        progress.end()
        own = f"nova0: the cloud has a key `{seed.KEY}` of somebody's own: it stays; {key_file} is not in it"
        print(own, file=sys.stderr)
    if not role.seeded:
        seed.network(demo)
        seed.rules(demo)
        role.seeded = True
        roles.save(state_path, role)
    progress.stage("image")
    admin = Cloud(admin_entry, "nova0-admin")
    admin.sign_in()
    try:
        fake = role.environment.get("NOVA0_COMPUTE_DRIVER") == "fake"
        seed.image(admin, state_path / "build/tiny", fake, lambda line: progress.stage("image", line))
    except Failure:
        raise
    except Exception as error:  # noqa: BLE001 - no network, no apt: the cloud is up all the same
        progress.end()
        print(f"nova0: no image yet: {error}; later: `nova0 image build tiny`", file=sys.stderr)


def _write_clouds(state_path: Path, api_url: str) -> dict[str, dict[str, Any]]:
    """Into the caller's clouds.yaml; beside the state where somebody else's entries have our names there."""
    person = caller()
    known = clouds.passwords(state_path)
    usual, beside = clouds.path_of(person, state_path), state_path / "clouds.yaml"
    taken = clouds.of_others(usual, known)
    path = beside if taken else usual
    if clouds.of_others(path, known):
        raise Failure(f"{path} has entries {', '.join(taken)} that are not this cloud's: rename them")
    if taken:
        print(
            f"nova0: {usual} has entries of your own called {', '.join(taken)}: they stay, this cloud's are in {path}",
            file=sys.stderr,
        )
    ca_file = _write_ca(state_path, path, person) if api_url.startswith("https:") else None
    entries = {name: clouds.entry(api_url, user, known[user], ca_file) for name, user in clouds.NAMES.items()}
    clouds.merge(path, entries, person)
    outside.remember(state_path, outside.CLOUDS, path)
    if path != beside and beside.exists():
        clouds.take_out(beside, known, person)
    return entries


def _write_ca(state_path: Path, beside: Path, person: Person) -> Path:
    """The cloud's CA where clients find it; under another name where that file is somebody else's."""
    body = (state_path / "tls/ca.pem").read_bytes()
    path = beside.with_name("nova0-ca.pem")
    if path.exists() and path.read_bytes() != body and not outside.is_as_written(state_path, path):
        path = path.with_name(f"nova0-ca-{hashlib.sha256(body).hexdigest()[:12]}.pem")
    if not path.exists() or path.read_bytes() != body:
        person.make_folder(path.parent)
        with atomic_file.writing(path, 0o644) as file:
            file.write(body)
            person.own(file.fileno())
    outside.remember(state_path, outside.CA, path, body)
    return path


def _farewell(role: Role, state_path: Path, facts: dict[str, Any], took_s: float, answered_s: float) -> None:
    if "controller" not in role.runs:
        print(f"this host is up after {took_s:.1f} s: `nova0 agents` shows who is there")
        return
    where = facts["controller"]["api_url"]
    print(f"nova0 is up after {took_s:.1f} s: {where} (its first call was answered after {answered_s:.1f} s)")
    beside = state_path / "clouds.yaml"
    path = beside if beside.exists() else clouds.path_of(caller(), state_path)
    usual = path.parent == caller().home / ".config/openstack"
    if not usual and str(path) != os.environ.get("OS_CLIENT_CONFIG_FILE"):
        print(f"clouds.yaml: {path} (export OS_CLIENT_CONFIG_FILE={path})")
    print("try: openstack --os-cloud nova0 server list; nova0 launch tiny first; nova0 ssh first")
    if "JOURNAL_STREAM" in os.environ:  # others read the machine's journal
        print("second box: `sudo nova0 token` prints the line that joins it")
        return
    from nova0.cli import joining_token, membership

    print(f"second box: {joining_token.line(membership.mint(state_path))}")
