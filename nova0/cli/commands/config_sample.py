"""Print a configuration file with every option, explained and commented out.

Example:
    $ nova0 config sample > /etc/nova0/nova0.conf
"""

import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    pass


def run(args: argparse.Namespace) -> int:
    from nova0.cli import options, settings

    settings.declare_all()
    print(options.sample(), end="")
    return 0
