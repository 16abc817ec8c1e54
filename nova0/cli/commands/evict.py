"""Put a machine out of the cluster for good, or show who was: its key is refused everywhere from then on.

Every node that can be reached cuts it off within seconds; one that is away does so before it serves it again.
It needs the authority of a controller's signer (run it there, as root) or an operator's key (`nova0 operator
create`): with that it works on any member, also while no controller is up. HOST/user-NAME puts out one agent of
a user only. The machine comes back with a new key: `nova0 token`, then there `nova0 down` and `nova0 join -`.

This does not fence: its servers may still run there, and show UNKNOWN. Switch it off, then `nova0 fence HOST`
settles what waits for it.

Example:
    $ sudo nova0 evict lab2 --reason stolen
    put lab2 out of the cluster for good? [y/N] y
    lab2 is out. Its servers may still run there: switch it off, then `nova0 fence lab2`
    $ nova0 evict --list
    NAME  BY    WHEN  REASON  KEY
    lab2  lab1  5 s   stolen  1a241773a9ce
"""

import argparse

JSON = True


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("host", nargs="?", metavar="HOST", help="as `nova0 agents` shows it, or HOST/user-NAME")
    parser.add_argument("--list", action="store_true", help="show who was put out")
    parser.add_argument("--reason", default="", metavar="TEXT", help="shown everywhere, also to that machine")
    parser.add_argument("--key", metavar="FILE", help="an operator's key, instead of the controller's signer")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--force", action="store_true", help="even the only controller that is up")


def run(args: argparse.Namespace) -> int:
    from nova0.cli import authority, mesh_door
    from nova0.cli.asking import confirm
    from nova0.cli.failure import Failure
    from nova0.cli.output import age, show_json, show_table

    if args.list:
        import time

        with mesh_door.local_node(args) as node:
            rows = node.tombstones()
        if args.json:
            show_json(rows)
            return 0
        show_table(
            ["NAME", "BY", "WHEN", "REASON", "KEY"],
            [[r["name"], r["by"], age(max(0.0, time.time() - r["at"])), r["reason"], r["key"][:12]] for r in rows],
            empty="nobody was put out",
        )
        return 0
    if not args.host:
        raise Failure("name a host, as `nova0 agents` shows it, or say --list", code=2)
    with mesh_door.local_node(args) as node:
        signer = authority.find(args, args.key, node)
        found = node.key_of(args.host)
        if found["last_controller"] and not args.force:
            raise Failure(f"{args.host} is the only controller that is up: join another first (--force if you must)")
        confirm(f"put {args.host} out of the cluster for good?", args.yes)
        rows = node.put_out(signer.tombstone(found, args.host, args.reason))
    if args.json:
        show_json(rows)
    elif not rows:
        print(f"{args.host} was out already")
    elif "/" in args.host:
        print(f"{args.host} is out")
    else:
        print(f"{args.host} is out. Its servers may still run there: switch it off, then `nova0 fence {args.host}`")
    return 0
