"""Fetch the certificate that a controller made anew for an operator's key, after `nova0 mesh rotate` there.

Run it at any member while the controller that made the operator is up. Each use of the key does the same by
itself; with no controller up, only what was fetched before counts.

Example:
    $ nova0 operator renew --key ann.key
    ann: ann.key has a new certificate
"""

import argparse

JSON = True


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--key", metavar="FILE", help="default: ~/.config/nova0/operator.key")


def run(args: argparse.Namespace) -> int:
    from pathlib import Path

    from nova0.cli import authority, mesh_door
    from nova0.cli.failure import Failure
    from nova0.cli.output import show_json
    from nova0.mesh import operators

    path = Path(args.key) if args.key else authority.default_file()
    before = authority.held(path)
    with mesh_door.local_node(args) as node:
        key = operators.renewed(node, before)
    if key != before:
        try:
            operators.save(path, key)
        except OSError as error:
            raise Failure(f"{path}: its new certificate cannot be written there: {error.strerror}") from error
    if args.json:
        show_json({"name": key.name, "file": str(path), "renewed": key != before})
    elif key != before:
        print(f"{key.name}: {path} has a new certificate")
    else:
        print(f"{key.name}: the certificate in {path} counts, and no newer one is to be had")
    return 0
