"""Let go of the guests that this machine keeps in doubt: they and their disks are removed here.

Look first whether the cloud is right: `nova0 guests` here, `nova0 ps --all` on the controller. Those that the
cloud places here again, or deletes one by one, need nothing.

Example:
    $ sudo nova0 guests release
    0d6f2a51-7c1e-4b8e-9a39-0f6c1b1f0c11  web1  RUNNING  in doubt: deleted, says the cloud, 3 min ago
    ...
    remove these 5 guests and their disks from this machine? [y/N] y
    5 guests are gone
"""

import argparse

JSON = True


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("server", nargs="*", metavar="SERVER", help="only these (ids); default: all in doubt")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def run(args: argparse.Namespace) -> int:
    import sys

    from nova0.cli import held_guests, mesh_door
    from nova0.cli.asking import confirm
    from nova0.cli.failure import Failure
    from nova0.cli.output import show_json

    with mesh_door.local_node(args, ("host",)) as node:
        kept = {guest["uuid"]: guest for guest in held_guests.all_of(node) if guest["kept"]}
        unknown = [uuid for uuid in args.server if uuid not in kept]
        if unknown:
            raise Failure(f"{', '.join(unknown)}: not kept in doubt here; nothing was released: see `nova0 guests`")
        if args.server:
            kept = {uuid: kept[uuid] for uuid in args.server}
        if not kept:
            if args.json:
                show_json({"released": [], "left": []})
            else:
                print("no guest is kept in doubt here")
            return 0
        for guest in kept.values():
            words = (guest["uuid"], held_guests.name(guest), held_guests.state(guest), held_guests.doubt(guest))
            print("  ".join(words), file=sys.stderr if args.json else sys.stdout)
        confirm(f"remove {held_guests.count(len(kept), 'these')} and their disks from this machine?", args.yes)
        gone = node.call(f"compute@{node.members()[0]['host']}", "release", {"uuids": list(kept)}, timeout_s=1800)
    left = [uuid for uuid in kept if uuid not in gone]
    if args.json:
        show_json({"released": gone, "left": left})
    else:
        print(f"{held_guests.count(len(gone))} {'is' if len(gone) == 1 else 'are'} gone")
    if left:
        raise Failure(f"{', '.join(left)} stayed: see `nova0 guests` and the host's log")
    return 0
