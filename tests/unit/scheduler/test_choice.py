"""Batches, alternates and ends of room; and what the book of hosts remembers."""

from __future__ import annotations

from collections import Counter

import pytest

from nova0.controller.scheduler import host_book
from nova0.controller.scheduler.driver import World
from nova0.controller.scheduler.policies import policy
from nova0.objects.errors import NoValidHost
from tests.unit.scheduler.made import Everybody, book, driver, flavor, host, request, taken


@pytest.mark.covers("S160")
@pytest.mark.parametrize("hosts", [8, 150])  # plain, and all at once
def test_a_batch_spreads_over_equal_hosts_and_never_overbooks(hosts):
    made = driver("filter", [host(f"h{n}", vcpus=100, memory_mb=512 * 100) for n in range(hosts)])
    placed = Counter()
    for n in range(hosts * 3 + 2):
        asked = request(f"s{n}")
        best = made.schedule(asked, topic="compute", method="run_instance", count=1)[0]
        made.world.book.consume(best, asked.uuid, asked.takes)
        placed[best] += 1
    assert set(placed.values()) <= {3, 4}


@pytest.mark.parametrize("hosts", [3, 150])
def test_room_ends_with_a_trace(hosts):
    made = driver("filter", [host(f"h{n}", memory_mb=512) for n in range(hosts)])
    for n in range(hosts):
        asked = request(f"s{n}")
        made.world.book.consume(
            made.schedule(asked, topic="compute", method="run_instance", count=1)[0], asked.uuid, asked.takes
        )
    with pytest.raises(NoValidHost, match=f"{hosts} hosts; RamFilter left 0") as refused:
        made.schedule(request("one more"), topic="compute", method="run_instance", count=1)
    assert "ComputeFilter left" in refused.value.data["trace"]


@pytest.mark.covers("S161")
@pytest.mark.parametrize("hosts", [5, 150])
def test_alternates_come_after_the_best_and_a_wanted_host_is_the_only_one(hosts):
    made = driver("filter", [host(f"h{n}", servers={"a": taken()} if n else {}) for n in range(hosts)])
    ranked = made.schedule(request(), topic="compute", method="run_instance", count=3)
    assert ranked[0] == "h0" and len(set(ranked)) == 3
    wanted = made.schedule(request(wanted_host="h3"), topic="compute", method="run_instance", count=3)
    assert wanted == ["h3"]
    again = made.schedule(request(tried=("h0",)), topic="compute", method="run_instance", count=3)
    assert "h0" not in again


@pytest.mark.parametrize("hosts", [6, 150])
def test_a_subset_draws_among_the_best_only(option, hosts):
    option(host_subset_size=3, weight_classes=["RAMWeigher"])
    made = driver("filter", [host(f"h{n}", memory_mb=9000 - n) for n in range(hosts)])
    drawn = {made.schedule(request(), topic="compute", method="run_instance", count=1)[0] for _ in range(80)}
    assert drawn == {"h0", "h1", "h2"}


@pytest.mark.covers("S159")
def test_the_book_keeps_what_was_placed_while_the_store_does_not_have_it_yet():
    views = [host("h1"), host("h2")]
    kept = book(views)
    kept.views()
    kept.consume("h1", "s1", taken())
    kept._store.views = [host("h1")]  # read anew, without the claim
    kept.stale("h1")
    assert {view.host: set(view.servers) for view in kept.views()} == {"h1": {"s1"}, "h2": set()}
    kept._store.views = [host("h1", servers={"s1": taken()})]
    kept.stale("h1")
    assert kept.views()[0].vcpus_used == 1, "counted once"
    kept.release("s1")
    assert kept.views()[0].vcpus_used == 0 and not kept.views()[0].servers


def test_a_refused_claim_is_forgotten():
    kept = book([host("h1")])
    kept.views()
    kept.consume("h1", "s1", taken())
    kept._store.views = [host("h1")]
    kept.refused("h1", "s1")
    assert kept.views()[0].servers == {}


def test_failed_builds_are_remembered_until_one_ends_well():
    kept = book([host("h1")])
    kept.views()
    kept.failed("h1")
    kept.stale()
    kept._store.views = [host("h1")]
    assert kept.views()[0].failed_builds == 1
    kept.consume("h1", "s1", taken())
    kept.built("s1")
    assert kept.views()[0].failed_builds == 0 and not kept.views()[0].heavy


def test_reports_of_many_hosts_are_read_together_and_of_few_at_once(monkeypatch):
    few, many = book([host(f"h{n}") for n in range(9)]), book([host(f"h{n}") for n in range(150)])
    monkeypatch.setattr(host_book, "REPORTS_S", 3600.0)
    for kept, read in ((few, 3), (many, 2)):
        kept.views()
        for name in ("h1", "h2"):
            kept.reported(name)  # of many the first is read: nothing was for long
            kept.views()
        assert kept.reads == read
    many.stale("h3")  # what an operator changed waits for nothing
    many.views()
    assert many.reads == 3
    monkeypatch.setattr(host_book, "REPORTS_S", 0.0)
    many.views()
    many.views()
    assert many.reads == 4


def test_a_host_that_falls_silent_is_seen_at_the_next_choice():
    views = [host(f"h{n}") for n in range(150)]
    lives = Everybody(view.host for view in views)
    kept = book(views)
    kept._lives = lives
    assert kept.columns().able.all()
    lives.names.discard("h7")
    lives.changes += 1
    assert not kept.columns().able[7] and kept.columns().able.sum() == 149


@pytest.mark.covers("S126")
def test_caching_reads_once_a_period_and_its_own_placements_count():
    views = [host(f"h{n}", memory_mb=512 * 10) for n in range(4)]
    kept = book(views, period_s=3600)
    made = policy("caching", World(kept))
    placed = Counter()
    for n in range(40):
        asked = request(f"s{n}", flavor=flavor(vcpus=0))
        kept.stale(f"h{n % 4}")
        best = made.schedule(asked, topic="compute", method="run_instance", count=1)[0]
        kept.consume(best, asked.uuid, asked.takes)
        placed[best] += 1
    assert kept._store.reads == 1 and set(placed.values()) == {10}
