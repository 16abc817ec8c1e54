"""Show what each agent can be asked: methods, arguments, who may call, how long it may take.

Example:
    $ nova0 agents describe compute
    compute: call  inspect(uuid: str) -> GuestInfo | None   [controller, short]
        What is there, asked of the hypervisor itself; None when there is nothing.
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
    from nova0.cli.surfaces import described

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
            who = ", ".join(method["allow"])
            print(f"{topic}: {method['kind']}  {method['signature']}   [{who}, {method['timeout']}]")
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
        signature = f"{row['method']}({inner}) -> {row['returns']}"
        found.setdefault(row["agent"], []).append({**row, "name": row["method"], "signature": signature})
    return found
