"""Carry bytes between standard input and output and a port of a server, through the guest's host.

What `nova0 ssh` uses as ssh's ProxyCommand; of use to other programs that take one.

Example:
    $ scp -o ProxyCommand='nova0 tunnel first 22' file root@first:
"""

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="name or id of the server")
    parser.add_argument("port", type=int, metavar="PORT", help="TCP port in the guest")


def run(args: argparse.Namespace) -> int:
    from nova0.cli import servers, settings, tunnel
    from nova0.cli.cloud import Cloud
    from nova0.cli.failure import Failure

    if not 0 < args.port < 65536:
        raise Failure(f"port {args.port}: between 1 and 65535", code=2)
    settings.load(args)
    cloud = Cloud.named()
    server = servers.find(cloud, args.name)
    return tunnel.carry(cloud, server["id"], args.port)
