"""The servers that were asked for, as a load that `nova0 schedule simulate --load` replays.

One JSON object a line, in the order of events: a boot with all that a choice of host goes by (size, extra specs, image
properties, hints, group, zone, those asked for together with it), or the end of a server. Servers that were there
before --since come first. With --hosts the hosts as they are now come before all, so that the load is replayed on them.
For administrators.

Example:
    $ nova0 schedule record --since 7d --hosts > load.jsonl
    $ nova0 schedule simulate --load load.jsonl --set ram_weight_multiplier=-1
"""

import argparse

JSON = True


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--since", metavar="WHEN", help="30m, 12h or 7d ago, or a time such as 2026-11-21T18:00:00Z (ever)"
    )
    parser.add_argument("--hosts", action="store_true", help="the hosts too, as they are now")


def run(args: argparse.Namespace) -> int:
    import json
    import os

    from nova0.cli import settings
    from nova0.cli.cloud import Cloud
    from nova0.cli.output import show_json

    since = moment(args.since)
    settings.load(args)
    admin = Cloud.named(os.environ.get("OS_CLOUD") or "nova0-admin")
    events: list[dict[str, object]] = admin.get("nova0", "/schedule/hosts")["hosts"] if args.hosts else []
    servers: list[dict[str, object]] = []
    page = {"next": 0}
    while page["next"] is not None:
        page = admin.get("nova0", "/schedule/load", since=since, marker=page["next"])
        servers += page["servers"]
    events += in_order(servers, since)
    if args.json:
        show_json(events)
    else:
        for event in events:
            print(json.dumps(event, separators=(",", ":")))
    return 0


def moment(text: str | None) -> float:
    """Seconds since the epoch; 0 for ever. Raises Failure."""
    import datetime
    import time

    from nova0.cli.failure import Failure

    if not text:
        return 0.0
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    if text[:-1].isdecimal() and text[-1] in units:
        return time.time() - int(text[:-1]) * units[text[-1]]
    try:
        made = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise Failure(f"--since {text}: write 30m, 12h, 7d, or a time such as 2026-11-21T18:00:00Z") from None
    return (made if made.tzinfo else made.astimezone()).timestamp()


def in_order(servers: list[dict[str, object]], since: float) -> list[dict[str, object]]:
    """Events of these servers by time. Those asked for together are one boot that names the others."""
    from typing import Any

    events: list[tuple[float, int, dict[str, Any]]] = []
    together: dict[str, dict[str, Any]] = {}
    for place, server in enumerate(servers):
        asked: dict[str, Any] = dict(server)
        gone_at, batch = asked.pop("gone_at"), asked.pop("batch")
        first = together.get(batch) if batch else None
        if first is None:
            events.append((max(asked["at"], since), place, asked))
            if batch:
                together[batch] = asked
        else:
            first.setdefault("together", []).append(asked["boot"])
        if gone_at is not None:
            events.append((gone_at, len(servers) + place, {"at": gone_at, "delete": asked["boot"]}))
    for first in together.values():  # one of them may have ended before what is recorded
        first["at_least"] = min(first["at_least"], 1 + len(first.get("together", [])))
    return [event for _, _, event in sorted(events, key=lambda one: one[:2])]
