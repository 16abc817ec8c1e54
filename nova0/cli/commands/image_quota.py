"""Show how many images a project may have, or set it.

How many, how large together (MiB), and how many properties each may have, of how many bytes. An administrator sets what
differs from the configured defaults (quota.image_...): -1 is no limit, "default" takes the project's own word back.

Example:
    $ OS_CLOUD=nova0-admin nova0 image quota demo --count 500 --size-mb -1
    QUOTA                 LIMIT  USED
    image_count_total     500    3
    image_size_total      -1     41
    image_property_quota  128    -
    image_property_bytes  65536  -
"""

import argparse

JSON = True
OPTIONS = {
    "count": ("image_count_total", "images of the project"),
    "size_mb": ("image_size_total", "MiB of all of them"),
    "properties": ("image_property_quota", "properties of one image"),
    "property_bytes": ("image_property_bytes", "bytes of the properties of one image"),
}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("project", metavar="PROJECT", help="its name or id")
    for option, (_, what) in OPTIONS.items():
        parser.add_argument(f"--{option.replace('_', '-')}", metavar="N", help=what)


def run(args: argparse.Namespace) -> int:
    from nova0.cli import settings
    from nova0.cli.cloud import Cloud
    from nova0.cli.failure import Failure
    from nova0.cli.output import show_json, show_table

    wanted = {}
    for option, (name, _) in OPTIONS.items():
        said = getattr(args, option)
        if said is None:
            continue
        try:
            wanted[name] = None if said == "default" else int(said)
        except ValueError:
            flag = f"--{option.replace('_', '-')}"
            raise Failure(f"{flag} {said}: give a number, -1 for no limit, or default", code=2) from None
    settings.load(args)
    cloud = Cloud.named()
    projects = cloud.get("identity", "/projects")["projects"]
    found = [project["id"] for project in projects if args.project in (project["id"], project["name"])]
    if len(found) != 1:
        raise Failure(f"{args.project}: {len(found)} projects of that name are seen: see `openstack project list`")
    path = f"/image-quotas/{found[0]}"
    answer = cloud.ask("PUT", "nova0", path, json=wanted).json() if wanted else cloud.get("nova0", path)
    if args.json:
        show_json(answer)
        return 0
    show_table(
        ["QUOTA", "LIMIT", "USED"],
        [[name, limit, answer["used"].get(name, "-")] for name, limit in answer["limits"].items()],
    )
    return 0
