"""Why a server goes where it goes: the hosts left after every filter, and what each weigher gives the rest.

For a server there is (as it would be placed today), or for one that could be: `--flavor` and what else a
boot would name. Nothing is placed. For administrators.

Example:
    $ nova0 schedule explain --flavor m1.tiny --hint different_host=6a1c...
    FILTER               LEFT  TAKEN AWAY
    (hosts)              3
    ComputeFilter        2     lab3
    DifferentHostFilter  1     lab1
    ...
    HOST  SUM   RAMWeigher
    lab2  3.00  1.00 (7680)
"""

import argparse

JSON = True


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("server", nargs="?", help="name or id of a server")
    parser.add_argument("--flavor", help="name or id of a flavor, for a server that could be")
    parser.add_argument("--image", help="name or id of its image")
    parser.add_argument("--zone", help="availability zone asked for")
    parser.add_argument("--host", help="host asked for")
    parser.add_argument("--hint", action="append", default=[], metavar="KEY=VALUE", help="scheduler hint; may repeat")


def run(args: argparse.Namespace) -> int:
    import os

    from nova0.cli import servers, settings
    from nova0.cli.cloud import Cloud
    from nova0.cli.failure import Failure
    from nova0.cli.output import show_json, show_table

    if bool(args.server) == bool(args.flavor):
        raise Failure("name a server, or --flavor for one that could be")
    hints: dict[str, object] = {}
    for hint in args.hint:
        key, equals, value = hint.partition("=")
        if not equals:
            raise Failure(f"--hint {hint}: write KEY=VALUE")
        known = hints.get(key)
        hints[key] = value if known is None else [*(known if isinstance(known, list) else [known]), value]
    settings.load(args)
    admin = Cloud.named(os.environ.get("OS_CLOUD") or "nova0-admin")
    body: dict[str, object] = {"hints": hints} if hints else {}
    if args.server:
        found = admin.get("compute", "/servers/detail", all_tenants="true", name=f"^{args.server}$")["servers"]
        body["server"] = found[0]["id"] if len(found) == 1 else args.server
    else:
        flavor = servers.named_thing(admin, "compute", "/flavors", "flavors", args.flavor, "flavor")
        body["flavor"] = flavor["id"]
        if args.image:
            body["image"] = servers.named_thing(admin, "image", "/images", "images", args.image, "image")["id"]
    for name, value in (("availability_zone", args.zone), ("host", args.host)):
        if value:
            body[name] = value
    shown = admin.post("nova0", "/schedule/explain", body)
    if args.json:
        show_json(shown)
        return 0
    rows = [["(hosts)", shown["hosts"], ""]]
    rows += [[one["name"], one["left"], _some(one["removed"])] for one in shown["filters"]]
    show_table(["FILTER", "LEFT", "TAKEN AWAY"], rows)
    if not shown["order"]:
        print("\nno host is left: No valid host was found")
        return 1
    names = sorted({name for host in shown["order"] for name in host["weights"]})
    names = [n for n in names if any(h["weights"].get(n, {}).get("weighted") for h in shown["order"])]
    print()
    show_table(
        ["HOST", "SUM", *names],
        [
            [host["host"], f"{host['sum']:.2f}", *(_weight(host["weights"].get(n)) for n in names)]
            for host in shown["order"]
        ],
    )
    return 0


def _some(hosts: list[str], most: int = 8) -> str:
    more = f" and {len(hosts) - most} more" if len(hosts) > most else ""
    return " ".join(hosts[:most]) + more


def _weight(weight: dict[str, float] | None) -> str:
    return f"{weight['weighted']:.2f} ({weight['raw']:g})" if weight else "-"
