"""Show what a server wrote to its serial console.

What would steer the terminal (a guest writes what it likes: escape sequences, bells) is written out, as \\u001b; --raw
prints it as it came, into a file or for a terminal that you trust the guest with.

Example:
    $ nova0 log first --lines 20
    $ nova0 log first --follow
"""

import argparse
import re

_ENDS = re.compile("\r+\n")  # a serial line ends its lines so


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="name or id of the server")
    parser.add_argument("--lines", type=int, metavar="N", help="only the last N lines")
    parser.add_argument("--raw", action="store_true", help="with the guest's escape sequences, as they are")
    parser.add_argument("--follow", "-f", action="store_true", help="go on as it writes; Ctrl-C ends it")


def run(args: argparse.Namespace) -> int:
    import sys
    import time

    from nova0.cli import servers, settings, terminal
    from nova0.cli.cloud import Cloud

    settings.load(args)
    cloud = Cloud.named()
    server = servers.find(cloud, args.name)
    out = terminal.raw(sys.stdout) if args.raw else sys.stdout

    def wrote(lines: int | None = None) -> str:
        text = servers.console(cloud, server["id"], lines)
        return text if args.raw else _ENDS.sub("\n", text).rstrip("\r")

    text = wrote(args.lines)
    print(text, end="" if text.endswith("\n") else "\n", flush=True, file=out)
    shown = wrote() if args.follow else ""
    while args.follow:
        time.sleep(1)  # the API has no way to follow a console
        now = wrote()
        fresh = now[len(shown) :] if now.startswith(shown) else now
        print(fresh, end="", flush=True, file=out)
        shown = now
    return 0
