"""What a process counts, as plain numbers, and the text Prometheus reads.

Counting happens where the work is done, with integers in slots; families are made from those only when
somebody asks. `prometheus_client` is loaded only by who renders text: a scraped listener, the command line.
"""

from __future__ import annotations

import os
import resource
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

BOUNDS_S = (
    0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0,
    2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0,
)  # fmt: skip
LabelName = Annotated[str, Meta(pattern=r"\A[A-Za-z_][A-Za-z0-9_]*\Z", max_length=255)]  # the text has it bare
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Tally:
    """One method: how long its calls took, and those that failed by kind of error."""

    __slots__ = ("buckets", "failures", "sum_s")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BOUNDS_S) + 1)  # calls by the first bound not below their seconds; the last: more
        self.failures: dict[str, int] = {}
        self.sum_s = 0.0

    def took(self, seconds: float) -> None:
        self.buckets[bisect_left(BOUNDS_S, seconds)] += 1
        self.sum_s += seconds

    def failed(self, kind: str, seconds: float) -> None:
        """`kind` must come from a bounded set: it becomes a label."""
        self.took(seconds)
        self.failures[kind] = self.failures.get(kind, 0) + 1

    @property
    def count(self) -> int:
        return sum(self.buckets)

    def outcomes(self) -> dict[str, int]:
        """ "ok" and each kind of error -> how many."""
        return {"ok": self.count - sum(self.failures.values()), **self.failures}


class Traffic:
    """What went through the sockets of one kind."""

    __slots__ = ("bytes_in", "bytes_out", "frames_in", "frames_out")

    def __init__(self) -> None:
        self.bytes_in = self.bytes_out = self.frames_in = self.frames_out = 0


class Sample(msgspec.Struct):
    """One number, or for a histogram one row of them: calls by bucket of BOUNDS_S, `value` their sum in seconds."""

    labels: dict[LabelName, str]
    value: float
    buckets: Annotated[list[int], Meta(max_length=len(BOUNDS_S) + 1)] = []


class Family(msgspec.Struct):
    """Samples of one name, as Prometheus knows it; `kind`: counter, gauge or histogram."""

    name: Annotated[str, Meta(pattern=r"\A[A-Za-z_:][A-Za-z0-9_:]*\Z", max_length=255)]
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    samples: list[Sample]


def counter(name: str, help_: str, *samples: Sample, value: float | None = None) -> Family:
    """With `value`: one sample without labels."""
    return Family(name, "counter", help_, _samples(samples, value))


def gauge(name: str, help_: str, *samples: Sample, value: float | None = None) -> Family:
    return Family(name, "gauge", help_, _samples(samples, value))


def histogram(name: str, help_: str, tallies: Iterable[tuple[dict[str, str], Tally]]) -> Family:
    """Durations in seconds by labels."""
    return Family(name, "histogram", help_, [Sample(labels, t.sum_s, list(t.buckets)) for labels, t in tallies])


def _samples(samples: tuple[Sample, ...], value: float | None) -> list[Sample]:
    return [*samples, Sample({}, value)] if value is not None else list(samples)


def process_families() -> list[Family]:
    """CPU, memory and descriptors of this process, under the names every Prometheus client uses."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    with open("/proc/self/statm") as statm:
        resident = int(statm.read().split()[1]) * resource.getpagesize()
    return [
        counter("process_cpu_seconds_total", "CPU time spent, in seconds.", value=used.ru_utime + used.ru_stime),
        gauge("process_resident_memory_bytes", "Resident memory.", value=resident),
        gauge("process_open_fds", "Open file descriptors.", value=len(os.listdir("/proc/self/fd")) - 1),
    ]


def quantile(buckets: list[int], share: float) -> float | None:
    """Seconds below which `share` (0..1) of the calls stayed, between bounds by straight line; None without
    calls. Above the last bound it is that bound."""
    total = sum(buckets)
    if not total:
        return None
    wanted, below = share * total, 0
    for index, count in enumerate(buckets[: len(BOUNDS_S)]):
        if count and below + count >= wanted:
            low = BOUNDS_S[index - 1] if index else 0.0
            return low + (BOUNDS_S[index] - low) * max(0.0, wanted - below) / count
        below += count
    return BOUNDS_S[-1]


def render(families: list[Family]) -> bytes:
    """The text exposition of these families."""
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(families))
    return generate_latest(registry)


class _Collector:
    """prometheus_client's view of our families; made for one scrape."""

    def __init__(self, families: list[Family]) -> None:
        self._families = families

    def describe(self) -> list[Any]:
        return []

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        kinds = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}
        for family in self._families:
            names = list(family.samples[0].labels) if family.samples else []
            made: Any = kinds[family.kind](family.name, family.help, labels=names)
            for sample in family.samples:
                values = [sample.labels.get(name, "") for name in names]
                if family.kind == "histogram":
                    made.add_metric(values, _cumulative(sample.buckets), sum_value=sample.value)
                else:
                    made.add_metric(values, sample.value)
            yield made


def _cumulative(buckets: list[int]) -> list[tuple[str, float]]:
    bounds = [*(repr(bound) for bound in BOUNDS_S), "+Inf"]
    total, rows = 0, []
    missing = [0] * (len(bounds) - len(buckets))  # of a node of another version
    for bound, count in zip(bounds, [*buckets, *missing], strict=True):
        total += count
        rows.append((bound, float(total)))
    return rows
