"""Bring this machine's role up at every boot: writes and enables a systemd unit.

Example:
    $ sudo nova0 enable
    nova0.service is enabled: this machine resumes as controller and host after a reboot
"""

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    pass


def run(args: argparse.Namespace) -> int:
    import os
    import shutil
    import sys

    from nova0.cli import role, settings, unit
    from nova0.cli.failure import Failure

    if not unit.runs_systemd():
        raise Failure("systemd does not run here: start `nova0 up` from this machine's own init at boot")
    if os.geteuid() != 0:
        raise Failure("writing a unit needs root: run it with sudo")
    stored = role.load(settings.state_path(args))
    if stored is None:
        raise Failure("this machine has no role yet: `nova0 up` or `nova0 join -` first")
    program = os.path.abspath(sys.argv[0]) if os.path.exists(sys.argv[0]) else shutil.which("nova0") or "nova0"
    unit.enable(program)
    print(f"{unit.PATH.name} is enabled: this machine resumes as {' and '.join(stored.runs)} after a reboot")
    return 0
