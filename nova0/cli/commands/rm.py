"""Delete servers and wait until they are gone. One name that is not there, or is several servers': none is deleted.

Example:
    $ nova0 rm first
    first is gone
"""

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="+", metavar="NAME", help="names or ids")
    parser.add_argument("--no-wait", action="store_true", help="return when the API has taken the request")


def run(args: argparse.Namespace) -> int:
    from nova0.cli import servers, settings
    from nova0.cli.cloud import Cloud
    from nova0.cli.failure import Failure

    settings.load(args)
    cloud = Cloud.named()
    try:
        found = [servers.find(cloud, name) for name in args.name]  # all or nothing: a typo deletes no other
    except Failure as failure:
        raise Failure(f"{failure.message}; nothing was deleted") from failure
    found = list({server["id"]: server for server in found}.values())
    for server in found:
        cloud.delete("compute", f"/servers/{server['id']}")
    for server in found:
        if args.no_wait:
            print(f"{server['name']} is being deleted")
        else:
            servers.wait_gone(cloud, server["id"])
            print(f"{server['name']} is gone")
    return 0
