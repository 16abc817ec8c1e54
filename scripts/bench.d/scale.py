#!/usr/bin/env python3
"""What many agents cost a controller: agents are simulated, the controller and its watchers are real.

A simulated agent has a certificate of the cluster, its own CURVE key and the sockets of a host: a link that
greets the controller, a mouth at its ear, a subscription to its news, a bound RPC socket and a publisher. It beats
once a second. Nothing but beats leaves it, and what it hears it only drains, so thousands fit into a few processes.

    scripts/bench scale                                    2,000 agents, then 5,000; ten minutes each with a core
                                                           held by others: half an hour
    scripts/bench scale --agents 300 --seconds 10 --load 0 --kills 20       a look, about a minute
    scripts/bench scale --controller nova0                 the whole controller process instead of its node alone

Phases: steady (cost, false verdicts), kill (how soon a death is known), new (how soon an agent is callable), restart
(of the controller). Prints a line for each promise; the exit status is 1 when a goal was missed. A run of all phases
of ten minutes or more is written to SPECIFICATION.md. The machine should have nothing else to do.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import argparse  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

from scale_parts.phases import PHASES, Bench, Row  # noqa: E402
from scale_parts.processes import busy, descriptors, node, say  # noqa: E402
from scale_parts.simulated import World  # noqa: E402
from specification import measured, write_block  # noqa: E402

WRITTEN_S = 600  # a shorter look is not written


def table(found: dict[int, list[Row]], options: argparse.Namespace) -> str:
    """For SPECIFICATION.md."""
    whole = "a whole controller process" if options.controller == "nova0" else "a controller's node"
    lines = [f"{measured()}; agents in processes beside {whole}.", ""]
    lines += ["| agents | promise | goal | measured | |", "|---|---|---|---|---|"]
    for agents, rows in found.items():
        for row in rows:
            verdict = "" if not row.goal else "met" if row.met else "missed"
            lines.append(f"| {agents:,} | {row.promise} | {row.goal} | {row.measured} | {verdict} |")
    return "\n".join(lines)


def options_of(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench scale", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--agents", default="2000,5000", help="how many, one measurement each (2000,5000)")
    parser.add_argument("--seconds", type=int, default=600, help="of rest, for cost and false verdicts (600)")
    parser.add_argument("--kills", type=int, default=100, help="agents killed in turn (100)")
    parser.add_argument("--load", type=int, nargs="?", const=1, default=1, help="processes that spin meanwhile (1)")
    parser.add_argument("--controller", choices=("node", "nova0"), default="node")
    parser.add_argument("--phases", default=",".join(PHASES), help=f"some of {', '.join(PHASES)}, in this order")
    parser.add_argument("--keep", action="store_true", help="leave folders and logs")
    parser.add_argument("--no-write", action="store_true", help="leave SPECIFICATION.md alone")
    parser.add_argument("--node", help=argparse.SUPPRESS)
    parser.add_argument("--world", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--busy", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    options.phases = [word for word in options.phases.split(",") if word]
    for name in options.phases:
        if name not in PHASES:
            parser.error(f"no phase {name!r}: there is {', '.join(PHASES)}")
    try:
        options.agents = [int(word) for word in options.agents.split(",")]
    except ValueError:
        parser.error("--agents are numbers, e.g. 2000,5000")
    if min(options.agents) < 10 or options.seconds < 1:
        parser.error("--agents must be 10 or more, --seconds 1 or more")
    return options


def main(words: list[str]) -> int:
    options = options_of(words)
    if options.node:
        node(options.node)
        return 0
    if options.world:
        folder, first, last = options.world
        World(Path(folder), int(first), int(last)).run()
        return 0
    if options.busy:
        busy()
    descriptors()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    found: dict[int, list[Row]] = {}
    for agents in options.agents:
        bench = Bench(options, agents)
        try:
            bench.run()
        except KeyboardInterrupt:
            raise SystemExit("bench: stopped; everything that was started has ended") from None
        except SystemExit as error:  # what did not come in time is a result, too
            bench.note("every phase ends", "in time", str(error), False)
        finally:
            bench.close()
        found[agents] = bench.rows
    missed = [f"{row.promise} ({agents:,})" for agents, rows in found.items() for row in rows if not row.met]
    if not options.no_write and options.seconds >= WRITTEN_S and set(options.phases) == set(PHASES):
        write_block("bench scale", table(found, options))
    say("missed: " + ", ".join(missed) if missed else "every goal is met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
