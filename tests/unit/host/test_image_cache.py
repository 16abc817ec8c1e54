"""Images on a host: one download, resumed, verified, aged."""

from __future__ import annotations

import errno
import os
import time
from types import SimpleNamespace

import gevent
import pytest
from gevent.event import Event

from nova0.host.image import cache as cache_module
from nova0.host.image.cache import ImageCache
from nova0.mesh.errors import StreamRefused, Unreachable
from nova0.mesh.local import LocalNet
from nova0.mesh.streams import contents
from nova0.mesh.streams import files as files_module
from nova0.objects.errors import ImageUnusable, NoSpace, Stale
from nova0.rpcapi.images import ImagesAPI
from tests.disk_images import qcow2
from tests.unit.host.lab import FakeImages, a_view, an_instance

PIECE = contents.BLOCK
BODY = os.urandom(2 * PIECE + 12345)


@pytest.fixture
def net():
    made = LocalNet(timers=False)
    yield made
    for bus in made.buses.values():
        bus.stop()


@pytest.fixture
def images(net):
    bus = net.bus("ctl", "controller", ("controller",))
    made = FakeImages(bus)
    bus.offer(made)
    bus.start()
    return made


@pytest.fixture
def cache(tmp_path, net, images, monkeypatch):
    monkeypatch.setattr(cache_module, "BETWEEN_S", 0.01)
    monkeypatch.setattr(files_module, "PAUSE_S", (0.01, 0.05))
    bus = net.bus("lab1")
    bus.start()
    made = ImageCache(bus, tmp_path / "_base", lambda: bus.stub(ImagesAPI), patience_s=20)
    made.open()
    return made


def test_an_image_arrives_whole_with_its_progress(cache, images):
    told = []
    path = cache.fetch(images.add("i1", BODY), told.append)
    assert path.read_bytes() == BODY
    assert told == sorted(told) and told[-1] == 100


@pytest.mark.covers("S272")
def test_the_second_use_asks_nothing(cache, images):
    image = images.add("i1", BODY)
    cache.fetch(image)
    asked = len(images.offsets)
    cache.fetch(image)
    assert len(images.offsets) == asked


def test_several_that_want_it_wait_for_one_download(cache, images):
    image = images.add("i1", BODY)
    images.before = lambda offset: gevent.sleep(0.01)
    jobs = [gevent.spawn(cache.fetch, image) for _ in range(5)]
    gevent.joinall(jobs, raise_error=True)
    assert images.offsets == [0, PIECE, 2 * PIECE]


def test_one_that_gives_up_waiting_does_not_take_it_from_the_others(cache, images):
    image = images.add("i1", BODY)
    images.before = lambda offset: gevent.sleep(0.02)

    def no_longer(percent):
        raise RuntimeError("not wanted any more")

    leaving, staying = gevent.spawn(cache.fetch, image, no_longer), gevent.spawn(cache.fetch, image)
    gevent.joinall([leaving, staying])
    assert isinstance(leaving.exception, RuntimeError)
    assert staying.value.read_bytes() == BODY
    assert images.offsets == [0, PIECE, 2 * PIECE]


def test_a_broken_download_is_continued_where_it_stopped(cache, images):
    image = images.add("i1", BODY)

    def gone(offset):
        if offset >= PIECE:
            raise Unreachable("ctl: no link")

    images.before, cache._patience_s = gone, 0.3
    with pytest.raises(ImageUnusable, match=f"stopped after {PIECE} of {len(BODY)} bytes"):
        cache.fetch(image)
    images.before = lambda offset: None
    images.offsets.clear()
    assert cache.fetch(image).read_bytes() == BODY
    assert images.offsets == [PIECE, 2 * PIECE]


def test_a_controller_away_for_a_moment_costs_only_the_moment(cache, images):
    failures = iter([Unreachable("ctl: no link")] * 2)

    def flaky(offset):
        error = next(failures, None)
        if error:
            raise error

    images.before = flaky
    assert cache.fetch(images.add("i1", BODY)).read_bytes() == BODY


def test_another_checksum_makes_it_unusable_and_leaves_nothing(cache, images):
    image = images.add("i1", BODY)
    images.held["i1"] = BODY[:-1] + bytes([BODY[-1] ^ 1])
    with pytest.raises(ImageUnusable, match="another checksum"):
        cache.fetch(image)
    assert list(cache.directory.iterdir()) == []


def test_all_who_wait_learn_of_the_failure(cache, images):
    image = images.add("i1", BODY)
    images.held["i1"] = BODY[:PIECE]
    jobs = [gevent.spawn(cache.fetch, image) for _ in range(3)]
    gevent.joinall(jobs)
    assert all(isinstance(job.exception, ImageUnusable) for job in jobs)


def test_only_the_damage_of_a_leftover_is_fetched_again(cache, images):
    (cache.directory / "i1.part").write_bytes(b"x" * PIECE + BODY[PIECE : 2 * PIECE])
    assert cache.fetch(images.add("i1", BODY)).read_bytes() == BODY
    assert images.offsets == [0, 2 * PIECE]


def test_what_is_here_is_offered_to_the_node_named_and_nothing_else(cache, images, net):
    image = images.add("i1", BODY)
    digest = images.holders("i1").digest
    with pytest.raises(ImageUnusable, match="image i1 is not here"):
        cache.offer("i1", digest, "lab2/host")
    cache.fetch(image)
    with pytest.raises(ImageUnusable, match="another one"):
        cache.offer("i1", b"of another", "lab2/host")
    for name in ("../_base/i1", "i1.part", "i2"):
        with pytest.raises(ImageUnusable, match="is not here"):
            cache.offer(name, digest, "lab2/host")
    other, stranger = net.bus("lab2"), net.bus("lab3")
    for bus in (other, stranger):
        bus.start()
    ticket = cache.offer("i1", digest, "lab2/host")
    with pytest.raises(StreamRefused):
        stranger.open_stream(ticket)
    path = cache.directory.parent / "theirs"
    files_module.Files(other).fetch(path, image.size, digest, {"lab1": lambda: ticket})
    assert path.read_bytes() == BODY


def test_too_little_space_is_said_before_anything_is_fetched(cache, images, monkeypatch):
    monkeypatch.setattr(cache_module.shutil, "disk_usage", lambda path: SimpleNamespace(free=100))
    with pytest.raises(
        NoSpace, match=r"lab1: no space for image image i1 \(needs .* GiB, .* free in .*image_cache_dir"
    ):
        cache.fetch(images.add("i1", BODY))
    assert images.offsets == []


def test_a_disk_that_fills_meanwhile_is_no_space_too(cache, images, monkeypatch):
    def full(descriptor, body, start):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(contents.os, "pwrite", full)
    with pytest.raises(NoSpace, match="image_cache_dir"):
        cache.fetch(images.add("i1", BODY))


@pytest.mark.parametrize("disk_format", ["vhd", "vmdk", "iso"])
def test_a_format_this_host_cannot_boot_is_refused(cache, images, disk_format):
    with pytest.raises(ImageUnusable, match=f"disk format {disk_format}.*qemu-img convert"):
        cache.fetch(images.add("i1", BODY, disk_format))
    assert images.offsets == []


def test_a_plain_qcow2_is_taken(cache, images):
    assert cache.fetch(images.add("i1", qcow2(), "qcow2")).exists()


@pytest.mark.parametrize(
    ("body", "disk_format", "word"),
    [
        (qcow2(backing=512), "qcow2", "flatten it"),
        (qcow2(incompatible=4), "qcow2", "flatten it"),
        (b"not a qcow2 at all" * 40, "qcow2", "bytes are not"),
        (qcow2()[:200], "qcow2", "cut short"),
        (qcow2(snapshots=1_000_000), "qcow2", "snapshots"),
        (bytes(0x8001) + b"CD001", "raw", "iso"),
    ],
)
def test_an_image_of_an_earlier_time_that_no_host_should_open_is_refused(cache, images, body, disk_format, word):
    with pytest.raises(ImageUnusable, match=f"lab1: image .*{word}"):
        cache.fetch(images.add("i1", body, disk_format))
    assert list(cache.directory.iterdir()) == []


def test_a_container_that_is_not_the_disk_itself_is_refused(cache, images):
    with pytest.raises(ImageUnusable, match="container format ova"):
        cache.fetch(images.add("i1", BODY, container_format="ova"))
    assert images.offsets == []


def test_an_image_id_cannot_lead_out_of_the_cache(cache, images):
    with pytest.raises(ImageUnusable, match="cannot name a file"):
        cache.fetch(images.add("../../etc/passwd", BODY))


@pytest.mark.covers("S294")
def test_images_unused_past_their_age_go_and_used_ones_stay(cache, images):
    for name in ("used", "unused", "fresh"):
        cache.fetch(images.add(name, BODY[:100]))
    (cache.directory / "left.part").write_bytes(b"x")
    long_ago = time.time() - 1000
    for name in ("used", "unused", "left.part"):
        os.utime(cache.directory / name, (long_ago, long_ago))
    assert cache.age({"used"}, unused_s=500) == ["left.part", "unused"]
    assert sorted(path.name for path in cache.directory.iterdir()) == ["fresh", "used"]


def test_the_fake_driver_fetches_only_when_told_to(lab, option):
    image = lab.images.add("i1", BODY)
    lab.host()
    first = an_instance(1, image=image)
    lab.compute().prepare(first, [a_view(first)])
    assert lab.images.offsets == []
    option("fetch_images", True, group="fake")
    told = []
    second = an_instance(2, image=image)
    lab.compute(on_progress=told.append).prepare(second, [a_view(first, second, revision=2)])
    assert len(lab.images.offsets) == 3
    assert {"stage": "image", "percent": 100} in told


def test_each_server_hears_its_own_progress_of_a_shared_download(lab, option):
    option("fetch_images", True, group="fake")
    image = lab.images.add("i1", BODY)
    lab.images.before = lambda offset: gevent.sleep(0.02)
    lab.host()
    servers = [an_instance(number, image=image) for number in (1, 2)]
    told = [[], []]
    jobs = [
        gevent.spawn(lab.compute(on_progress=heard.append).prepare, server, [a_view(*servers)])
        for server, heard in zip(servers, told, strict=True)
    ]
    gevent.joinall(jobs, raise_error=True)
    for heard in told:
        percents = [value["percent"] for value in heard if value["stage"] == "image"]
        assert percents == sorted(set(percents)) and percents[-1] == 100


def test_a_delete_does_not_wait_for_the_bytes(lab, option, monkeypatch):
    monkeypatch.setattr(cache_module, "WATCH_S", 0.05)
    option("fetch_images", True, group="fake")
    image = lab.images.add("i1", BODY)
    go_on = Event()
    lab.images.before = lambda offset: go_on.wait(30)
    lab.host()
    server = an_instance(image=image)
    preparing = gevent.spawn(lab.compute().prepare, server, [a_view(server)])
    gevent.sleep(0.1)
    with gevent.Timeout(20):
        lab.compute().delete(server.uuid, 2)
    with pytest.raises(Stale):
        preparing.get()
    go_on.set()


@pytest.mark.covers("S294")
def test_the_timer_ages_only_what_no_server_here_is_made_of(lab, option):
    option("fetch_images", True, group="fake")
    option("remove_unused_original_minimum_age_seconds", 0)
    used, unused = lab.images.add("used", BODY[:100]), lab.images.add("unused", BODY[:100])
    machine = lab.host()
    assert machine.adoption.adopted.wait(30)
    server, gone = an_instance(1, image=used), an_instance(2, image=unused)
    for instance in (server, gone):
        lab.compute().prepare(instance, [a_view(server, gone)])
    lab.compute().delete(gone.uuid, 2)
    machine.agents()[0].run_image_cache_manager_pass()
    assert [path.name for path in machine.images.directory.iterdir()] == ["used"]


@pytest.mark.covers("S294")
def test_nothing_is_aged_while_a_guest_here_has_no_record(lab, option, caplog):
    option("fetch_images", True, group="fake")
    option("remove_unused_original_minimum_age_seconds", 0)
    machine = lab.host()
    assert machine.adoption.adopted.wait(30)
    server = an_instance(image=lab.images.add("i1", BODY[:100]))
    lab.compute().prepare(server, [a_view(server)])
    machine.records.drop(server.uuid)
    machine.agents()[0].run_image_cache_manager_pass()
    assert [path.name for path in machine.images.directory.iterdir()] == ["i1"]
    assert server.uuid in caplog.text
