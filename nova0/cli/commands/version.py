"""Show the versions of nova0 and of what it stands on.

Example:
    $ nova0 version
    nova0 0.1.0, Python 3.11.2, libvirt-python 9.0.0
"""

import argparse
import platform

JSON = True


def configure(parser: argparse.ArgumentParser) -> None:
    pass


def run(args: argparse.Namespace) -> int:
    from importlib import metadata

    from nova0 import __version__
    from nova0.cli.output import show_json

    facts = {"nova0": __version__, "Python": platform.python_version()}
    for name in ("libvirt-python", "pyzmq", "gevent"):
        try:
            facts[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            facts[name] = "not installed"
    if args.json:
        show_json(facts)
    else:
        print(", ".join(f"{name} {version}" for name, version in facts.items()))
    return 0
