"""Replace the signer of this controller, with which it lets machines in, while the cluster works.

Needs the root's key, here or on a stick (--root-key): best kept off this machine, it is used for nothing else.
Members get certificates of the new signer over their live sessions; when all have one, the old signer is dropped.
With some out of reach it stays until you ask again; --drop-now leaves those behind: they must join again.

Example:
    $ sudo nova0 mesh rotate --root-key /media/stick/root.key
    signer 5f2c91aa03be replaces 9b1e77d0c4f2, which is dropped
    lab1, lab2, lab3 have new certificates
"""

import argparse

JSON = True


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root-key", metavar="FILE", help="where the root's key is (default: on this machine)")
    parser.add_argument("--drop-now", action="store_true", help="drop the old signer though members are out of reach")


def run(args: argparse.Namespace) -> int:
    from pathlib import Path

    from nova0.cli import mesh_door, settings
    from nova0.cli.output import show_json
    from nova0.mesh import rotation

    folder = settings.state_path(args) / "mesh"
    root_key = Path(args.root_key) if args.root_key else folder / "root.key"
    with mesh_door.local_node(args, ("controller",)) as node:
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
    for host, why in told["missing"].items():
        print(f"{host} has none: {why}" + ("; it must join again" if told["dropped"] else ""))
    if not told["dropped"]:
        print("Ask again when they are back: `nova0 mesh rotate`")
    return 0
