"""Make a server and show how it comes up: scheduling, image, network, booting, address, ready.

Ready means that the guest said so on its console (the tiny image's ready line, others' login prompt). The
smallest flavor with enough memory and disk for the image, the network `private` and the key `nova0` are
taken unless you name others.

Example:
    $ nova0 launch tiny first
    scheduling 0.1s  image 0.2s  network 0.1s  booting 2.9s  ready 1.2s
    first is ready at 10.80.0.7 after 4.5 s: nova0 ssh first
"""

import argparse

JSON = True


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", metavar="IMAGE", help="name or id of an image")
    parser.add_argument("name", metavar="NAME", help="name of the new server")
    parser.add_argument("--flavor", metavar="NAME", help="default: the smallest that fits the image")
    parser.add_argument("--network", metavar="NAME", help="default: private; none for no network")
    parser.add_argument("--key", metavar="NAME", help="default: nova0; none for no key")
    parser.add_argument("--user-data", metavar="FILE", help="handed to the guest")
    parser.add_argument("--host", metavar="NAME", help="only on this host (administrator)")
    waiting = parser.add_mutually_exclusive_group()
    waiting.add_argument("--wait-ready", action="store_true", help="until the guest says it is ready (default)")
    waiting.add_argument("--no-wait", action="store_true", help="return when the API has taken the request")
    parser.add_argument("--timeout", type=float, default=300, metavar="S", help="give up after this long (default 300)")


def run(args: argparse.Namespace) -> int:
    from nova0.cli import launching, servers, settings
    from nova0.cli.cloud import Cloud
    from nova0.cli.output import Progress, show_json

    settings.load(args)
    cloud = Cloud.named()
    progress = Progress(quiet=args.json)
    server_id, image = launching.create(cloud, args)
    if args.no_wait:
        server = cloud.get("compute", f"/servers/{server_id}")["server"]
    else:
        try:
            server = launching.follow(cloud, server_id, image, progress, args.timeout)
        finally:
            progress.end()
    if args.json:
        stages = {stage: round(seconds, 2) for stage, seconds in progress.stages}
        show_json(
            {"id": server_id, "status": server["status"], "addresses": servers.addresses(server), "stages": stages}
        )
    elif args.no_wait:
        print(f"{args.name} is being made: `nova0 ps`")
    else:
        where = " ".join(servers.addresses(server))
        print(
            f"{args.name} is ready{f' at {where}' if where else ''} after {progress.elapsed():.1f} s"
            + (f": nova0 ssh {args.name}" if where else "")
        )
    return 0
