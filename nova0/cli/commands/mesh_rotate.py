"""Replace the signer of this controller, with which it lets machines in, or the root, while the cluster works.

Needs the root's key, here or on a stick (--root-key): best kept off this machine, it is used for nothing else.
Members get certificates of the new signer over their live sessions; when all have one, the old signer is dropped.
With some out of reach it stays until you ask again; --drop-now leaves those behind: they must join again; it asks.
Operators made here get new certificates too: a key's file takes its own up when it is used, or by `nova0 operator
renew`, while this controller is up.

With --new-root-key FILE the root's key is replaced instead: the new one is written to FILE (0600), and from then on the
old one can sign nothing. Members that are away follow at their return. Given again with the same FILE, after
a crash for example, it goes on where it was.

Example:
    $ sudo nova0 mesh rotate --root-key /media/stick/root.key
    signer 5f2c91aa03be replaces 9b1e77d0c4f2, which is dropped
    lab1, lab2, lab3 have new certificates
    operators ann, bob have new ones here: `nova0 operator renew`, or any use of the key, fetches it
    $ sudo nova0 mesh rotate --root-key /media/stick/root.key --new-root-key /media/stick/root2.key
    root 8c5d10b2e6f7 counts from now on (version 2); told to 3 of 3 nodes
    Copy /media/stick/root2.key to two safe places, off this machine; the one before is of no use any more
"""

import argparse
from typing import Any

JSON = True


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root-key", metavar="FILE", help="where the root's key is (default: on this machine)")
    parser.add_argument("--new-root-key", metavar="FILE", help="replace the root's key by one that is written there")
    parser.add_argument("--drop-now", action="store_true", help="drop the old signer though members are out of reach")
    parser.add_argument("--yes", action="store_true", help="do not ask, with --drop-now")


def run(args: argparse.Namespace) -> int:
    from pathlib import Path

    from nova0.cli import asking, mesh_door, settings
    from nova0.cli.failure import Failure
    from nova0.cli.output import show_json
    from nova0.mesh import rotation

    folder = settings.state_path(args) / "mesh"
    root_key = Path(args.root_key) if args.root_key else folder / "root.key"
    if args.new_root_key and args.drop_now:
        raise Failure("--drop-now is for a change of signer: change the root first, then the signer", code=2)
    if args.drop_now:
        question = "drop the old signer at once? Members that are out of reach are out, and must join again"
        asking.confirm(question, args.yes)
    with mesh_door.local_node(args, ("controller",)) as node:
        if args.new_root_key:
            changed = rotation.rotate_root(
                folder, root_key, Path(args.new_root_key), lambda trust: node.order("root", 300.0, trust=trust)
            )
            return _root_changed(args, changed)
        told = rotation.rotate(
            folder,
            root_key,
            lambda signed: node.order("signers", 300.0, signed=signed),
            drop="now" if args.drop_now else "when all have",
        )
    if args.json:
        show_json(told)
        return 0
    state = "which is dropped" if told["dropped"] else "which counts until all have certificates of the new one"
    print(f"signer {told['signer'][:12]} replaces {told['before'][:12]}, {state}")
    if told["reissued"]:
        print(f"{', '.join(told['reissued'])} have new certificates")
    if told["operators"]:
        names = ", ".join(told["operators"])
        print(f"operators {names} have new ones here: `nova0 operator renew`, or any use of the key, fetches it")
    for host, why in told["missing"].items():
        print(f"{host} has none: {why}" + ("; it must join again" if told["dropped"] else ""))
    if not told["dropped"]:
        print("Ask again when they are back: `nova0 mesh rotate`")
    return 0


def _root_changed(args: argparse.Namespace, told: dict[str, Any]) -> int:
    from nova0.cli.output import show_json

    if args.json:
        show_json(told)
        return 0
    since = "counts from now on" if told["changed"] else "counts already"
    reached = len(told["told"])
    known = reached + len(told["missing"])
    print(f"root {told['root'][:12]} {since} (version {told['version']}); told to {reached} of {known} nodes")
    for name, why in told["missing"].items():
        print(f"{name} follows when it greets again: {why}")
    for signer in told["dropped"]:
        print(f"signer {signer[:12]} is not this controller's and was dropped: whom it let in must join again")
    print(
        f"Copy {told['key_file']} to two safe places, off this machine; the one before is of no use any more\n"
        "If somebody else had the old one, replace the signer as well: "
        f"`nova0 mesh rotate --drop-now --root-key {told['key_file']}`"
    )
    return 0
