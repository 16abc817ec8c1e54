"""End an operator's authority, everywhere and for good; run it on the controller that made the operator.

What that operator said before stays said.

Example:
    $ sudo nova0 operator revoke ann --reason "left the team"
    end the authority of operator ann for good? [y/N] y
    ann is no operator any more
"""

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="as `nova0 operator list` shows it")
    parser.add_argument("--reason", default="", metavar="TEXT", help="shown by `nova0 evict --list`")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def run(args: argparse.Namespace) -> int:
    from nova0.cli import asking, authority, mesh_door
    from nova0.cli.failure import Failure
    from nova0.mesh import operators

    me = authority.controller(args)
    key = next((c.key for c in operators.known(me) if c.host == args.name), None)
    if key is None:
        raise Failure(f"no operator {args.name} was made here: see `nova0 operator list`")
    asking.confirm(f"end the authority of operator {args.name} for good?", args.yes)
    found = {"cluster": me.cluster, "key": key, "node_id": b""}
    with mesh_door.local_node(args) as node:
        node.put_out(authority.Authority(me.signer(), me.certificate.host).tombstone(found, args.name, args.reason))
    print(f"{args.name} is no operator any more")
    return 0
