"""Log in to a server, or run a command in it, with the seeded key.

Goes through the API and the guest's host: no route of this machine leads to a server's address.

Example:
    $ nova0 ssh first
    $ nova0 ssh first uname -a
"""

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="name or id of the server")
    parser.add_argument("remote", nargs=argparse.REMAINDER, metavar="COMMAND", help="run this instead of a shell")
    parser.add_argument("--user", "-l", help="log in as (default: the image's os_admin_user, else root)")
    parser.add_argument("--identity", "-i", metavar="FILE", help="private key (default: the one of nova0 up)")


def run(args: argparse.Namespace) -> int:
    from nova0.cli import secure_shell

    return secure_shell.login(args)
