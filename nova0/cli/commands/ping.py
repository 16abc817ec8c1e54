"""Ask nodes for an answer over the mesh and show how long each took.

Example:
    $ nova0 ping lab2
    lab2/host  1.3 ms
    $ nova0 ping            # everyone
"""

import argparse

JSON = True


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("node", nargs="?", help="a node (lab2/host) or a host (lab2); default: all that are up")


def run(args: argparse.Namespace) -> int:
    from nova0.cli import mesh_door
    from nova0.cli.failure import Failure
    from nova0.cli.output import show_json, show_table
    from nova0.mesh.errors import MeshError

    results = []
    with mesh_door.local_node(args) as node:
        members = node.members()
        wanted = [m["node"] for m in members if args.node in (m["node"], m["host"])]
        if args.node is None:
            wanted = [m["node"] for m in members if m["status"] in ("up", "suspect", "unknown")]
        if not wanted:
            raise Failure(f"nobody here is called {args.node!r}: `nova0 agents` lists them")
        for name in sorted(wanted):
            try:
                results.append({"node": name, "ms": round(node.ping(name)["ms"], 2), "error": None})
            except MeshError as error:  # one silent node must not hide the others
                results.append({"node": name, "ms": None, "error": error.message})
    if args.json:
        show_json(results)
    else:
        show_table(
            ["NODE", "TIME", "ERROR"],
            [[row["node"], f"{row['ms']} ms" if row["ms"] is not None else "-", row["error"]] for row in results],
        )
    return 1 if any(row["error"] for row in results) else 0
