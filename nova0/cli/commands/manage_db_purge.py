"""Remove rows of what was deleted long ago from the store; run it on the controller.

Servers that were deleted more than --days ago go, with their actions, events, faults and operations; deleted images
and flavors; finished operations, and faults that newer ones overtook, of servers that are still there. What reports
of usage and hosts that were away need of a server stays. The controller does the same by itself each hour
(deleted_rows_days). It says what goes and asks first; nobody waits for it, and the file shrinks.

Example:
    $ sudo nova0 manage db purge --days 30
    deleted before 2026-10-30 18:00 UTC: 1200 servers, 2600 actions, 9100 events, 3 faults, 2600 operations, 14 images
    Remove these rows for good? [y/N] y
    removed 15517 rows; the store has 3.1 MB, 21.4 MB before
"""

import argparse

JSON = True


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--days", type=int, metavar="N", help="older than this (default: the option deleted_rows_days)")
    parser.add_argument("--dry-run", action="store_true", help="only say what would go")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def run(args: argparse.Namespace) -> int:
    import datetime
    import time
    from pathlib import Path

    import gevent

    from nova0.cli import asking, settings
    from nova0.cli.failure import Failure
    from nova0.cli.output import show_json
    from nova0.controller import upkeep
    from nova0.controller.db import ageing, slow_clock
    from nova0.controller.db.store import Store

    conf = settings.load(args)
    days = conf.deleted_rows_days if args.days is None else args.days
    if args.days is None and not days:
        raise Failure("deleted_rows_days is 0, which keeps rows for ever: say --days", code=2)
    if not 0 <= days <= 36_500:
        raise Failure(f"--days {days}: 0 to 36500", code=2)
    path = Path(conf.state_path) / "store.sqlite"
    try:
        size = path.stat().st_size
    except PermissionError:
        raise Failure(f"{path} is for root, or the user nova0 runs as: use sudo") from None
    except FileNotFoundError:
        raise Failure(f"no store in {path.parent}: run this on a controller (see `nova0 agents`)") from None
    if not size:
        raise Failure(f"{path} is empty: `nova0 doctor` says what that means")
    cutoff = time.time() - days * upkeep.DAY_S
    before = datetime.datetime.fromtimestamp(cutoff, datetime.UTC)
    store = Store(path)
    try:
        found = store.read(lambda: ageing.count(cutoff))
        ahead_s = time.time() - store.read(slow_clock.shown)
        told = ", ".join(f"{number} {name}" for name, number in found.items() if number) or "nothing"
        answer = {
            "before": before.isoformat(timespec="seconds"),
            "days": days,
            "rows": found,
            "removed": None,
            "bytes": {"before": size, "after": size},
        }
        if not args.json:
            print(f"deleted before {before:%Y-%m-%d %H:%M} UTC: {told}")
            if ahead_s > upkeep.DAY_S:
                ahead = f"{ahead_s / upkeep.DAY_S:.0f} days"
                print(f"this machine's clock is {ahead} ahead of what nova0 saw pass: is it right?")
        if not args.dry_run and any(found.values()):
            asking.confirm("Remove these rows for good?", args.yes)
            purge = ageing.Purge(cutoff)
            purge.run(store, lambda: gevent.sleep(upkeep.PAUSE_S))
            answer["removed"] = dict(purge.removed)
        if not args.dry_run:
            ageing.give_back(store, lambda: gevent.sleep(upkeep.PAUSE_S))
    finally:
        store.close()
    after = path.stat().st_size
    answer["bytes"] = {"before": size, "after": after}
    if args.json:
        show_json(answer)
    elif answer["removed"] is not None:
        rows = sum(answer["removed"].values())
        print(f"removed {rows} rows; the store has {after / 1e6:.1f} MB, {size / 1e6:.1f} MB before")
    return 0
