"""Entry of `nova0`: finds the commands, parses the line, runs one, turns errors into one line and a code.

Nothing heavy may be imported here: the commands bring what they need when they run.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import sys
from types import ModuleType

from nova0 import __version__
from nova0.cli import commands, terminal
from nova0.cli.failure import Failure

EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130


class _Help(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30)


def discover() -> dict[tuple[str, ...], ModuleType]:
    """("agent", "run") -> module, for every file in nova0/cli/commands."""
    names = sorted(module.name for module in pkgutil.iter_modules(commands.__path__))
    return {tuple(name.split("_")): importlib.import_module(f"{commands.__name__}.{name}") for name in names}


def build_parser(found: dict[tuple[str, ...], ModuleType] | None = None) -> argparse.ArgumentParser:
    """The whole parser; also what docs/commands.md and shell completion are made from."""
    found = discover() if found is None else found
    parser = argparse.ArgumentParser(
        prog="nova0",
        description="A small compute cloud without a broker. `nova0 up` starts one here.",
        epilog="`nova0 COMMAND --help` explains each with an example.",
        formatter_class=_Help,
    )
    parser.add_argument("--version", action="version", version=f"nova0 {__version__}")
    _everywhere(parser, default=None)
    top = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    groups: dict[tuple[str, ...], argparse._SubParsersAction] = {(): top}  # type: ignore[type-arg]
    parents = {words[:depth] for words in found for depth in range(1, len(words))}
    for words in sorted({*found, *parents}, key=lambda words: (len(words), words)):
        under = groups[words[:-1]]
        if words in found:
            made = _add(under, words[-1], found[words])
            if words in parents:
                groups[words] = made.add_subparsers(metavar="[COMMAND]", required=False)
        else:
            names = ", ".join(" ".join(rest[len(words) :]) for rest in found if rest[: len(words)] == words)
            made = under.add_parser(words[-1], help=f"see: {names}", formatter_class=_Help)
            groups[words] = made.add_subparsers(metavar="COMMAND", required=True)
    return parser


def _add(under: argparse._SubParsersAction, name: str, module: ModuleType) -> argparse.ArgumentParser:  # type: ignore[type-arg]
    text = (module.__doc__ or "").strip()
    parser: argparse.ArgumentParser = under.add_parser(
        name,
        help=text.partition("\n")[0].rstrip("."),
        description=text.replace("%", "%%"),
        formatter_class=_Help,
    )
    _everywhere(parser, default=argparse.SUPPRESS)
    if getattr(module, "JSON", False):
        parser.add_argument("--json", action="store_true", help="print JSON for programs instead of a table")
    module.configure(parser)
    parser.set_defaults(module=module)
    return parser


def _everywhere(parser: argparse.ArgumentParser, default: object) -> None:
    parser.add_argument(
        "--config-file", metavar="FILE", default=default, help="read this configuration file instead of the usual ones"
    )
    parser.add_argument(
        "--debug",
        action="store_true",
        default=False if default is None else default,
        help="show where an error came from",
    )


def main(argv: list[str] | None = None) -> int:
    """Run one command. Returns its exit code: 0, 1 failed, 2 wrong usage, 130 interrupted."""
    with terminal.guarded():
        return _main(argv)


def _main(argv: list[str] | None) -> int:
    parser = build_parser()
    try:
        args = parser.parse_args(argv)
    except SystemExit as ending:  # argparse has printed what it had to say
        return int(ending.code or 0)
    module = getattr(args, "module", None)
    if module is None:
        parser.print_help()
        return EXIT_USAGE
    try:
        return int(module.run(args) or 0)
    except Failure as failure:
        if args.debug and failure.__cause__:
            raise
        print(f"nova0: {failure.message}", file=sys.stderr)
        return failure.code
    except KeyboardInterrupt:
        print("nova0: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # `nova0 log NAME | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
    except Exception as error:
        if args.debug:
            raise
        print(f"nova0: {_one_line(error)}", file=sys.stderr)
        return EXIT_FAILED


def _one_line(error: Exception) -> str:
    message = getattr(error, "message", None) or str(error) or type(error).__name__
    line = " ".join(str(message).split())
    if isinstance(error, OSError) or getattr(error, "kind", None) or type(error).__module__.startswith("oslo_config"):
        return line  # these carry host, step and remedy already
    return f"{type(error).__name__}: {line} (a fault of nova0: `--debug` shows where)"


if __name__ == "__main__":
    sys.exit(main())
