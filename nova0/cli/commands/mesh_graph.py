"""Show who is linked to whom. Every node is asked at once; those that do not answer are shown so.

An arrow leads from the node that dialled to the one it reached; both ways where both did. With --png the
picture is drawn by Graphviz.

Example:
    $ nova0 mesh graph
    lab1/controller (controller)
      <-> lab2/host
    lab2/host (host)
      <-> lab1/controller
      --> lab3/host  broken: link cut
    lab3/host (host): does not answer: lab3/host is down: stopped
    $ nova0 mesh graph --dot | dot -Tsvg > mesh.svg
    $ nova0 mesh graph --png mesh.png
"""

import argparse
from typing import Any

JSON = True


def configure(parser: argparse.ArgumentParser) -> None:
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--dot", action="store_true", help="print it in Graphviz's language")
    form.add_argument("--png", metavar="FILE", help="draw it into FILE; needs Graphviz's `dot`")
    parser.add_argument("--timeout", type=float, default=5.0, metavar="S", help="wait at most this long (default 5)")


def run(args: argparse.Namespace) -> int:
    from nova0.cli import mesh_door
    from nova0.cli.failure import Failure
    from nova0.cli.output import show_json

    if args.json and (args.dot or args.png):
        raise Failure("one of --json, --dot and --png", code=2)
    if args.png:
        _drawer()  # said before anybody is asked
    with mesh_door.local_node(args) as node:
        seen = graph(node.members(), node.everyone("links", args.timeout))
    if args.json:
        show_json(seen)
    elif args.dot:
        print(dot(seen))
    elif args.png:
        draw(dot(seen), args.png)
        print(args.png)
    else:
        print(text(seen))
    return 0


def graph(members: list[dict[str, Any]], told: list[dict[str, Any]]) -> dict[str, Any]:
    """{"nodes": [{node, status, roles, answers, error}], "links": [{from, to, up, listens, waiting, trouble}]}."""
    answers = {one["node"]: one for one in told}
    nodes = [
        {
            "node": member["node"],
            "status": member["status"],
            "roles": member["roles"],
            "answers": answers.get(member["node"], {}).get("answer") is not None,
            "error": answers.get(member["node"], {}).get("error"),
        }
        for member in sorted(members, key=lambda member: member["node"])
    ]
    links = [
        {
            "from": one["node"],
            "to": link["node"],
            "up": link["up"],
            "listens": link["listens"],
            "waiting": link["waiting"],
            "trouble": link["trouble"],
        }
        for one in sorted(told, key=lambda one: one["node"])
        for link in sorted(one["answer"] or [], key=lambda link: link["node"])
    ]
    return {"nodes": nodes, "links": links}


def text(seen: dict[str, Any]) -> str:
    """For people: each node with its links, a line each whatever a node said."""
    from nova0.cli.terminal import cell

    up = {(link["from"], link["to"]) for link in seen["links"] if link["up"]}
    lines = []
    for node in seen["nodes"]:
        name = node["node"]
        silent = "" if node["answers"] else f": does not answer: {node['error'] or node['status']}"
        lines.append(f"{name} ({' '.join(node['roles'])}){silent}")
        towards = {link["to"]: link for link in seen["links"] if link["from"] == name}
        for other in sorted(towards.keys() | {a for a, b in up if b == name}):
            link = towards.get(other)
            if link is not None and not link["up"]:
                lines.append(f"  --> {other}  broken: {link['trouble']}")
            arrow = f"{'<' if (other, name) in up else '-'}-{'>' if (name, other) in up else '-'}"
            if arrow != "---":
                lines.append(f"  {arrow} {other}")
    return "\n".join(cell(line) for line in lines)


_FILLS = {"up": "palegreen", "suspect": "khaki", "down": "lightcoral", "left": "lightgrey", "unknown": "white"}


def dot(seen: dict[str, Any]) -> str:
    """In Graphviz's language; broken links are red and dashed, nodes that do not answer dashed."""
    up = {(link["from"], link["to"]) for link in seen["links"] if link["up"]}
    lines = ["digraph mesh {", "  node [shape=box, style=filled, fontname=Helvetica];", "  edge [arrowsize=0.6];"]
    for node in seen["nodes"]:
        style = "filled" if node["answers"] else "filled,dashed"
        label = f"{_escaped(node['node'])}\\n{_escaped(' '.join(node['roles']))}"
        label += "" if node["answers"] else "\\ndoes not answer"
        lines.append(
            f'  {_quoted(node["node"])} [label="{label}", style={_quoted(style)}, '
            f"fillcolor={_FILLS.get(node['status'], 'white')}];"
        )
    for link in seen["links"]:
        pair = (link["from"], link["to"])
        edge = f"  {_quoted(pair[0])} -> {_quoted(pair[1])}"
        if not link["up"]:
            lines.append(f"{edge} [color=red, style=dashed];")
        elif pair[::-1] not in up:
            lines.append(f"{edge};")
        elif pair[0] < pair[1]:
            lines.append(f"{edge} [dir=both];")
    return "\n".join([*lines, "}"])


def _quoted(name: str) -> str:
    return f'"{_escaped(name)}"'


def _escaped(name: str) -> str:
    """As it stands between quotes, where a backslash at the end would take the closing one with it."""
    from nova0.cli.terminal import cell

    return cell(name).replace("\\", "\\\\").replace('"', '\\"')


def _drawer() -> str:
    import shutil

    from nova0.cli.failure import Failure

    found = shutil.which("dot")
    if found is None:
        raise Failure("--png is drawn by Graphviz, which is not here: `apt install graphviz`, or use --dot elsewhere")
    return found


def draw(program: str, path: str) -> None:
    """Run Graphviz; the file appears whole or not at all. Raises Failure with what it said."""
    import os
    import subprocess

    from nova0.cli.failure import Failure

    beside = f"{path}.new"
    done = subprocess.run([_drawer(), "-Tpng", "-o", beside], input=program, capture_output=True, text=True)
    if done.returncode != 0:
        if os.path.exists(beside):
            os.unlink(beside)
        raise Failure(f"{path}: dot failed: {done.stderr.strip() or done.returncode}")
    os.replace(beside, path)
