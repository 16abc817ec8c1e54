"""Show what a server wrote to its serial console.

Example:
    $ nova0 log first --lines 20
    $ nova0 log first --follow
"""

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="name or id of the server")
    parser.add_argument("--lines", type=int, metavar="N", help="only the last N lines")
    parser.add_argument("--follow", "-f", action="store_true", help="go on as it writes; Ctrl-C ends it")


def run(args: argparse.Namespace) -> int:
    import time

    from nova0.cli import servers, settings
    from nova0.cli.cloud import Cloud

    settings.load(args)
    cloud = Cloud.named()
    server = servers.find(cloud, args.name)
    text = servers.console(cloud, server["id"], args.lines)
    print(text, end="" if text.endswith("\n") else "\n", flush=True)
    shown = servers.console(cloud, server["id"]) if args.follow else ""
    while args.follow:
        time.sleep(1)  # the API has no way to follow a console
        now = servers.console(cloud, server["id"])
        fresh = now[len(shown) :] if now.startswith(shown) else now
        print(fresh, end="", flush=True)
        shown = now
    return 0
