"""Join this machine to a cluster with a token, and start its agents.

The token comes from `nova0 up` or `nova0 token` on the controller, and is read from standard input, or asked for on a
terminal: what stands on a command line is seen by every user of the machine while it runs. Nothing secret is sent
before the controller has proved that it is the one the token names.

Example:
    $ sudo nova0 join - --daemon <<< lQGsYzc4...
    this host is up after 1.9 s: `nova0 agents` shows who is there
"""

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("token", metavar="-", nargs="?", default="-", help="read the token from standard input")
    parser.add_argument("--token-file", metavar="FILE", help="read it from this file instead")
    parser.add_argument("--daemon", action="store_true", help="return when ready and keep running")
    parser.add_argument("--host", metavar="NAME", help="name of this machine in the cluster (default: its host name)")
    parser.add_argument("--driver", metavar="NAME", help="libvirt, fake, auto (default) or package.module:Class")
    parser.add_argument("--fake", action="store_true", help="pretend servers: needs neither root nor libvirt")


def run(args: argparse.Namespace) -> int:
    import time
    from pathlib import Path

    from nova0.cli import bring_up, joining_token, leaving, membership, processes, role, settings
    from nova0.cli.failure import Failure
    from nova0.cli.role import Role

    token = joining_token.read(args.token, args.token_file)
    began = time.monotonic()
    conf = settings.load(args, {"host": args.host})
    state_path = Path(conf.state_path)
    if processes.holder(state_path, "up") is not None:
        raise Failure("nova0 is up here already: `nova0 down` first; a joined machine leaves by `nova0 leave`")
    role.make_state(state_path)
    leaving.refuse_if_leaving(state_path)
    environment = {"NOVA0_HOST": args.host, "NOVA0_COMPUTE_DRIVER": "fake" if args.fake else args.driver}
    this = Role(runs=["host"], environment={name: value for name, value in environment.items() if value})
    membership.join(token)
    role.save(state_path, this)
    return bring_up.run(this, state_path, daemon=args.daemon, seeding=False, began=began)
