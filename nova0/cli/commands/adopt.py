"""Say that this controller's store is the cluster's right one, after a restore from a backup.

A host that has seen a later state of the store, or another store, does nothing destructive on this
controller's word (`nova0 agents` says so). Compare `nova0 ps --all` with what runs before you adopt. Run it
on the controller, as root; hosts that are away hear it when they are back.

Example:
    $ sudo nova0 adopt
    NODE       ANSWER
    lab1/host  takes store 4f1c09d2, epoch 1
    lab2/host  not reached, hears it later: lab2/host is down
"""

import argparse

JSON = True


def configure(parser: argparse.ArgumentParser) -> None:
    pass


def run(args: argparse.Namespace) -> int:
    from nova0.cli import mesh_door
    from nova0.cli.output import show_json, show_table

    with mesh_door.local_node(args, ("controller",)) as node:
        told = node.order("adopt")
    if args.json:
        show_json(told)
        return 0
    takes = f"takes store {told['store_id'][:8]}, epoch {told['epoch']}"
    rows = [[name, takes] for name in told["taken"]]
    rows += [[name, f"not reached, hears it later: {why}"] for name, why in told["missing"].items()]
    show_table(["NODE", "ANSWER"], rows, empty=f"no other node is known; store {told['store_id'][:8]} is adopted")
    return 0
