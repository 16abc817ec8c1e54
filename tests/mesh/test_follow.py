"""A snapshot, then updates: whatever is lost, repeated or restarted, a follower ends with the publisher's state."""

from __future__ import annotations

import gevent
import pytest
from cluster import Cluster
from contract import until
from gevent.event import Event
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from nova0.mesh.bus import Status
from nova0.mesh.codec import encode
from nova0.mesh.errors import Busy, Unreachable
from nova0.mesh.follow import Order, Snapshot, Update
from nova0.mesh.local import LocalNet
from nova0.mesh.surface import CONTROLLER, HOST, MEMBER, Surface, call, cast


class ShelfAPI(Surface):
    topic = "shelf"
    served_by = MEMBER

    @call(allow=MEMBER, repeatable=True)
    def all(self) -> Snapshot[dict[str, int]]: ...

    @cast(allow=CONTROLLER)
    def put(self, name: str, count: int) -> None: ...

    @cast(allow=HOST)
    def steal(self, name: str) -> None: ...


class Shelf(ShelfAPI):
    """The publisher: state changes and is told without a wait between."""

    def __init__(self, bus):
        self.bus, self.held = bus, {}
        self.asked = 0
        self.open = Event()
        self.open.set()

    def all(self):
        self.asked += 1
        answer = self.bus.snapshot(ShelfAPI, dict(self.held))
        self.open.wait(20)
        return answer

    def put(self, name, count):
        """Its own cast; it knows."""

    def steal(self, name):
        """A host's; the shelf does not care."""

    def set(self, name, count):
        self.held[name] = count
        self.bus.stub(ShelfAPI).put(name, count)


class Copy:
    def __init__(self, bus, fetch=None):
        self.seen, self.held, self.snapshots = [], {}, 0
        self.fail = False
        fetch = fetch or (lambda: bus.stub(ShelfAPI, "lab0").all())
        self.follower = bus.follow(ShelfAPI, fetch, self.whole, self.change)

    def whole(self, value):
        self.held = dict(value)
        self.snapshots += 1

    def change(self, method, arguments):
        if self.fail:
            self.fail = False
            raise ZeroDivisionError("as a test wants it")
        self.seen.append((method, arguments["name"], arguments["count"]))
        self.held[arguments["name"]] = arguments["count"]


class Two:
    def __init__(self, net):
        self.net = net
        self.main = net.bus("lab0", "controller", ("controller",))
        self.host = net.bus("lab1", "host", ("host",))
        self.shelf = Shelf(self.main)
        self.main.offer(self.shelf)
        self.copies = []
        for bus in (self.main, self.host):
            bus.start()
        for bus in (self.main, self.host):
            until(lambda bus=bus: sum(m.status == Status.UP for m in bus.members()) == 2, 20)

    def copy(self, *args):
        made = Copy(self.host, *args)
        self.copies.append(made)
        assert made.follower.ready.wait(20)
        self.shelf.set("warm", 0)
        until(lambda: "warm" in made.held, 20)
        return made

    def same(self, copy):
        until(lambda: copy.held == self.shelf.held, 20, f"{copy.held} becomes {self.shelf.held}")


@pytest.fixture(scope="module", params=["local", "node"])
def net(request, tmp_path_factory):
    made = LocalNet() if request.param == "local" else Cluster(tmp_path_factory.mktemp("follow"))
    two = Two(made)
    yield two
    if request.param == "local":
        for bus in made.buses.values():
            bus.stop()
    else:
        made.close()


@pytest.fixture
def two(net):
    net.shelf.held.clear()
    net.shelf.open.set()
    yield net
    while net.copies:
        net.copies.pop().follower.stop()


only_nodes = pytest.mark.parametrize("net", ["node"], indirect=True, scope="module")  # where something can be lost


@pytest.mark.design("N1")
def test_updates_follow_the_snapshot_in_order_and_none_twice(two):
    two.shelf.set("before", 1)
    copy = two.copy()
    assert copy.held["before"] == 1
    for n in range(200):
        two.shelf.set("n", n)
        if n % 20 == 0:
            gevent.sleep(0)
    two.same(copy)
    assert [count for _, name, count in copy.seen if name == "n"] == list(range(200))


@pytest.mark.design("N2")
def test_what_comes_while_the_snapshot_is_under_way_is_kept_for_after_it(two):
    two.copy().follower.stop()  # the subscription is in effect
    asked = two.shelf.asked
    two.shelf.open.clear()
    copy = Copy(two.host)
    two.copies.append(copy)
    until(lambda: two.shelf.asked > asked, 20, "asked for it")
    two.shelf.set("meanwhile", 1)
    gevent.sleep(0.1)
    assert copy.seen == [] and not copy.follower.ready.is_set()
    two.shelf.open.set()
    two.same(copy)
    assert copy.snapshots == 1 or copy.held["meanwhile"] == 1


@pytest.mark.design("N3")
@only_nodes
@pytest.mark.parametrize("last", [False, True], ids=["a later one shows it", "the beats show it"])
def test_a_lost_update_means_a_new_snapshot(two, monkeypatch, last):
    copy = two.copy()
    before = copy.snapshots
    with monkeypatch.context() as lossy:
        two.main.casting.flush()
        lossy.setattr(two.main.casting, "_publish", lambda body: None)
        two.shelf.set("lost", 1)
        two.main.casting.flush()
    if not last:
        two.shelf.set("after", 2)
    two.same(copy)
    assert copy.snapshots > before and ("put", "lost", 1) not in copy.seen


@pytest.mark.design("N4")
@only_nodes
def test_a_new_connection_means_a_new_snapshot(two, monkeypatch):
    copy = two.copy()
    before = copy.snapshots
    link = two.host.roster.peers["lab0/controller"].link
    with monkeypatch.context() as lossy:
        two.main.casting.flush()
        lossy.setattr(two.main.casting, "_publish", lambda body: None)
        two.shelf.set("while it was cut", 1)
        two.main.casting.flush()
    monkeypatch.setattr(two.main.casting, "marks", dict)  # nothing else tells
    monkeypatch.setattr(two.main.casting, "sent", dict)
    link._broken("cut by the test", False)
    two.same(copy)
    until(lambda: copy.snapshots > before, 20)


@pytest.mark.design("N5")
@only_nodes
def test_who_may_not_cast_is_not_followed(two):
    copy = two.copy()
    two.host.stub(ShelfAPI).put("another node's", 1)
    two.main.publish_cast("shelf", "put", encode({"name": "a person's", "count": 1}), plain=True)
    two.shelf.set("true", 1)
    two.same(copy)
    assert copy.seen[-1] == ("put", "true", 1) and set(copy.held) == {"warm", "true"}


@pytest.mark.design("N6")
def test_an_update_that_could_not_be_taken_means_a_new_snapshot(two):
    copy = two.copy()
    copy.fail = True
    two.shelf.set("hard", 1)
    two.same(copy)
    assert ("put", "hard", 1) not in copy.seen


@pytest.mark.design("N7")
def test_a_snapshot_is_asked_for_until_there_is_one(two):
    answers = iter([Unreachable("not yet"), Busy("nor now")])

    def fetch():
        error = next(answers, None)
        if error is not None:
            raise error
        return two.host.stub(ShelfAPI, "lab0").all()

    two.same(two.copy(fetch))


@pytest.mark.slow
@pytest.mark.design("N9")
def test_a_publisher_that_restarts_and_says_nothing_is_followed(tmp_path):
    cluster = Cluster(tmp_path)
    try:
        two = Two(cluster)
        copy = two.copy()
        two.shelf.set("before", 1)
        two.same(copy)
        two.main.stop()
        again = type(two.main)(two.main.settings)
        cluster.nodes.append(again)
        shelf = Shelf(again)
        shelf.held = {"after": 2}
        again.offer(shelf)
        again.start()
        until(lambda: copy.held == {"after": 2}, 30)
    finally:
        cluster.close()


@pytest.mark.design("K5", "K6")
@only_nodes
def test_a_loss_of_long_ago_is_seen_when_the_way_is_new_and_by_and_by(two, monkeypatch):
    two.copy()
    gaps = []
    two.host.on_gap(lambda topic, publisher: gaps.append((topic, publisher)))
    for way in ("a new connection", "beats in turn"):
        gaps.clear()
        number = two.main.casting.number("shelf")
        two.main.casting._spoken["shelf"].number = number + 1
        two.main.casting._spoken["shelf"].at = 0.0
        if way == "a new connection":
            two.host.roster.peers["lab0/controller"].link._broken("cut by the test", False)
        until(lambda: gaps == [("shelf", "lab0/controller")], 20, way)


@pytest.mark.design("B8")
@only_nodes
def test_a_node_casts_on_so_many_topics_and_no_more(two, monkeypatch):
    monkeypatch.setattr("nova0.mesh.casting.MOST_TOPICS", len(two.main.casting._spoken))
    with pytest.raises(Busy, match="topics"):
        two.main.publish_cast("another", "put", b"\x80")
    two.main.publish_cast("shelf", "put", b"\x80")


class OrderOfUpdates(RuleBasedStateMachine):
    """A publisher that counts, restarts and speaks over a way that loses; the follower's state is always one
    the publisher had, and the last one once everything has come."""

    @initialize()
    def begin(self):
        self.boot, self.number, self.state = 1, 0, ()
        self.history = {(1, 0): ()}
        self.way = []  # what is under way, in order
        self.taken = None  # a snapshot under way
        self.copy = None
        self.order = Order(self.replace, self.apply, most=4)

    def replace(self, value):
        self.copy = value

    def apply(self, update):
        self.copy = (*self.copy, update.arguments)

    @rule(lost=st.booleans())
    def cast(self, lost):
        self.number += 1
        self.state = (*self.state, (self.boot, self.number))
        self.history[self.boot, self.number] = self.state
        if not lost:
            self.way.append(Update("lab0", self.boot, self.number, "put", self.state[-1]))

    @rule()
    def another_publisher_casts(self):
        self.way.append(Update("lab9", 1, self.number + 1, "put", "not ours"))

    @rule()
    def beat(self):
        self.way.append((self.boot, self.number))

    @rule()
    def restart(self):
        self.boot, self.number, self.state = self.boot + 1, 0, ("restarted", self.boot)
        self.history[self.boot, 0] = self.state

    @rule()
    def arrives(self):
        if self.way:
            came = self.way.pop(0)
            if isinstance(came, Update):
                self.order.heard(came)
            else:
                self.order.published("lab0", *came)

    @rule()
    def more_than_it_keeps(self):
        for _ in range(6):
            self.cast(False)
        while self.way:
            self.arrives()

    @rule()
    def ask(self):
        if self.order.behind and self.taken is None:
            self.order.behind = False
            self.taken = Snapshot(publisher="lab0", boot=self.boot, number=self.number, value=self.state)

    @rule()
    def answered(self):
        if self.taken is not None:
            self.order.take(self.taken)
            self.taken = None

    @rule()
    def step(self):
        if self.taken is None:  # one greenlet does both
            self.order.step()

    @invariant()
    def what_is_applied_is_a_state_the_publisher_had(self):
        if self.order.mark is not None:
            assert self.copy == self.history[self.order.mark[1:]]
        assert len(self.order._waiting) <= 4

    def teardown(self):
        self.answered()
        self.beat()
        while self.way:
            self.arrives()
            self.step()
        for _ in range(20):
            self.ask()
            self.answered()
            while self.order.step():
                pass
        assert not self.order.behind and self.copy == self.state


TestOrderOfUpdates = pytest.mark.slow(pytest.mark.design("N8")(OrderOfUpdates.TestCase))
TestOrderOfUpdates.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
