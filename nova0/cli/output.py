"""What commands print: tables for people, plain columns for pipes, JSON for programs, a line that moves."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from nova0.cli import terminal


def show_json(value: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(value, indent=2, default=str, ensure_ascii=False))


def show_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], empty: str = "") -> None:
    """A table on a terminal, aligned columns in a pipe. `empty` is said (on stderr) when there are no rows."""
    if not rows and empty:
        print(empty, file=sys.stderr)
        return
    cells = [[terminal.cell(value) for value in row] for row in rows]
    if sys.stdout.isatty():
        from rich import box
        from rich.console import Console
        from rich.table import Table

        table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
        for row in cells:
            table.add_row(*(_coloured(cell) for cell in row))
        Console(file=terminal.raw(sys.stdout)).print(table)
        return
    widths = [max(len(line[i]) for line in [list(columns), *cells]) for i in range(len(columns))]
    for line in [list(columns), *cells]:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


COLOURS = {
    "ACTIVE": "green", "up": "green", "ok": "green", "ERROR": "red", "down": "red", "blocks": "red",
    "suspect": "yellow", "warning": "yellow", "BUILD": "yellow", "SHUTOFF": "dim",
}  # fmt: skip


def _coloured(cell: str) -> str:
    from rich.markup import escape

    colour = COLOURS.get(cell)
    return f"[{colour}]{escape(cell)}[/]" if colour else escape(cell)


def age(seconds: float | None) -> str:
    """3 s, 5 min, 2 h, 4 d; "-" for None."""
    if seconds is None:
        return "-"
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{int(seconds)} s"


class Progress:
    """Stages with their times, on standard error: rewritten in place on a terminal, a line each otherwise."""

    def __init__(self, quiet: bool = False) -> None:
        self.started = self._stage_started = time.monotonic()
        self.stages: list[tuple[str, float]] = []  # (stage, seconds it took), finished ones
        self._stage = ""
        self._shown = ""
        self._quiet = quiet
        self._moves = sys.stderr.isatty() and not quiet

    def stage(self, name: str, detail: str = "") -> None:
        """Now at `name`; the same name again only updates the detail."""
        if name != self._stage:
            self._finish()
            self._stage, self._stage_started = name, time.monotonic()
            if not self._moves and not self._quiet:
                print(f"{self.elapsed():5.1f} s  {name}{f': {detail}' if detail else ''}", file=sys.stderr, flush=True)
        if self._moves:
            done = "  ".join(f"{stage} {seconds:.1f}s" for stage, seconds in self.stages)
            line = f"{done}{'  ' if done else ''}{name}{f' ({detail})' if detail else ''} ..."
            if line != self._shown:
                print(f"\r\033[2K{terminal.cell(line)}", end="", file=terminal.raw(sys.stderr), flush=True)
                self._shown = line

    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    def end(self) -> None:
        """Leave the line standing and go below it."""
        self._finish()
        if self._moves and self._shown:
            done = "  ".join(f"{stage} {seconds:.1f}s" for stage, seconds in self.stages)
            print(f"\r\033[2K{terminal.cell(done)}", file=terminal.raw(sys.stderr), flush=True)
        self._stage = self._shown = ""

    def _finish(self) -> None:
        if self._stage:
            self.stages.append((self._stage, time.monotonic() - self._stage_started))
            self._stage = ""
