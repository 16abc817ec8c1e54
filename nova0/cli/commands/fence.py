"""Say that a host is switched off for good: what waits for its word is settled without it.

A server whose host fell silent with leave to start it shows ERROR until that host answers, and a deleted one
keeps its address: the host might still run it. Fencing is your word that it does not. Switch it off first
(power, or its network port). `--undo` lets it back in; it then removes what was settled elsewhere.

Example:
    $ nova0 fence lab2
    lab2 is fenced: nothing is placed there, and nothing waits for it
    $ nova0 fence --undo lab2
    lab2 may come back
"""

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("host", help="name of the host, as `nova0 agents` shows it")
    parser.add_argument("--undo", action="store_true", help="let it back in")
    parser.add_argument(
        "--force", action="store_true", help="although it answers: you know that nobody else can reach it"
    )


def run(args: argparse.Namespace) -> int:
    import os

    from nova0.cli import settings
    from nova0.cli.cloud import Cloud
    from nova0.cli.failure import Failure

    settings.load(args)
    admin = Cloud.named(os.environ.get("OS_CLOUD") or "nova0-admin")
    services = admin.get("compute", "/os-services", binary="nova-compute", host=args.host)["services"]
    if not services:
        raise Failure(f"there is no host {args.host}: `nova0 agents` shows who is there")
    if not args.undo and services[0]["state"] == "up" and not args.force:
        raise Failure(
            f"{args.host} is up: switch it off first. Fencing a host that runs lets two guests have one address "
            "(--force if you must)"
        )
    body = {"host": args.host, "binary": "nova-compute", "forced_down": not args.undo}
    admin.ask("PUT", "compute", "/os-services/force-down", json=body)
    if args.undo:
        print(f"{args.host} may come back")
    else:
        print(f"{args.host} is fenced: nothing is placed there, and nothing waits for it")
    return 0
