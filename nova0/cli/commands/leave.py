"""Take this joined machine out of its cluster for good: its guests and their disks are removed.

The controller is told first: servers of this machine show ERROR there, with a fault that says so, and are deleted like
any other; the machine's key is put out, and its name is free again. Then guests, links, rules, membership and state go,
and the unit that nova0 made. Logs and fetched images stay unless --purge, which removes these and the ssh key too. Cut
short, the same command goes on. The controller's own machine does not leave: `nova0 destroy` ends its cloud.

Example:
    $ sudo nova0 leave
    lab2 leaves its cluster: 3 guests and their disks are removed from this machine, its servers show ERROR in the
    cloud. Go on? [y/N] y
    lab2 left the cluster: 3 servers of it show ERROR there
"""

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--purge", action="store_true", help="everything nova0 made here, logs, images and ssh key too")
    parser.add_argument(
        "--without-controller", action="store_true", help="tell nobody: the controller is gone, or put this machine out"
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing when there was nothing to do")


def run(args: argparse.Namespace) -> int:
    from gevent import monkey

    monkey.patch_all()  # before anything that opens a socket: this process is a node for a moment

    from nova0.cli import leaving

    return leaving.leave(args)
