"""Call a method of an agent and print its answer.

Values are JSON where they parse as such, else text. Who may call what is checked by the agent: from a
host's own command line you are a member, on your own machine also `self`. With an operator's key (`nova0
operator create`) you are an operator on any host: --as-operator takes ~/.config/nova0/operator.key.

Example:
    $ nova0 call compute@lab1 inspect uuid=0d1c...
    $ nova0 call compute@lab1 host_state --json
"""

import argparse
import os

JSON = True


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("agent", metavar="AGENT", help="TOPIC@HOST, HOST/PROCESS, or TOPIC for the least loaded one")
    parser.add_argument("method", metavar="METHOD", help="see `nova0 agents describe`")
    parser.add_argument("arguments", nargs="*", metavar="key=value", help="its arguments")
    parser.add_argument(
        "--traceparent",
        metavar="T",
        default=os.environ.get("TRACEPARENT"),
        help="continue this trace (W3C Trace Context: 00-TRACE-SPAN-FLAGS); default: $TRACEPARENT",
    )
    parser.add_argument("--as-operator", action="store_true", help="with the key in ~/.config/nova0/operator.key")
    parser.add_argument("--key", metavar="FILE", help="with the operator's key in this file")
    parser.add_argument("--timeout", type=float, default=60.0, metavar="S", help="wait at most this long (default 60)")


def run(args: argparse.Namespace) -> int:
    from nova0.cli import authority, mesh_door
    from nova0.cli.output import show_json

    agent = mesh_door.agent_name(args.agent)
    values = mesh_door.arguments(args.arguments)
    with mesh_door.local_node(args) as node:
        if args.as_operator or args.key:
            from nova0.mesh import operators

            operator = authority.operator(args.key, node)
            answer = operators.call(node, operator, agent, args.method, values, timeout_s=args.timeout)
        else:
            answer = node.call(agent, args.method, values, timeout_s=args.timeout, traceparent=args.traceparent)
    if args.json or isinstance(answer, dict | list):
        show_json(answer)
    elif answer is not None:
        print(answer)
    return 0
