"""Show the operators made on this controller.

Example:
    $ sudo nova0 operator list
    NAME  STATE    KEY
    ann   may act  8ff9da0fb22c
    bob   revoked  0c64b6a3e1d2
"""

import argparse

JSON = True


def configure(parser: argparse.ArgumentParser) -> None:
    pass


def run(args: argparse.Namespace) -> int:
    from nova0.cli import authority
    from nova0.cli.output import show_json, show_table
    from nova0.mesh import operators
    from nova0.mesh.tombstones import Tombstones

    me = authority.controller(args)
    out = Tombstones(me)
    rows = [
        {"name": c.host, "state": "revoked" if out.is_out(c.key) else "may act", "key": c.key.hex()}
        for c in operators.known(me)
    ]
    if args.json:
        show_json(rows)
        return 0
    show_table(
        ["NAME", "STATE", "KEY"],
        [[row["name"], row["state"], row["key"][:12]] for row in rows],
        empty="no operator was made here: `nova0 operator create NAME`",
    )
    return 0
