"""Files over streams: whole or not at all, from several at once, resumed; and what each source may do to it."""

from __future__ import annotations

import errno
import hashlib
import os
import random
from types import SimpleNamespace

import gevent
import gevent.event
import msgspec
import pytest
from cluster import Cluster
from contract import until
from file_node import FilesAgent, FilesAPI
from hypothesis import given
from hypothesis import strategies as st

from nova0.mesh.bus import Status
from nova0.mesh.errors import Busy, Cancelled, FileIncomplete, StreamBroken
from nova0.mesh.local import LocalNet
from nova0.mesh.streams import contents as blocks
from nova0.mesh.streams import files as files_module
from nova0.mesh.streams.contents import BLOCK, Contents
from nova0.mesh.streams.files import Files
from nova0.mesh.streams.share import SLOW_S, Share


class Lab:
    """Buses without sockets; `source` makes one more that has the file, or something else."""

    def __init__(self, tmp_path):
        self.folder, self.net, self.number = tmp_path, LocalNet(), 0
        self.here = self.net.bus("here")
        self.here.start()
        self.files = Files(self.here)
        self.path = tmp_path / "got"
        self.part = tmp_path / "got.part"
        self.sources = {}

    def has(self, body):
        """The file all agree upon."""
        self.original = self.folder / "original"
        self.original.write_bytes(body)
        self.wanted = of(body)
        return self

    def source(self, handler=None):
        self.number += 1
        bus = self.net.bus(f"lab{self.number}")
        bus.start()
        if handler is None:
            theirs = Files(bus)
            self.sources[bus.host] = lambda: theirs.offer(self.original, peer="here").ticket
        else:
            self.sources[bus.host] = lambda: bus.offer_stream("file", handler, peer="here")
        return bus

    def fetch(self, **more):
        self.files.fetch(self.path, self.wanted.size, self.wanted.digest, self.sources, **{"patience_s": 20, **more})
        return self.path.read_bytes()


def of(body):
    hashes = b"".join(hashlib.sha256(body[i : i + BLOCK]).digest() for i in range(0, len(body), BLOCK))
    return Contents(len(body), BLOCK, hashes)


def head(contents):
    body = msgspec.msgpack.encode(contents)
    return len(body).to_bytes(4, "big") + body


@pytest.fixture
def lab(tmp_path):
    return Lab(tmp_path)


@pytest.fixture
def kept(monkeypatch):
    """Numbers of the blocks that came and were written."""
    numbers = []

    def keep(descriptor, contents, index, body):
        good = blocks.keep(descriptor, contents, index, body)
        numbers.extend([index] * good)
        return good

    monkeypatch.setattr(files_module, "blocks", SimpleNamespace(**{**vars(blocks), "keep": keep}))
    return numbers


BODY = os.urandom(6 * BLOCK + 4321)


@pytest.mark.design("SF1", "SF8")
@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, len(BODY)])
def test_a_file_comes_whole_with_its_progress(lab, size):
    lab.has(BODY[:size]).source()
    told = []
    assert lab.fetch(on_progress=lambda done, of: told.append((done, of))) == BODY[:size]
    assert told == sorted(told) and told[-1] == (size, size)
    assert not lab.part.exists()


def test_who_gives_up_takes_the_hashes_of_a_file_from_nobody_else(lab, monkeypatch):
    path, begun, (waits, goes_on) = lab.path.with_name("offered"), [], os.pipe()
    path.write_bytes(BODY)

    def slowly(descriptor, size):
        begun.append(descriptor)
        os.read(waits, 1)
        return read(descriptor, size)

    read = blocks.read_contents
    monkeypatch.setattr(blocks, "read_contents", slowly)
    first, second = (gevent.spawn(lab.files.contents, path) for _ in range(2))
    until(lambda: begun, what="hashing")
    first.kill(Cancelled("it waits no more"))
    os.write(goes_on, b"1")
    assert second.get(timeout=20) == of(BODY)
    os.close(waits)
    os.close(goes_on)


@pytest.mark.design("SF2")
def test_a_leftover_is_gone_on_with_and_its_damaged_blocks_are_fetched_again(lab, kept):
    lab.has(BODY).source()
    damaged = bytearray(BODY[: 4 * BLOCK])
    damaged[2 * BLOCK + 7] ^= 1
    lab.part.write_bytes(damaged)
    assert lab.fetch() == BODY
    assert sorted(kept) == [2, 4, 5, 6]


@pytest.mark.design("SF2")
def test_a_leftover_of_another_longer_file_does_no_harm(lab):
    lab.has(BODY).source()
    lab.part.write_bytes(os.urandom(9 * BLOCK))
    assert lab.fetch() == BODY


@pytest.mark.design("SF3")
def test_several_sources_each_give_a_part(lab, monkeypatch):
    asked, here, all_here = {}, set(), gevent.event.Event()
    plain = Share.next

    def watched(self, who, now):
        here.add(who)
        if len(here) == 3:
            all_here.set()
        all_here.wait(60)  # else two may have given all before the third has come
        block = plain(self, who, now)
        if block is not None:
            asked.setdefault(who, set()).add(block)
        return block

    monkeypatch.setattr(Share, "next", watched)
    body = os.urandom(24 * BLOCK)
    lab.has(body)
    for _ in range(3):
        lab.source()
    assert lab.fetch() == body
    assert len(asked) == 3 and set().union(*asked.values()) == set(range(24))


@pytest.mark.design("SF3")
def test_the_blocks_of_a_source_that_stalls_or_dies_are_asked_of_another(lab):
    never = gevent.event.Event()

    def stalls(stream):
        stream.send(head(lab.wanted))
        never.wait()

    def dies(stream):
        stream.send(head(lab.wanted))
        stream.recv()
        raise StreamBroken("cut")

    lab.has(BODY)
    lab.source(stalls)
    lab.source(dies)
    lab.source()
    assert lab.fetch() == BODY
    never.set()


def lies_in_a_block(lab):
    def handler(stream):
        stream.send(head(lab.wanted))
        while stream.recv():
            stream.send(bytes(BLOCK))

    return handler


def lies_in_the_list(lab):
    other = of(BODY[:-1] + b"x")
    return lambda stream: stream.send(head(other))


def has_more_than_was_said(lab):
    return lambda stream: stream.send(head(of(BODY + b"x")))


def sends_no_list(lab):
    return lambda stream: stream.send((5).to_bytes(4, "big") + b"abcde")


def sends_a_list_without_end(lab):
    return lambda stream: stream.send((1 << 31).to_bytes(4, "big"))


LIARS = [lies_in_a_block, lies_in_the_list, has_more_than_was_said, sends_no_list, sends_a_list_without_end]


@pytest.mark.design("SF4")
@pytest.mark.parametrize("liar", LIARS)
def test_a_source_that_lies_is_asked_for_nothing_more_and_spoils_nothing(lab, liar, caplog):
    lab.has(BODY)
    lab.source(liar(lab))
    with pytest.raises(FileIncomplete, match=r"got: 0 of .* are here and kept: lab1: .*nothing more is taken from it"):
        lab.fetch()
    assert not lab.path.exists()
    lab.source()
    assert lab.fetch() == BODY


@pytest.mark.design("SF5")
def test_without_anything_new_it_gives_up_and_names_each_trouble(lab):
    never = gevent.event.Event()
    lab.has(BODY)
    lab.source(lambda stream: never.wait())
    gone = lab.source()
    gone.stop()
    with pytest.raises(FileIncomplete, match=r"lab2: .*ask again later") as caught:
        lab.fetch(patience_s=0.5)
    assert caught.value.data == {"done": 0}
    never.set()


@pytest.mark.design("SF6")
def test_a_disk_that_fills_ends_it_and_what_came_stays(lab, monkeypatch):
    lab.has(BODY).source()
    plain, written = os.pwrite, []

    def full(descriptor, body, start):
        if len(written) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(start)
        return plain(descriptor, body, start)

    monkeypatch.setattr(blocks.os, "pwrite", full)
    with pytest.raises(OSError, match="No space") as caught:
        lab.fetch()
    assert caught.value.errno == errno.ENOSPC and lab.part.exists() and not lab.path.exists()
    written.clear()
    monkeypatch.setattr(blocks.os, "pwrite", plain)
    assert lab.fetch() == BODY


@pytest.mark.design("SF6")
def test_too_little_space_is_said_before_a_block_is_fetched(lab, monkeypatch, kept):
    lab.has(BODY).source()
    monkeypatch.setattr(files_module.shutil, "disk_usage", lambda path: SimpleNamespace(free=BLOCK))
    with pytest.raises(OSError, match=f"needs {len(BODY)} bytes more, {BLOCK} are free"):
        lab.fetch()
    assert kept == []


@pytest.mark.design("SF7")
def test_holes_stay_holes_and_do_not_travel(lab, kept):
    lab.has(b"")
    with open(lab.original, "wb") as file:
        file.truncate(300 * BLOCK)
        file.seek(100 * BLOCK + 5)
        file.write(b"something")
    with open(lab.original, "rb") as file:
        lab.wanted = blocks.read_contents(file.fileno(), 300 * BLOCK)
    lab.source()
    lab.files.fetch(lab.path, lab.wanted.size, lab.wanted.digest, lab.sources)
    assert kept == [100]
    assert lab.path.stat().st_size == 300 * BLOCK and lab.path.stat().st_blocks * 512 <= 2 * BLOCK
    with open(lab.path, "rb") as file:
        assert blocks.read_contents(file.fileno(), 300 * BLOCK).digest == lab.wanted.digest


@pytest.mark.design("SF8")
def test_one_that_is_asked_for_again_waits_for_the_end_of_the_one_before(lab):
    lab.has(BODY).source()
    going_on = gevent.event.Event()

    def at_work(done, of):
        going_on.set()
        gevent.sleep(60)

    before = gevent.spawn(lab.fetch, on_progress=at_work)
    assert going_on.wait(20)
    again = gevent.spawn(lab.fetch)
    gevent.sleep(0.2)  # it has found the file taken
    assert not again.ready()
    before.kill()
    assert again.get(timeout=20) == BODY


@pytest.mark.design("SF8")
def test_two_do_not_fetch_one_file_and_an_end_leaves_what_came(lab, monkeypatch):
    monkeypatch.setattr(files_module, "GIVES_WAY_S", 0.2)
    lab.has(BODY).source()
    seen = []

    def enough(done, of):
        seen.append(done)
        if done >= 3 * BLOCK:
            with pytest.raises(Busy, match="being fetched"):
                lab.fetch()
            raise KeyError("not wanted any more")

    with pytest.raises(KeyError):
        lab.fetch(on_progress=enough)
    assert lab.part.exists() and not lab.path.exists()

    def refuse(part):
        raise ValueError(part.name)

    with pytest.raises(ValueError, match=r"got\.part"):
        lab.fetch(check=refuse)
    assert not lab.path.exists()
    assert lab.fetch() == BODY


@pytest.mark.design("SF1")
def test_a_file_that_changes_under_its_offer_is_not_mixed(lab):
    lab.has(BODY)
    bus = lab.source()
    offer = Files(bus).offer(lab.original, peer="here")
    changed = bytearray(BODY)
    changed[3 * BLOCK] ^= 1
    lab.original.write_bytes(changed)
    tickets = [offer.ticket]
    with pytest.raises(FileIncomplete, match="block 3 is not what its hash says"):
        lab.files.fetch(lab.path, offer.size, offer.digest, {"lab1": tickets.pop}, patience_s=5)
    assert lab.part.stat().st_size == len(BODY)


@given(st.data())
def test_whoever_comes_and_goes_every_block_comes_once_and_none_is_forgotten(data):
    count = data.draw(st.integers(0, 30))
    share, now, came = Share(range(count)), 0.0, []
    asked = {"a": [], "b": [], "c": []}
    for _ in range(80):
        if not share.left:
            break
        who = data.draw(st.sampled_from("abc"))
        now += data.draw(st.sampled_from((0.0, 0.1, SLOW_S)))
        match data.draw(st.sampled_from(("ask", "ask", "come", "leave"))):
            case "ask":
                block = share.next(who, now)
                if block is not None:
                    assert block not in asked[who]
                    asked[who].append(block)
            case "come" if asked[who]:
                block = asked[who].pop(0)
                if share.came(block):
                    came.append(block)
            case "leave":
                share.give_back(who)
                asked[who].clear()
    for who in asked:
        share.give_back(who)
    while share.left:
        now += SLOW_S
        block = share.next("d", now)
        assert block is not None and share.came(block)
        came.append(block)
    assert sorted(came) == list(range(count))


def test_the_list_of_hashes_of_a_large_file_stays_small():
    for size in (0, 1, BLOCK, 64 << 30, (64 << 30) + 1, 5 << 40):
        block = blocks.block_for(size)
        assert -(-size // block) <= blocks.MOST_BLOCKS and block % BLOCK == 0


@pytest.fixture
def cluster(tmp_path):
    made = Cluster(tmp_path)
    made.main = made.bus("lab0", "controller", ("controller",))
    made.main.offer(FilesAgent(made.main))
    made.main.start()
    yield made
    made.close()


@pytest.mark.slow
@pytest.mark.design("SF2", "SF3")
def test_kills_of_any_end_at_any_point_cost_only_time(cluster, tmp_path):
    """Two sources and a reader as processes; one of the three is killed again and again while the file comes."""
    body = random.Random(7).randbytes(48 * BLOCK)
    theirs, path = tmp_path / "theirs", tmp_path / "mine"
    theirs.write_bytes(body)
    members = {host: cluster.member(host) for host in ("lab1", "lab2", "lab3")}

    def start(host):
        started = cluster.process(members[host], program="file_node.py").ready()
        until(lambda: any(m.host == host and m.status == Status.UP for m in cluster.main.members()), 30, f"{host} up")
        return started

    def ask():
        return gevent.spawn(cluster.main.stub(FilesAPI, "lab3").bring, str(path), str(theirs), ["lab1", "lab2"])

    def under_way(bringing, reader, lines):
        assert not bringing.ready(), bringing.exception or "it came too soon to be disturbed"
        return sum(" of " in line for line in reader.lines) >= lines

    running = {host: start(host) for host in members}
    chance, hold = random.Random(), tmp_path / "mine.hold"
    bringing = ask()
    for victim in ("lab3", "lab1", "lab3"):
        reader, lines = running["lab3"], chance.randrange(2, 9)
        until(lambda: under_way(bringing, reader, lines), 60, reader.node)  # noqa: B023
        hold.touch()  # or all has come before a slow machine has started the victim again
        running[victim].kill()
        running[victim] = start(victim)
        if victim == "lab3":
            bringing.kill()
            bringing = ask()
        hold.unlink()
    assert bringing.get(timeout=120) == hashlib.sha256(body).hexdigest()
    first = next(line for line in running["lab3"].lines if " of " in line)
    assert int(first.split()[0]) > 0, "the reader went on with what lay there"
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == ["mine", "theirs"]
