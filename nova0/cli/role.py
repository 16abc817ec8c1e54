"""What this machine is in the cluster, as `up` and `join` stored it, so that a reboot resumes it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from nova0 import atomic_file, log
from nova0.cli import state
from nova0.cli.failure import Failure


@dataclass
class Role:
    """`runs`: bundles in starting order. `environment`: options for them, as NOVA0_* variables."""

    runs: list[str] = field(default_factory=lambda: ["controller", "host"])
    environment: dict[str, str] = field(default_factory=dict)
    seeded: bool = False  # network and rules were made once: what is taken away from them since stays away

    def for_children(self, state_path: Path) -> dict[str, str]:
        """The environment the bundles start with; what the person's own shell sets wins."""
        return {
            **self.environment,
            **os.environ,
            "NOVA0_STATE_PATH": str(state_path),
            "NOVA0_FROM_UP": ",".join(name for name in self.environment if name not in os.environ),
        }

    def apply(self) -> None:
        """Have this process take the options that the bundles start with, at its next look at the configuration."""
        for name, value in self.environment.items():
            os.environ.setdefault(name, value)


def path_of(state_path: Path) -> Path:
    return state_path / "role.json"


def load(state_path: Path) -> Role | None:
    """None on a machine that was never up. Raises Failure on a file that can't be read."""
    try:
        return Role(**json.loads(path_of(state_path).read_text()))
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise Failure(f"{path_of(state_path)} is another user's: use sudo, or set NOVA0_STATE_PATH") from error
    except (ValueError, TypeError) as error:
        raise Failure(f"{path_of(state_path)} is damaged ({error}): remove it and run `nova0 up` again") from error


def save(state_path: Path, role: Role) -> None:
    make_state(state_path)
    atomic_file.write(path_of(state_path), json.dumps(asdict(role), indent=1) + "\n", 0o644)


def make_state(state_path: Path) -> None:
    """Make the state directory. Raises Failure naming what may be done where this user may not, or where it is
    somebody else's."""
    try:
        state_path.mkdir(parents=True, exist_ok=True, mode=0o755)
        if not os.access(state_path, os.W_OK):
            raise PermissionError(13, "not writable by this user")
        state.take(state_path)
        (state_path / "run").mkdir(exist_ok=True, mode=0o755)
        log.make_folder(state_path / "log")
    except OSError as error:
        raise Failure(
            f"{state_path}: {error.strerror}: run it with sudo, or set NOVA0_STATE_PATH to a folder of your own"
        ) from error
