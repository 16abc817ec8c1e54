"""Print what a node has counted, as Prometheus reads it.

Calls by method and outcome with their latencies, casts, bytes, links, queues, gaps: of this machine's node,
or of another asked over the mesh. `metrics_listen` lets Prometheus ask by HTTP.

Example:
    $ nova0 metrics lab2 | grep calls_answered
    nova0_mesh_calls_answered_total{method="guests",outcome="ok",topic="compute"} 41.0
    $ nova0 metrics --json | jq '.[].name'
"""

import argparse

JSON = True


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("agent", nargs="?", help="a node (lab2/host), a host or an agent; default: this machine's")
    parser.add_argument("--timeout", type=float, default=5.0, metavar="S", help="wait at most this long (default 5)")


def run(args: argparse.Namespace) -> int:
    from nova0.cli import mesh_door
    from nova0.cli.output import show_json

    agent = mesh_door.agent_name(args.agent) if args.agent else None
    with mesh_door.local_node(args) as node:
        families = node.metrics(agent, args.timeout)
    if args.json:
        show_json(families)
        return 0

    import msgspec

    from nova0.metrics import Family, render

    print(render(msgspec.convert(families, list[Family])).decode(), end="")
    return 0
