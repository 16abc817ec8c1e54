"""Show live what happens on the mesh: members that come, go or fall silent, and casts. Ctrl-C ends it.

Example:
    $ nova0 watch
    12:01:07  lab2/host   up -> suspect
    12:01:09  lab2/host   suspect -> down (stopped, says lab3)
    $ nova0 watch --json | jq .
"""

import argparse

JSON = True


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--count", type=int, metavar="N", help="end after N events")


def run(args: argparse.Namespace) -> int:
    import json
    import time

    from nova0.cli import mesh_door
    from nova0.cli.terminal import cell

    seen = 0
    with mesh_door.local_node(args) as node:
        for event in node.watch():
            if args.json:
                print(json.dumps({"at": time.time(), **event}, default=str, ensure_ascii=False), flush=True)
            else:
                print(f"{time.strftime('%H:%M:%S')}  {cell(line(event))}", flush=True)
            seen += event.get("event") != "watching"
            if args.count and seen >= args.count:
                break
    return 0


def line(event: dict[str, object]) -> str:
    """One event for people."""
    kind = event.get("event")
    if kind == "member":
        detail = f" ({event['detail']})" if event.get("detail") else ""
        return f"{event['node']:<20} {event['was']} -> {event['status']}{detail}"
    if kind == "cast":
        return f"{event['publisher']:<20} {event['topic']}.{event['method']} {event['arguments']}"
    if kind == "watching":
        return f"{event['node']:<20} watching"
    rest = " ".join(f"{key}={value}" for key, value in event.items() if key != "event")
    return f"{kind} {rest}"
