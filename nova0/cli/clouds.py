"""The caller's clouds.yaml: our entries merged in, everything else kept to the letter, comments included."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nova0 import atomic_file
from nova0.cli.failure import Failure
from nova0.cli.person import Person, caller

NAMES = {"nova0": "demo", "nova0-admin": "admin"}  # entry -> user


def path_of(person: Person, state_path: Path) -> Path:
    """The clouds.yaml that `up` writes: the person's own, or beside the state for users without a home."""
    named = os.environ.get("OS_CLIENT_CONFIG_FILE")
    if named:
        return Path(named)
    if not person.has_home():
        return state_path / "clouds.yaml"
    base = Path(os.environ["XDG_CONFIG_HOME"]) if _own_xdg(person) else person.home / ".config"
    return base / "openstack/clouds.yaml"


def _own_xdg(person: Person) -> bool:
    return bool(os.environ.get("XDG_CONFIG_HOME")) and person.uid == os.geteuid()


def merge(path: Path, entries: Mapping[str, Mapping[str, Any] | None], person: Person) -> bool:
    """Set entries (None removes one) under `clouds:` of `path`, made with mode 0600 where it is new.

    An entry that is there is changed, not replaced. Written by a new file and rename; True when something
    changed. Raises Failure on a file that is not YAML or not ours to write: it is left as it is."""
    yaml = _yaml()
    target = path.resolve()  # a link stays a link
    try:
        before = target.read_text() if target.exists() else ""
        document = yaml.load(before) if before.strip() else None
    except Exception as error:
        raise Failure(f"{path} is no YAML we can add to ({_first_line(error)}): correct or move it") from error
    if document is None:
        document = {}
    if not isinstance(document, dict) or not isinstance(document.get("clouds") or {}, dict):
        raise Failure(f"{path} has no mapping `clouds`: correct or move it")
    clouds = document.get("clouds")
    if clouds is None:
        clouds = document["clouds"] = {}
    for name, entry in entries.items():
        if entry is None:
            clouds.pop(name, None)
        elif isinstance(clouds.get(name), dict) and isinstance(clouds[name].get("auth"), dict):
            there = clouds[name]  # what its user added to it stays
            there["auth"].update(entry["auth"])
            there.update({key: value for key, value in entry.items() if key != "auth"})
            if "cacert" not in entry:
                there.pop("cacert", None)
        else:
            clouds[name] = dict(entry)
    out = io.StringIO()
    yaml.dump(document, out)
    if out.getvalue() == before:
        return False
    if not clouds and len(document) == 1:  # nothing of anybody's is left in it
        target.unlink(missing_ok=True)
        return before != ""
    person.make_folder(target.parent)
    mode = target.stat().st_mode & 0o600 if target.exists() else 0o600
    with atomic_file.writing(target, mode) as file:
        file.write(out.getvalue().encode())
        if target.exists():
            person.own_like(target, file.fileno())
        else:
            person.own(file.fileno())
    return True


def entries_of(path: Path) -> dict[str, Any]:
    """The entries in that file by name; none where it cannot be read as a clouds.yaml (`merge` says why)."""
    import yaml

    try:
        document = yaml.safe_load(path.read_text()) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    found = document.get("clouds") if isinstance(document, dict) else None
    return found if isinstance(found, dict) else {}


def passwords(state_path: Path) -> dict[str, str]:
    """{user: password} of this machine's cloud. Raises OSError where there is none, or it is not for us to read."""
    return {user: (state_path / f"secrets/{user}.password").read_text().strip() for user in NAMES.values()}


def is_ours(found: Any, name: str, known: Mapping[str, str]) -> bool:
    """Whether an entry was written by this machine's cloud, whose `passwords` are given: it has one of them."""
    auth = found.get("auth") if isinstance(found, dict) else None
    user = NAMES[name]
    return isinstance(auth, dict) and auth.get("username") == user and auth.get("password") == known.get(user)


def of_others(path: Path, known: Mapping[str, str]) -> list[str]:
    """Which of our names somebody else's entries have in that file."""
    found = entries_of(path)
    return [name for name in NAMES if name in found and not is_ours(found[name], name, known)]


def take_out(path: Path, known: Mapping[str, str], person: Person) -> list[str]:
    """Remove what is ours from that file. The names removed."""
    found = entries_of(path)
    ours = [name for name in NAMES if name in found and is_ours(found[name], name, known)]
    return ours if ours and merge(path, dict.fromkeys(ours), person) else []


def own(state_path: Path, api_url: str, name: str) -> dict[str, Any]:
    """The entry for this machine's own cloud, whatever any clouds.yaml says. Raises OSError."""
    ca_file = state_path / "tls/ca.pem"
    trusted = ca_file if api_url.startswith("https:") and ca_file.exists() else None
    return entry(api_url, NAMES[name], passwords(state_path)[NAMES[name]], trusted)


def _yaml() -> Any:
    from ruamel.yaml import YAML

    yaml = YAML(typ="rt")
    yaml.preserve_quotes = True
    yaml.width = 4096  # never fold somebody's long line
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def entry(api_url: str, user: str, password: str, ca_file: Path | None = None) -> dict[str, Any]:
    """One cloud: `user` in the project of the same name."""
    made: dict[str, Any] = {
        "auth": {
            "auth_url": f"{api_url}/identity/v3",
            "username": user,
            "password": password,
            "project_name": user,
            "user_domain_id": "default",
            "project_domain_id": "default",
        },
        "region_name": "nova0",
        "identity_api_version": "3",
        "image_api_version": "2",
    }
    if ca_file is not None:
        made["cacert"] = str(ca_file)
    return made


def find(name: str, state_path: Path | None = None) -> dict[str, Any]:
    """The entry called `name`: of this machine's own cloud where `up` wrote it into the state, else looked for where
    every OpenStack client looks."""
    import yaml

    person = caller()
    places = [
        state_path / "clouds.yaml" if state_path else None,
        Path(os.environ["OS_CLIENT_CONFIG_FILE"]) if os.environ.get("OS_CLIENT_CONFIG_FILE") else None,
        Path("clouds.yaml"),
        Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "openstack/clouds.yaml",
        person.home / ".config/openstack/clouds.yaml",
        Path("/etc/openstack/clouds.yaml"),
    ]
    for path in places:
        try:
            text = path.read_text() if path else ""
        except OSError:
            continue
        try:
            document = yaml.safe_load(text) or {}
        except yaml.YAMLError as error:
            raise Failure(f"{path} is no YAML ({_first_line(error)}): correct it") from error
        clouds = document.get("clouds") if isinstance(document, dict) else None
        if isinstance(clouds, dict) and isinstance(clouds.get(name), dict):
            return dict(clouds[name])
    raise Failure(
        f"no cloud {name!r} in any clouds.yaml: start one here with `nova0 up`, or set OS_CLOUD to one you have"
    )
