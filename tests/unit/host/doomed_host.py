"""A program: one fake host and its controller on a bus in this process, killed where NOVA0_CRASH_AT says.

Usage: doomed_host.py STATE_DIR UUID STEP...   (prepare, start, delete; in order, generation 1, delete at 2)
"""

import sys
from pathlib import Path

from gevent import monkey

monkey.patch_all()

from tests.unit.host.lab import Lab, a_view, an_instance  # noqa: E402


def main(directory: str, uuid: str, *steps: str) -> None:
    lab = Lab(Path(directory))
    lab.host()
    compute = lab.compute()
    instance = an_instance(uuid=uuid)
    for step in steps:
        if step == "prepare":
            compute.prepare(instance, [a_view(instance)])
        elif step == "start":
            compute.start(uuid, 1)
        elif step == "delete":
            compute.delete(uuid, 2)
    lab.close()
    print("survived")


main(*sys.argv[1:])
