"""What an attack of this folder gets: a cloud of real processes on the fake driver, the command line, a folder.

An attack is a file with a docstring (its first line is printed), BEFORE (what commit 1954956 answered), NEEDS where it
needs more than Python, and `attack(world)`, which returns whether it held, and the answer in a line.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import importlib  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
from collections.abc import Callable  # noqa: E402
from contextlib import ExitStack  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from tests.faults.processes import Cloud, free_port, until  # noqa: E402


class World:
    """Everything made through it is stopped and removed at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ends = ExitStack()

    def end(self) -> None:
        self._ends.close()

    def defer(self, action: Callable[..., Any], *arguments: Any) -> None:
        """Done at the end, the last first."""
        self._ends.callback(action, *arguments)

    def cloud(self, hosts: int = 1, **host_options: str) -> Cloud:
        """A started controller `ctl` and hosts lab1..labN with `host_options` as environment variables; logged in as
        the administrator (`cloud.session`), with an image and a network; `cloud.boot()` makes a server."""
        cloud = Cloud(self.folder, hosts, **host_options)
        self.defer(cloud.stop)
        return cloud.start()

    def nova0(
        self, *words: str, state: Path | None = None, said: str = "", **more: str
    ) -> subprocess.CompletedProcess[str]:
        """One command of the command line, without a terminal; `said`: its standard input; `more`: environment
        variables."""
        environment = {**os.environ, "NOVA0_STATE_PATH": str(state or self.folder / "state"), **more}
        return subprocess.run(
            [sys.executable, "-m", "nova0.cli.main", *words],
            env=environment,
            input=said,
            capture_output=True,
            text=True,
            timeout=200,
        )

    free_port = staticmethod(free_port)
    until = staticmethod(until)


def main(name: str, folder: str) -> int:
    world = World(Path(folder))
    try:
        held, answer = importlib.import_module(name).attack(world)
    finally:
        world.end()
    print(json.dumps([bool(held), " ".join(str(answer).split())]))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
