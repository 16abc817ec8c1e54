"""Mint a token that lets another machine join this cluster; run it on a controller.

It is shown once; only a hash of its secret is kept. What the machine may answer follows from its role, and `user/...`
is any member's; a topic of your own that does not begin so has to be given by name.

Example:
    $ sudo nova0 token --uses 3 --expires 1d
    nova0 join - <<< lQGsYzc4...
    $ sudo nova0 token --role member --topic billing
"""

import argparse

JSON = True


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--uses", type=int, default=1, metavar="N", help="machines it lets in (default 1)")
    parser.add_argument("--expires", default="1h", metavar="TIME", help="30s, 15m, 1h (default) or 7d")
    parser.add_argument("--host", metavar="NAME", help="only for a machine of this name")
    parser.add_argument("--role", default="host", choices=["host", "member"], help="what it may be (default host)")
    parser.add_argument(
        "--topic", action="append", default=[], metavar="NAME", help="it may answer this one too; again for more"
    )


def seconds(text: str) -> float:
    """Seconds in 30s, 15m, 1h, 7d. Raises Failure."""
    from nova0.cli.failure import Failure

    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    if text[-1:] in units and text[:-1].isdecimal() and int(text[:-1]) > 0:
        return float(int(text[:-1]) * units[text[-1]])
    raise Failure(f"--expires {text}: give a number and s, m, h or d, like 1h", code=2)


def run(args: argparse.Namespace) -> int:
    from nova0.cli import joining_token, membership, settings
    from nova0.cli.failure import Failure
    from nova0.cli.output import show_json

    if args.uses < 1:
        raise Failure(f"--uses {args.uses}: at least 1", code=2)
    lifetime_s = seconds(args.expires)
    token = membership.mint(
        settings.state_path(args),
        uses=args.uses,
        lifetime_s=lifetime_s,
        host=args.host,
        roles=(args.role,),
        topics=tuple(args.topic),
    )
    if args.json:
        facts = {"uses": args.uses, "expires_in_s": lifetime_s, "role": args.role, "host": args.host}
        show_json({"token": token, **facts, "topics": args.topic})
    else:
        print(joining_token.line(token))
    return 0
