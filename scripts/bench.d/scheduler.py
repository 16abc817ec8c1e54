"""How long a choice takes, beside the field's own filter scheduler classes on the same hosts.

    scripts/bench scheduler                    the whole table (about 5 minutes, the first time more: it installs nova)
    scripts/bench scheduler --alone            nova0 only
    scripts/bench scheduler --json

Default filters and all weighers on both sides, one process each, in alternating rounds. The package `nova` is
installed into an environment of its own (.venv-bench-nova, or NOVA0_BENCH_NOVA_VENV). Ratios count, not the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from specification import measured, write_block

ROOT = Path(__file__).resolve().parents[2]
WORKER = Path(__file__).with_name("scheduler_peers") / "nova_classes.py"
VENV = Path(os.environ.get("NOVA0_BENCH_NOVA_VENV", ROOT / ".venv-bench-nova"))
SIZES, ROUNDS, IN_A_ROW = (100, 1000, 10_000), 3, 1000
REQUESTS = {100: 9, 1000: 5, 10_000: 2}  # of the other side; ours: IN_A_ROW


def ours(hosts: int) -> dict[str, list[float]]:
    """Milliseconds of IN_A_ROW requests with consume, and the same with one more filter of a user's own."""
    from nova0 import config
    from nova0.config import CONF
    from nova0.controller.scheduler import options, simulation
    from nova0.controller.scheduler.driver import World, dispatch
    from nova0.controller.scheduler.filter import Filter
    from nova0.controller.scheduler.host_book import HostBook
    from nova0.controller.scheduler.policies import policy
    from nova0.controller.scheduler.request import Request
    from nova0.objects.flavor import Flavor

    assert options
    if not CONF._namespace:
        config.load([])

    class Own(Filter):
        """As a user would write it: asked host by host."""

        def host_passes(self, host: Any, request: Any) -> bool:
            return bool(host.free_memory_mb > 0)

    flavor = Flavor(flavor_id="bench", name="bench", vcpus=1, memory_mb=64, root_gb=1)
    found: dict[str, list[float]] = {}
    for name, requests in (("choose_ms", IN_A_ROW), ("with_own_ms", 50)):
        views = simulation.hosts(hosts)
        for at, view in enumerate(views):
            view.vcpus_used, view.memory_mb_used = at % 8, at % 977
        rows = simulation.Hosts(views)
        book = HostBook(rows, rows, CONF.scheduler)  # type: ignore[arg-type]
        driver = policy("filter", World(book))
        if name == "with_own_ms":
            driver.filters.append(("Own", Own()))  # type: ignore[attr-defined]
        dispatch(driver, "run_instance", Request(uuid="warm", project_id="p", flavor=flavor), count=3)
        took = []
        for number in range(requests):
            asked = Request(uuid=str(number), project_id="p", flavor=flavor)
            began = time.perf_counter()
            best = dispatch(driver, "run_instance", asked, count=3)
            book.consume(best[0], asked.uuid, asked.takes)
            took.append((time.perf_counter() - began) * 1000)
        found[name] = took
    return found


class Theirs:
    """The other side's process."""

    def __init__(self) -> None:
        python = VENV / "bin/python"
        if not python.exists():
            print(f"installing nova into {VENV} (once, about two minutes)", file=sys.stderr)
            subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
            subprocess.run([str(VENV / "bin/pip"), "install", "-q", "nova", "fixtures"], check=True)
        self._child = subprocess.Popen(
            [str(python), str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def measure(self, hosts: int) -> dict[str, list[float]]:
        assert self._child.stdin is not None and self._child.stdout is not None
        self._child.stdin.write(json.dumps({"hosts": hosts, "requests": REQUESTS[hosts]}) + "\n")
        self._child.stdin.flush()
        line = self._child.stdout.readline()
        if not line:
            raise SystemExit(f"the other side ended: {VENV}/bin/python {WORKER} shows why")
        answer: dict[str, list[float]] = json.loads(line)
        return answer

    def close(self) -> None:
        self._child.kill()
        self._child.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--alone", action="store_true", help="without the other side")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="numbers of hosts")
    args = parser.parse_args()
    sizes = [int(word) for word in args.sizes.split(",")]
    theirs = None if args.alone else Theirs()
    table = []
    try:
        for hosts in sizes:
            mine: dict[str, list[float]] = {}
            others: dict[str, list[float]] = {}
            for turn in range(ROUNDS):
                print(f"{hosts} hosts, round {turn + 1} of {ROUNDS}", file=sys.stderr)
                for into, found in ((mine, ours(hosts)), (others, theirs.measure(hosts) if theirs else {})):
                    for key, values in found.items():
                        if key.endswith("_ms"):
                            into.setdefault(key, []).extend(values)
            table.append(row(hosts, mine, others))
    finally:
        if theirs:
            theirs.close()
    if args.json:
        print(json.dumps(table, indent=2))
        return
    text = shown(table, sizes)
    print(text)
    if theirs and sizes == list(SIZES):
        write_block("bench scheduler", f"{measured()}.\n\n{text}")


def row(hosts: int, mine: dict[str, list[float]], others: dict[str, list[float]]) -> dict[str, Any]:
    made: dict[str, Any] = {
        "hosts": hosts,
        "ours_ms": statistics.median(mine["choose_ms"]),
        "ours_p99_ms": sorted(mine["choose_ms"])[int(len(mine["choose_ms"]) * 0.99)],
        "with_own_filter_ms": statistics.median(mine["with_own_ms"]),
        "in_a_row_s": statistics.median(mine["choose_ms"]) * IN_A_ROW / 1000,
    }
    if others:
        made["theirs_ms"] = statistics.median(others["choose_ms"])
        made["theirs_states_ms"] = statistics.median(others["states_ms"])
        made["ratio"] = made["theirs_ms"] / made["ours_ms"]
    return made


def shown(table: list[dict[str, Any]], sizes: list[int]) -> str:
    lines = [
        "| hosts | nova0, ms (p99) | with a filter of one's own, asked host by host | nova's classes, ms | "
        "and its host states, made for each request | times faster |",
        "|---|---|---|---|---|---|",
    ]
    for one in table:
        other = (
            f"{one['theirs_ms']:.1f} | {one['theirs_states_ms']:.1f} | {one['ratio']:.0f}"
            if "ratio" in one
            else "- | - | -"
        )
        mine = f"{one['ours_ms']:.2f} ({one['ours_p99_ms']:.2f}) | {one['with_own_filter_ms']:.2f}"
        lines.append(f"| {one['hosts']:,} | {mine} | {other} |")
    by = {one["hosts"]: one for one in table}
    if 1000 in by and "ratio" in by[1000]:
        lines += ["", f"Goal at 1,000 hosts: 50 times faster: {by[1000]['ratio']:.0f} times. "]
    if 10_000 in by:
        lines[-1] += f"At 10,000 under 5 ms: {by[10_000]['ours_ms']:.2f} ms. "
        grown = by[10_000]["ours_ms"] / by[1000]["ours_ms"] if 1000 in by else 0
        lines[-1] += f"Ten times the hosts take {grown:.1f} times as long. "
        lines[-1] += f"{IN_A_ROW:,} requests in a row, each consumed: {by[10_000]['in_a_row_s']:.2f} s at 10,000 hosts."
    return "\n".join(line.rstrip() for line in lines)


if __name__ == "__main__":
    main()
