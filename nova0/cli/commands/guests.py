"""Show the guests that this machine holds, and those of them that the cloud disowns.

When a host and the cloud compare what they know, guests of deleted or moved servers are removed. If they are
many at once (option disown_most), the host keeps them in doubt: a mistaken or false controller could have said
so. They go by themselves as the controller deletes each; `nova0 guests release` lets them go on your word.

Example:
    $ sudo nova0 guests
    SERVER                                NAME   STATE    KEPT
    0d6f2a51-7c1e-4b8e-9a39-0f6c1b1f0c11  web1   RUNNING  in doubt: deleted, says the cloud, 3 min ago
"""

import argparse

JSON = True


def configure(parser: argparse.ArgumentParser) -> None:
    pass


def run(args: argparse.Namespace) -> int:
    from nova0.cli import held_guests, mesh_door
    from nova0.cli.output import show_json, show_table

    with mesh_door.local_node(args, ("host",)) as node:
        held = held_guests.all_of(node)
    if args.json:
        show_json(held)
        return 0
    show_table(
        ["SERVER", "NAME", "STATE", "KEPT"],
        [[g["uuid"], held_guests.name(g), held_guests.state(g), held_guests.doubt(g)] for g in held],
        empty="no guest is on this machine",
    )
    return 0
