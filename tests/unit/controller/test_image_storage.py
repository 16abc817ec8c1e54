"""Image bytes on disk: one upload at a time, whole or not at all, and never over what is there."""

from gevent import monkey

monkey.patch_all()

import hashlib  # noqa: E402
import os  # noqa: E402

import pytest  # noqa: E402

from nova0.controller.image import storage  # noqa: E402


def receive(state_dir, pieces, declared="raw", begin=lambda: None, done=lambda received: None):
    storage.receive(state_dir, "image", pieces, declared, None, begin=begin, done=done)


def there(state_dir):
    return {path.name: path.read_bytes() for path in storage.folder(state_dir).iterdir()}


def test_bytes_and_their_hashes(tmp_path):
    told = []
    receive(tmp_path, [b"a" * 3, b"", b"b" * 2_000_000], done=told.append)
    whole = b"aaa" + b"b" * 2_000_000
    assert there(tmp_path) == {"image": whole}
    assert (told[0].size, told[0].sha512) == (len(whole), hashlib.sha512(whole).hexdigest())


def test_an_image_that_has_bytes_keeps_them(tmp_path):
    receive(tmp_path, [b"first"])

    def begin():
        raise RuntimeError("it is active")

    with pytest.raises(RuntimeError, match="it is active"):
        receive(tmp_path, [b"second"], begin=begin)
    assert there(tmp_path) == {"image": b"first"}


def test_what_can_not_be_recorded_is_not_kept(tmp_path):
    def done(received):
        raise RuntimeError("the image was deleted meanwhile")

    with pytest.raises(RuntimeError):
        receive(tmp_path, [b"bytes"], done=done)
    assert there(tmp_path) == {}


def test_a_second_upload_of_the_same_image_is_turned_away_and_harms_nothing(tmp_path):
    def pieces():
        yield b"one"
        with pytest.raises(storage.UploadBusy):
            receive(tmp_path, [b"other"])
        yield b"two"

    receive(tmp_path, pieces())
    assert there(tmp_path) == {"image": b"onetwo"}


def test_an_upload_that_ended_between_our_open_and_our_lock_is_not_written_into(tmp_path, monkeypatch):
    """The lock is then had on the other upload's file, which is the image by now."""
    lock, opened = storage.fcntl.flock, []

    def late(descriptor, how):
        if not opened:
            opened.append(descriptor)
            receive(tmp_path, [b"theirs"])
        return lock(descriptor, how)

    storage.folder(tmp_path).mkdir()
    monkeypatch.setattr(storage.fcntl, "flock", late)
    with pytest.raises(storage.UploadBusy):
        receive(tmp_path, [b"ours"])
    assert there(tmp_path) == {"image": b"theirs"}


def test_what_a_killed_upload_left_is_no_hindrance(tmp_path):
    storage.folder(tmp_path).mkdir()
    (storage.folder(tmp_path) / "image.part").write_bytes(b"half of it and more")
    receive(tmp_path, [b"new"])
    assert there(tmp_path) == {"image": b"new"}


def test_reading_by_pieces_ends_at_the_end(tmp_path):
    receive(tmp_path, [bytes(range(100))])
    assert storage.read(tmp_path, "image", 90, 50) == bytes(range(90, 100))
    assert b"".join(storage.send(tmp_path, "image", 10, 20)) == bytes(range(10, 20))
    blocks = storage.send(tmp_path, "image", 0, 100)
    os.unlink(storage.path(tmp_path, "image"))
    assert b"".join(blocks) == bytes(range(100)), "a download under way outlives the delete"
