"""Run an agent in the foreground: one of this machine's two processes, or a file of your own.

`controller` (store, conductor, API) and `host` (what this machine runs) are what `nova0 up` starts and
watches; a file names a class with a `Surface`, which then answers on the mesh for as long as it runs.
Ends cleanly on SIGTERM and Ctrl-C.

Example:
    $ nova0 agent run controller --config-file /etc/nova0/nova0.conf
    $ nova0 agent run ./mine.py
"""

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", metavar="controller|host|FILE.py", help="which agents to run")
    parser.add_argument("--host", help="name of this machine in the cluster")


def run(args: argparse.Namespace) -> int:
    from gevent import monkey

    monkey.patch_all()  # before anything that opens a socket: this process is the agents'

    from nova0.cli import settings
    from nova0.cli.failure import Failure

    settings.load(args, {"host": args.host})
    if args.what.endswith(".py"):
        from nova0.cli.own_agent import run_file

        return run_file(args.what, args)
    if args.what not in ("controller", "host"):
        raise Failure(f"there is no agent {args.what!r}: controller, host, or a file ending in .py", code=2)
    from nova0.agents import running

    return running.run(args.what)
