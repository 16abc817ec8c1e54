"""Stop nova0 on this machine. Guests and networks stay as they are.

`nova0 up` goes on with everything. To take a joined machine out of its cluster: `nova0 leave`. To end the whole cloud,
on the controller: `nova0 destroy`.

Example:
    $ sudo nova0 down
    stopped: up, controller, host; 3 guests stay as they are. `nova0 up` goes on with everything
"""

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quiet", action="store_true", help="print nothing when there was nothing to do")
    parser.add_argument("--keep-guests", action="store_true", help=argparse.SUPPRESS)  # of earlier versions
    parser.add_argument("--purge", action="store_true", help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    from nova0.cli import take_down
    from nova0.cli.failure import Failure

    if args.purge:
        raise Failure(
            "`nova0 down` removes nothing any more: `nova0 destroy --purge` ends the whole cloud, on its controller; "
            "`nova0 leave --purge` takes a joined machine out of its cluster",
            code=2,
        )
    if args.keep_guests:
        raise Failure("--keep-guests is what `nova0 down` does now: say just that", code=2)
    return take_down.down(args)
