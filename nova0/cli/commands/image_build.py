"""Build the guest image `tiny` from Debian packages, and upload it where a cloud is up here.

Packages (kernel, busybox, dropbear) are downloaded and unpacked, not installed; no root is needed.

Example:
    $ nova0 image build tiny
    tiny image ready: 17.4 MB in /var/lib/nova0/build/tiny
"""

import argparse
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", choices=["tiny"], help="which image")
    parser.add_argument("--output", metavar="FOLDER", help="write the files there and upload nothing")
    parser.add_argument("--arch", default="amd64", help="processor architecture (default amd64)")


def _refuse_over_others(folder: Path) -> None:
    """An image of ours is replaced, nothing else. Raises Failure."""
    import json

    there = [name for name in ("tiny.qcow2", "tiny.vmlinuz", "tiny.initrd", "tiny.json") if (folder / name).exists()]
    try:
        ours = bool(there) and {"kernel", "ramdisk", "disk"} <= json.loads((folder / "tiny.json").read_text()).keys()
    except (OSError, ValueError, AttributeError):
        ours = False
    if there and not ours:
        from nova0.cli.failure import Failure

        raise Failure(f"{folder / there[0]} is there already and not of this builder: it stays; name another folder")


def run(args: argparse.Namespace) -> int:
    import sys

    from nova0.cli import clouds, processes, role, seed, settings
    from nova0.cli.cloud import Cloud
    from nova0.cli.failure import Failure
    from nova0.host.image.tiny.build import build
    from nova0.host.image.tiny.packages import CannotBuild

    state_path = settings.state_path(args)
    folder = Path(args.output) if args.output else state_path / "build/tiny"
    if not args.output:
        role.make_state(state_path)
    else:
        _refuse_over_others(folder)
    try:
        built = build(folder, lambda line: print(line, file=sys.stderr, flush=True), args.arch)
    except CannotBuild as error:
        raise Failure(str(error)) from error
    print(f"{built.disk.parent}: {built.total_bytes / 1e6:.1f} MB")
    facts = None if args.output else processes.facts(state_path, "controller")
    if facts is not None:
        admin = Cloud(clouds.own(state_path, facts["api_url"], "nova0-admin"), "nova0-admin")
        admin.sign_in()
        seed.image(admin, folder, False, lambda line: print(line, file=sys.stderr))
        print("the cloud has an image `tiny`")
    return 0
