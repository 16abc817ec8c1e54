"""Make an operator: a key that may change things on any host and put machines out; run it on a controller.

The file holds the secret key and its certificate. Give it to that person and nobody else: `nova0 call
--as-operator` and `nova0 evict --key` take it, `nova0 operator revoke` ends it.

Example:
    $ sudo nova0 operator create ann --out ann.key
    ann may use ann.key: as ~/.config/nova0/operator.key it is found by itself
"""

import argparse

JSON = True


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="of the person")
    parser.add_argument("--out", metavar="FILE", help="default: ~/.config/nova0/operator.key; never overwritten")


def run(args: argparse.Namespace) -> int:
    from pathlib import Path

    from nova0.cli import authority
    from nova0.cli.failure import Failure
    from nova0.cli.output import show_json
    from nova0.mesh import operators

    path = Path(args.out) if args.out else authority.default_file()
    try:
        operators.create(authority.controller(args), args.name, path)
    except FileExistsError as error:
        raise Failure(str(error)) from None
    if args.json:
        show_json({"name": args.name, "file": str(path)})
    else:
        print(f"{args.name} may use {path}: as ~/.config/nova0/operator.key it is found by itself")
    return 0
