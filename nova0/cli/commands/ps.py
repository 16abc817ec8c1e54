"""Show the servers: name, status, host and the host's state, address, age.

Where the host is silent its state says so, while the status stays what it was; it is UNKNOWN where the host was
put out of the cluster (`nova0 evict`). Host and host's state are shown to an administrator (OS_CLOUD=nova0-admin),
and on the controller's own machine.

Example:
    $ nova0 ps
    NAME   STATUS  HOST  HOST STATE  ADDRESS    AGE
    first  ACTIVE  lab1  up          10.80.0.7  3 min
"""

import argparse

JSON = True


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--all", action="store_true", help="servers of all projects (administrator)")


def run(args: argparse.Namespace) -> int:
    from nova0.cli import host_view, servers, settings
    from nova0.cli.cloud import Cloud
    from nova0.cli.output import age, show_json, show_table

    settings.load(args)
    cloud = Cloud.named()
    query = {"all_tenants": "true"} if args.all else {}
    found = list(cloud.pages("compute", "/servers/detail", "servers", **query))
    hosts = host_view.of_servers(cloud, found)
    rows = [
        {
            "name": server["name"],
            "id": server["id"],
            "status": server["status"],
            "task": server.get("OS-EXT-STS:task_state"),
            "host": hosts[server["id"]].host,
            "host_state": hosts[server["id"]].state,
            "addresses": servers.addresses(server),
            "age_s": host_view.age_s(server["created"]),
            "fault": (server.get("fault") or {}).get("message"),
        }
        for server in found
    ]
    if args.json:
        show_json(rows)
        return 0
    show_table(
        ["NAME", "STATUS", "HOST", "HOST STATE", "ADDRESS", "AGE"],
        [
            [
                row["name"],
                row["status"] + (f" ({row['task']})" if row["task"] else ""),
                row["host"] or "-",
                row["host_state"] or "-",
                " ".join(row["addresses"]) or "-",
                age(row["age_s"]),
            ]
            for row in rows
        ],
        empty="no servers: `nova0 launch tiny first` makes one",
    )
    return 0
