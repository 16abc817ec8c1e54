"""Show live what every node does: load, calls and casts a second, latencies, bytes, losses. Ctrl-C ends it.

Works on any member, also while the controller is down. CALLS/S are answered there, ASKED/S made there; P50
and P99 are of the calls answered since the last refresh; GAPS and RECONN count since the node's start. The
mesh's own questions, like those of this table, are left out of calls and latencies, not of bytes. Every node is
asked at each refresh: from a host that means a link to each of them, given up a minute after the end.

Example:
    $ nova0 top --sort calls
    $ nova0 top --once
    NODE             STATUS  ROLE        ADDRESS          VERSION  LOAD  CALLS/S  ASKED/S  CASTS/S  P50     P99     ...
    lab1/controller  up      controller  10.0.0.11:40123  0.1.0    0     2.0      41.0     1.0      0.40 ms 0.90 ms ...
    $ nova0 top --json --count 5 | jq '.nodes[].calls_per_s'
"""

import argparse
import time
from typing import Any

JSON = True
SORTS = {
    "node": "node", "status": "status", "load": "load", "calls": "calls_per_s", "asked": "asked_per_s",
    "casts": "casts_per_s", "p50": "p50_ms", "p99": "p99_ms", "bytes": "bytes_per_s", "gaps": "gaps",
    "reconnects": "reconnects",
}  # fmt: skip
COLUMNS = ["NODE", "STATUS", "ROLE", "ADDRESS", "VERSION", "LOAD", "CALLS/S", "ASKED/S", "CASTS/S", "P50", "P99",
           "BYTES/S", "GAPS", "RECONN"]  # fmt: skip
FIRST_S = 1.0  # the first rates are taken over


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--once", action="store_true", help="show one table and end")
    parser.add_argument("--count", type=int, metavar="N", help="end after N refreshes")
    parser.add_argument(
        "--interval", type=float, default=1.0, metavar="S", help="seconds between refreshes (default 1)"
    )
    parser.add_argument("--sort", choices=list(SORTS), default="node", help="largest first, but for node and status")


def run(args: argparse.Namespace) -> int:
    from nova0.cli import mesh_door
    from nova0.cli.failure import Failure

    if not 0.1 <= args.interval <= 3600:
        raise Failure("--interval is between 0.1 and 3600 seconds", code=2)
    if args.count is not None and args.count < 1:
        raise Failure("--count is at least 1", code=2)
    most = 1 if args.once else args.count
    with mesh_door.local_node(args) as node:
        tables = refreshes(node, args.interval, most, args.sort)
        try:
            _show(tables, args)
        except KeyboardInterrupt:
            return 0  # the way to end it
    return 0


def refreshes(node: Any, interval_s: float, most: int | None, sort: str) -> Any:
    """One table after the other: {"at", "from", "nodes": [row]}; the first after FIRST_S."""
    before = _totals(node, interval_s)
    due = time.monotonic() + min(FIRST_S, interval_s)
    shown = 0
    while most is None or shown < most:
        time.sleep(max(0.0, due - time.monotonic()))  # a refresh each interval
        due = max(due + interval_s, time.monotonic())
        members = node.members()
        after = _totals(node, interval_s)
        rows = [row_or_why(member, before.get(member["node"]), after.get(member["node"], {})) for member in members]
        yield {"at": time.time(), "from": members[0]["node"], "nodes": sort_rows(rows, sort)}
        before = {name: new if new.get("answer") else before.get(name, new) for name, new in after.items()}
        shown += 1


def _totals(node: Any, interval_s: float) -> dict[str, Any]:
    patience_s = min(5.0, max(0.5, interval_s * 0.8))
    return {told["node"]: told for told in node.everyone("totals", patience_s)}


def row_or_why(member: dict[str, Any], before: dict[str, Any] | None, after: dict[str, Any]) -> dict[str, Any]:
    """`row`; of a node whose numbers make no sense only who it is: the others are shown all the same."""
    try:
        return row(member, before, after)
    except (ValueError, TypeError, ArithmeticError, LookupError) as error:
        return row(member, None, {"error": f"its numbers make no sense: {error}"})


def row(member: dict[str, Any], before: dict[str, Any] | None, after: dict[str, Any]) -> dict[str, Any]:
    """What one node did between two tellings; numbers are None where it did not answer."""
    from nova0.metrics import quantile

    made: dict[str, Any] = {
        "node": member["node"],
        "status": member["status"],
        "roles": member["roles"],
        "address": member["address"],
        "version": member["version"],
        "load": member["load"],
        "detail": member.get("detail") or "",
        "error": after.get("error"),
        **dict.fromkeys(
            ("calls_per_s", "asked_per_s", "failed_per_s", "casts_per_s", "bytes_per_s", "p50_ms", "p99_ms",
             "asked_p50_ms", "asked_p99_ms", "gaps", "reconnects", "stalls", "up_s")
        ),
    }  # fmt: skip
    new, old = after.get("answer"), (before or {}).get("answer")
    if new is None:
        return made
    made |= {name: new[name] for name in ("load", "gaps", "reconnects", "stalls", "up_s")}
    if old is None or new["up_s"] < old["up_s"] or new["at_s"] <= old["at_s"]:
        return made  # first seen, or restarted: rates come with the next refresh

    took_s = new["at_s"] - old["at_s"]

    def rate(*names: str) -> float:
        return round(sum(new[name] - old[name] for name in names) / took_s, 1)

    made |= {
        "calls_per_s": rate("answered"),
        "asked_per_s": rate("asked"),
        "failed_per_s": rate("failed"),
        "casts_per_s": rate("casts_sent", "casts_heard"),
        "bytes_per_s": rate("bytes_in", "bytes_out"),
    }
    for name, of in (("", "buckets"), ("asked_", "asked_buckets")):
        buckets = [n - o for n, o in zip(new[of], old[of], strict=True)]
        for share, label in ((0.5, "p50"), (0.99, "p99")):
            seconds = quantile(buckets, share)
            made[f"{name}{label}_ms"] = None if seconds is None else round(seconds * 1000, 3)
    return made


def sort_rows(rows: list[dict[str, Any]], by: str) -> list[dict[str, Any]]:
    rows = sorted(rows, key=lambda row: row["node"])
    if by == "status":
        return sorted(rows, key=lambda row: row["status"])
    if by != "node":
        rows.sort(key=lambda row: -1.0 if row[SORTS[by]] is None else row[SORTS[by]], reverse=True)
    return rows


def _show(tables: Any, args: argparse.Namespace) -> None:
    import json
    import sys

    if args.json:
        for table in tables:
            print(json.dumps(table, ensure_ascii=False), flush=True)
    elif args.once or not sys.stdout.isatty():
        from nova0.cli.output import show_table

        for number, table in enumerate(tables):
            if number:
                print()
            show_table(COLUMNS, [cells(one) for one in table["nodes"]])
            sys.stdout.flush()
    else:
        from rich.console import Console
        from rich.live import Live

        from nova0.cli import terminal

        console = Console(file=terminal.raw(sys.stdout))
        with Live(console=console, screen=True, auto_refresh=False, transient=True) as live:
            for table in tables:
                live.update(_picture(table, args), refresh=True)


def cells(row: dict[str, Any]) -> list[str]:
    def number(name: str) -> str:
        return "-" if row[name] is None else str(row[name])

    def milliseconds(name: str) -> str:
        value = row[name]
        if value is None:
            return "-"
        return f"{value / 1000:.1f} s" if value >= 1000 else f"{value:.1f} ms" if value >= 1 else f"{value:.2f} ms"

    return [
        row["node"], row["status"], " ".join(row["roles"]), row["address"], row["version"], number("load"),
        number("calls_per_s"), number("asked_per_s"), number("casts_per_s"), milliseconds("p50_ms"),
        milliseconds("p99_ms"), _bytes(row["bytes_per_s"]), number("gaps"), number("reconnects"),
    ]  # fmt: skip


def _bytes(count: float | None) -> str:
    if count is None:
        return "-"
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def _picture(table: dict[str, Any], args: argparse.Namespace) -> Any:
    from collections import Counter

    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from nova0.cli.output import COLOURS
    from nova0.cli.terminal import cell

    rows = table["nodes"]
    counted = Counter(row["status"] for row in rows)
    said = ", ".join(f"{count} {status}" for status, count in sorted(counted.items()))
    now = time.strftime("%H:%M:%S")
    head = f"nova0 top  {now}  from {table['from']}  {len(rows)} nodes: {said}  sorted by {args.sort}"
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=False)
    for name in COLUMNS:
        left = name in ("NODE", "STATUS", "ROLE", "ADDRESS", "VERSION")
        shown.add_column(name, justify="left" if left else "right", no_wrap=True)
    for one in rows:
        shown.add_row(*(Text(cell(value), style=COLOURS.get(value, "")) for value in cells(one)))
    return Group(Text(cell(head), style="bold", no_wrap=True, overflow="ellipsis"), shown)
