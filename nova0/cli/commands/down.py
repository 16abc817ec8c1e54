"""Stop nova0 on this machine and take away what it made.

Servers are deleted, then processes, guests, links, rules and the clouds.yaml entries go. The store, images
and keys stay, so that `nova0 up` continues the same cloud; --purge removes these too.

Example:
    $ sudo nova0 down
    $ sudo nova0 down --keep-guests      # only the agents stop; guests run on
    $ sudo nova0 down --purge            # as if it had never been here
"""

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--keep-guests", action="store_true", help="leave guests, links and rules as they are")
    parser.add_argument("--purge", action="store_true", help="also remove store, images, keys and logs")
    parser.add_argument("--quiet", action="store_true", help="print nothing when there was nothing to do")


def run(args: argparse.Namespace) -> int:
    from nova0.cli import take_down
    from nova0.cli.failure import Failure

    if args.keep_guests and args.purge:
        raise Failure("--keep-guests and --purge contradict each other: choose one", code=2)
    return take_down.down(args)
