"""How a policy would spread, pack and refuse: a load replayed over hosts that are not there.

The load is generated (--servers, --size, --lifetime, --seed), or read from a file: as `nova0 schedule record` wrote
it, or any JSON lines such as {"boot": "a", "vcpus": 2, "memory_mb": 4096, "disk_gb": 20, "hints": {}} and
{"delete": "a"}. Hosts that the file describes are used unless --hosts is given. The scheduler and its options are the
real ones; `--set` changes an option of [scheduler] for this run.

Example:
    $ nova0 schedule simulate --hosts 20 --servers 500 --set ram_weight_multiplier=-1
    placed             500
    rejected           0
    empty hosts        11
    ...
"""

import argparse

JSON = True


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--hosts", metavar="N[:VCPUS:MIB:GIB]", help="equal hosts (10:16:65536:1000)")
    parser.add_argument("--servers", type=int, default=200, metavar="N", help="boots to generate (200)")
    parser.add_argument(
        "--size",
        action="append",
        default=[],
        metavar="VCPUS:MIB:GIB",
        help="a size they are drawn from; may repeat (1:512:1 2:4096:20 4:8192:40)",
    )
    parser.add_argument(
        "--lifetime", type=float, default=0, metavar="BOOTS", help="how long one lives, in boots (ever)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the generated load (1)")
    parser.add_argument("--load", metavar="FILE", help="a load of JSON lines instead; - for standard input")
    parser.add_argument("--policy", help="scheduler_driver for this run")
    parser.add_argument("--set", action="append", default=[], metavar="OPTION=VALUE", help="an option of [scheduler]")
    parser.add_argument("--png", metavar="FILE", help="draw use of hosts and its course (needs matplotlib)")


def run(args: argparse.Namespace) -> int:
    import sys

    from oslo_config import cfg

    from nova0.cli import settings
    from nova0.cli.failure import Failure
    from nova0.cli.output import show_json
    from nova0.config import CONF
    from nova0.controller.scheduler import options, simulation

    assert options  # declares what is set below
    settings.load(args)
    for one in args.set:
        name, equals, value = one.partition("=")
        try:
            CONF.set_override(name, value.split(",") if "," in value else value, "scheduler")
        except (cfg.Error, ValueError) as error:
            raise Failure(f"--set {one}: {error}") from error
        if not equals:
            raise Failure(f"--set {one}: write OPTION=VALUE")
    try:
        number, *sizes = (int(word) for word in (args.hosts or "10").split(":"))
        if number < 1 or len(sizes) > 3:
            raise ValueError
    except ValueError:
        raise Failure(f"--hosts {args.hosts}: write N or N:VCPUS:MIB:GIB") from None
    drawn = [_size(text) for text in args.size or ["1:512:1", "2:4096:20", "4:8192:40"]]
    views = simulation.hosts(number, *sizes)
    try:
        if args.load:
            with open(args.load) if args.load != "-" else sys.stdin as lines:
                events = list(simulation.recorded(lines))
            known = [simulation.described(event.host, event.metadata) for event in events if event.host]
            views = known if known and not args.hosts else views
        else:
            events = list(simulation.generated(args.servers, drawn, args.lifetime, args.seed))
        outcome = simulation.run(views, events, args.policy or CONF.scheduler.scheduler_driver)
    except (OSError, ValueError) as error:
        raise Failure(str(error)) from error
    summary = outcome.summary()
    if args.json:
        show_json(summary | {"servers": outcome.servers})
    else:
        for name, value in summary.items():
            shown = ", ".join(f"{k} {v}" for k, v in value.items()) or "-" if isinstance(value, dict) else value
            print(f"{name.replace('_', ' '):24} {shown}")
    if args.png:
        _draw(outcome, args.png)
    return 0


def _size(text: str) -> tuple[int, int, int]:
    from nova0.cli.failure import Failure

    try:
        vcpus, memory_mb, disk_gb = (int(word) for word in text.split(":"))
    except ValueError:
        raise Failure(f"--size {text}: write VCPUS:MIB:GIB") from None
    return vcpus, memory_mb, disk_gb


def _draw(outcome: object, path: str) -> None:
    import sys

    from nova0.cli.failure import Failure

    try:
        import matplotlib
    except ImportError:
        raise Failure("--png needs matplotlib: pip install nova0[plot]") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    used, course = outcome.used, outcome.course  # type: ignore[attr-defined]
    figure, (hosts, time) = pyplot.subplots(1, 2, figsize=(11, 4), constrained_layout=True)
    hosts.bar(range(len(used)), [share * 100 for share in used.values()], width=1.0)
    hosts.set(xlabel="host", ylabel="memory in use, %", title="at the end", ylim=(0, 100))
    events = [event for event, _, _ in course]
    means, spreads = [mean * 100 for _, mean, _ in course], [spread * 100 for _, _, spread in course]
    time.plot(events, means, label="mean")
    low, high = (
        [m - s for m, s in zip(means, spreads, strict=True)],
        [m + s for m, s in zip(means, spreads, strict=True)],
    )
    time.fill_between(events, low, high, alpha=0.3, label="± deviation")
    time.set(xlabel="event", ylabel="memory in use, %", title="in the course", ylim=(0, 100))
    time.legend()
    figure.savefig(path)
    print(f"drawn in {path}", file=sys.stderr)
