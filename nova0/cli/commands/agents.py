"""Show who is in the cluster, as this machine sees it.

Works on any member, also while the controller is down. `nova0 agents describe` shows what can be asked.

Example:
    $ nova0 agents
    NODE             STATUS  ROLES       TOPICS            ADDRESS          VERSION     BEAT   DETAIL
    lab1/controller  up      controller  conductor images  10.0.0.11:40123  0.2.0 (p2)  0.4 s
    lab2/host        down    host        compute network   10.0.0.12:40551  0.1.0 (p1)  9.2 s  stopped, says lab1

A node that offers a topic its certificate does not let it answer is named in DETAIL with the remedy; nobody asks it
there. VERSION is nova0's and, as p1 or p2, the newest protocol the node speaks: one behind still works.
"""

import argparse

JSON = True


def configure(parser: argparse.ArgumentParser) -> None:
    pass


def run(args: argparse.Namespace) -> int:
    from nova0.cli import mesh_door
    from nova0.cli.output import age, show_json, show_table

    with mesh_door.local_node(args) as node:
        members = sorted(node.members(), key=lambda member: member["node"])
    if args.json:
        show_json(members)
        return 0
    show_table(
        ["NODE", "STATUS", "ROLES", "TOPICS", "ADDRESS", "VERSION", "BEAT", "DETAIL"],
        [
            [
                member["node"],
                member["status"],
                " ".join(member["roles"]),
                " ".join(member["topics"]),
                member["address"],
                f"{member['version']} (p{member['protocol']})",
                age(member["beat_age_s"]),
                member.get("detail") or "",
            ]
            for member in members
        ],
    )
    return 0
