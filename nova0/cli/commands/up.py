"""Start the cloud: the controller and this machine's agents.

The first time it makes the cluster's keys and seeds an image (tiny), a network on a free private range
(private), a key (nova0) and rules for ssh and ping; it writes the entries nova0 and nova0-admin into your
clouds.yaml and prints the API's address, the line that joins a second box, and the time it took. Later, and
after a reboot, it resumes what this machine was: a joined host starts only its agents.

In the foreground, Ctrl-C ends the agents; guests run on. The API listens on loopback until --public.

Example:
    $ sudo nova0 up --daemon
    KVM does not answer; emulating
    nova0 is up after 9.1 s: http://127.0.0.1:8774
    second box: nova0 join - <<< lQGsYzc4...
    $ nova0 up --fake --port 18774        # no root, no libvirt: servers are pretended
"""

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--daemon", action="store_true", help="return when ready and keep running")
    parser.add_argument("--fake", action="store_true", help="pretend servers: needs neither root nor libvirt")
    parser.add_argument("--driver", metavar="NAME", help="libvirt, fake, auto (default) or package.module:Class")
    parser.add_argument("--public", metavar="ADDR", help="put the API on this address, with TLS")
    parser.add_argument("--port", type=int, metavar="N", help="port of the API (default 8774)")
    parser.add_argument("--host", metavar="NAME", help="name of this machine in the cluster")
    parser.add_argument(
        "--join", action="append", metavar="HOST[:PORT]", help="a peer that multicast does not reach (repeatable)"
    )
    parser.add_argument("--no-host", action="store_true", help="run only the controller here")
    parser.add_argument(
        "--new-store",
        action="store_true",
        help="the store is lost: set aside what is in its place, begin with an empty one (guests are left alone)",
    )
    parser.add_argument(
        "--this-store",
        action="store_true",
        help="take the store that is there though it is another than this cloud had (`nova0 adopt` makes it count)",
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--no-seed", action="store_true", help="make no image, network, key or rules")


def run(args: argparse.Namespace) -> int:
    from nova0.cli import bring_up

    return bring_up.up(args)
