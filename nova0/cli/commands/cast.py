"""Send a cast: heard by every agent of a topic, or by one host's; nobody answers.

Example:
    $ nova0 cast user/greeter hello name=lab1
"""

import argparse

JSON = True


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("agent", metavar="AGENT", help="TOPIC (everyone) or TOPIC@HOST")
    parser.add_argument("method", metavar="METHOD", help="see `nova0 agents describe`")
    parser.add_argument("arguments", nargs="*", metavar="key=value", help="its arguments")


def run(args: argparse.Namespace) -> int:
    from nova0.cli import mesh_door
    from nova0.cli.output import show_json

    agent = mesh_door.agent_name(args.agent)
    values = mesh_door.arguments(args.arguments)
    with mesh_door.local_node(args) as node:
        node.cast(agent, args.method, values)
    if args.json:
        show_json({"sent": args.method, "to": agent})
    else:
        print(f"sent {args.method} to {args.agent}")
    return 0
