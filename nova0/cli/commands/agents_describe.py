"""Show what each agent can be asked: methods, arguments with types and units, who may call, how long it may take.

Example:
    $ nova0 agents describe conductor
    conductor: call  leave(uuid: str, generation: int) -> int   [host; short: 10 s, 5 s in silence]
        Units: answer in milliseconds.
        May the calling host start this instance now? Lease, counted by the asker from before it asked. ...
    $ nova0 agents describe user/hello --json
"""

import argparse
from typing import Any

JSON = True


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "topic", nargs="?", help="only this agent: a topic, or TOPIC@HOST or HOST/PROCESS of one that runs"
    )


def run(args: argparse.Namespace) -> int:
    from nova0.cli.output import show_json
    from nova0.cli.surfaces import described, patience
    from nova0.cli.terminal import cell

    found = described()
    if args.topic in found:
        found = {args.topic: found[args.topic]}
    elif args.topic:  # no agent of nova0's own: ask the one that runs
        found = live(args)
    if args.json:
        show_json(found)
        return 0
    for topic in sorted(found):
        for method in found[topic]:
            allow = ", ".join(method["allow"])
            print(cell(f"{topic}: {method['kind']}  {method['signature']}   [{allow}; {patience(method)}]"))
            units = {**method.get("units", {}), **({"answer": unit} if (unit := method.get("returns_unit")) else {})}
            if units:
                print(cell(f"    Units: {', '.join(f'{name} in {unit}' for name, unit in units.items())}."))
            for line in method["doc"].splitlines():
                print(f"    {line}".rstrip())
    return 0


def live(args: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """What a running node says of its agents: those of another version, and users' own."""
    from nova0.cli import mesh_door

    with mesh_door.local_node(args) as node:
        rows = node.describe(mesh_door.agent_name(args.topic))
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        inner = ", ".join(f"{name}: {kind}" for name, kind in row["arguments"].items())
        earlier = {"signature": f"{row['method']}({inner}) -> {row['returns']}"}  # nodes of 0.1.0 say none
        found.setdefault(row["agent"], []).append({"name": row["method"], **earlier, **row})
    return found
