"""End the whole cloud, on its controller: every server of every project, with its disk.

Then agents, guests, links and rules of this machine go, and the entries that nova0 wrote into clouds.yaml. Store,
images and keys stay, so that `nova0 up` begins the same cloud without servers; --purge removes them too, with logs and
the ssh key and unit that nova0 made. Entries, keys and files of others stay. While other hosts are joined it refuses.
Cut short, the same command goes on.

Example:
    $ sudo nova0 destroy
    destroy this whole cloud: 3 servers (web1, web2, db) and their disks, 3 guests on this machine? [y/N] y
    deleted: 3 of 3 servers
    $ sudo nova0 destroy --purge --yes     # as if nova0 had never been here
"""

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--purge", action="store_true", help="also remove store, images, users, keys and logs")
    parser.add_argument("--force", action="store_true", help="although other hosts are joined")
    parser.add_argument("--quiet", action="store_true", help="print nothing when there was nothing to do")


def run(args: argparse.Namespace) -> int:
    from nova0.cli import destroying

    return destroying.destroy(args)
