"""Image v2 as clients see it: attributes, bytes, sharing, and uploads that go wrong."""

import errno
import hashlib
import json
import os
import socket
import threading

import pytest

from nova0.controller.image import books, storage
from tests.disk_images import qcow2

V2 = "/image/v2"
OCTETS = {"Content-Type": "application/octet-stream"}


def make(http, name="img", **more):
    answer = http.post(V2 + "/images", {"name": name, "disk_format": "raw", "container_format": "bare", **more})
    assert answer.status_code == 201, answer.text
    return answer.json()


def upload(http, image, data):
    return http("PUT", f"{V2}/images/{image['id']}/file", data=data, headers=OCTETS)


def show(http, image):
    return http.get(f"{V2}/images/{image['id']}").json()


def change(http, image, *operations, old=False):
    kind = "application/openstack-images-v2.{}-json-patch".format("0" if old else "1")
    path = f"{V2}/images/{image['id']}"
    return http("PATCH", path, data=json.dumps(list(operations)), headers={"Content-Type": kind})


def left_on_disk(cloud, image):
    folder = storage.folder(cloud.services.state_dir)
    return sorted(name for name in os.listdir(folder) if name.startswith(image["id"])) if folder.exists() else []


@pytest.mark.covers("S032", "S231")
def test_version_documents(cloud):
    assert cloud.nobody.get("/image", allow_redirects=False).status_code == 300
    listed = cloud.nobody.get("/image/versions")
    assert listed.status_code == 200
    assert listed.json()["versions"][0]["links"][0]["href"] == cloud.url + "/image/v2/"


@pytest.mark.covers("S032", "S231")
def test_an_image_from_making_to_removal(cloud):
    demo = cloud.demo
    image = make(demo, "life", min_disk=2, os_distro="debian", tags=["a"])
    assert (image["status"], image["visibility"], image["owner"]) == ("queued", "shared", demo.project_id)
    assert image["os_distro"] == "debian"
    assert demo.get(f"{V2}/images/{image['id']}/file").status_code == 204
    data = os.urandom(3 * 1024 * 1024 + 17)
    assert upload(demo, image, data).status_code == 204
    active = show(demo, image)
    assert (active["status"], active["size"], active["virtual_size"]) == ("active", len(data), len(data))
    assert active["checksum"] == hashlib.md5(data).hexdigest()
    assert (active["os_hash_algo"], active["os_hash_value"]) == ("sha512", hashlib.sha512(data).hexdigest())
    got = demo.get(f"{V2}/images/{image['id']}/file")
    assert got.content == data
    assert got.headers["Content-MD5"] == active["checksum"]
    part = demo.get(f"{V2}/images/{image['id']}/file", headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, data[10:20])
    assert part.headers["Content-Range"] == f"bytes 10-19/{len(data)}"
    past = demo.get(f"{V2}/images/{image['id']}/file", headers={"Range": f"bytes={len(data)}-"})
    assert past.status_code == 416
    assert demo.delete(f"{V2}/images/{image['id']}").status_code == 204
    assert demo.get(f"{V2}/images/{image['id']}").status_code == 404
    assert left_on_disk(cloud, image) == []


def test_bytes_may_come_chunked_and_only_once(cloud):
    image = make(cloud.demo, "chunked")
    assert upload(cloud.demo, image, iter([b"a" * 1000, b"b" * 1000])).status_code == 204
    assert show(cloud.demo, image)["size"] == 2000
    again = upload(cloud.demo, image, b"other")
    assert again.status_code == 409
    assert "active" in again.json()["message"]
    assert cloud.demo.get(f"{V2}/images/{image['id']}/file").content.startswith(b"aaa")


def begin_upload(cloud, image, declared):
    """A socket on which an upload of `declared` bytes has begun."""
    sock = socket.create_connection(("127.0.0.1", int(cloud.url.rpartition(":")[2])), timeout=20)
    sock.sendall(
        f"PUT {V2}/images/{image['id']}/file HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {cloud.demo.token}\r\n"
        f"Content-Type: application/octet-stream\r\nContent-Length: {declared}\r\n\r\n".encode()
    )
    return sock


def test_an_upload_cut_short_leaves_the_image_queued_and_nothing_behind(cloud):
    image = make(cloud.demo, "cut")
    with begin_upload(cloud, image, 5_000_000) as sock:
        sock.sendall(bytes(2_000_000))
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(12) == b"HTTP/1.1 400"
    assert show(cloud.demo, image)["status"] == "queued"
    assert left_on_disk(cloud, image) == []
    assert upload(cloud.demo, image, b"whole").status_code == 204


def test_two_uploads_at_once_are_not_mixed(cloud):
    image = make(cloud.demo, "twice")
    with begin_upload(cloud, image, 6) as first:
        first.sendall(b"abc")
        part = storage.folder(cloud.services.state_dir) / f"{image['id']}.part"
        waiting = threading.Event()
        while not part.exists():
            waiting.wait(0.02)
        assert upload(cloud.demo, image, b"other").status_code == 409
        first.sendall(b"def")
        assert first.recv(12) == b"HTTP/1.1 204"
    assert cloud.demo.get(f"{V2}/images/{image['id']}/file").content == b"abcdef"


def test_a_full_disk_is_told_and_the_image_stays_queued(cloud, monkeypatch):
    image = make(cloud.demo, "full")
    huge = begin_upload(cloud, image, 1 << 60)
    answer = huge.recv(65536)
    huge.close()
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"GiB are free" in answer

    def no_room(descriptor, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(storage.atomic_file, "write_all", no_room)
    answer = upload(cloud.demo, image, bytes(10_000))
    monkeypatch.undo()
    assert answer.status_code == 507
    assert "state_path" in answer.json()["message"]
    assert show(cloud.demo, image)["status"] == "queued"
    assert left_on_disk(cloud, image) == []


@pytest.mark.parametrize(
    ("declared", "data", "word"),
    [
        ("qcow2", b"not a qcow2", "declared qcow2"),
        ("raw", qcow2(), "declared raw"),
        ("qcow2", qcow2(backing=512), "backing file"),
        ("qcow2", qcow2(incompatible=4), "another file"),
        ("qcow2", qcow2(version=9), "version 9"),
        ("qcow2", b"QFI\xfb", "cut short"),
        ("raw", b"KDMV" + bytes(1000), "vmdk"),
        ("qcow2", qcow2(size=2 << 60), "at most"),
        ("qcow2", qcow2(method=2), "encrypted"),
        ("qcow2", qcow2(l1_entries=0x7FFFFFFF), "entries"),
        ("qcow2", qcow2(snapshots=1_000_000), "snapshots"),
        ("qcow2", qcow2()[:200], "cut short"),
        ("raw", bytes(0x8001) + b"CD001" + bytes(2000), "iso"),
        ("raw", b"", "no bytes"),
    ],
)
def test_bytes_that_are_not_what_was_declared_are_refused(cloud, declared, data, word):
    image = make(cloud.demo, "wrong", disk_format=declared)
    answer = upload(cloud.demo, image, data)
    assert answer.status_code == 400
    assert word in answer.json()["message"]
    assert show(cloud.demo, image)["status"] == "queued"
    assert left_on_disk(cloud, image) == []


def test_a_sound_qcow2_tells_its_virtual_size(cloud):
    image = make(cloud.demo, "sound", disk_format="qcow2")
    assert upload(cloud.demo, image, qcow2(size=7 << 30)).status_code == 204
    assert show(cloud.demo, image)["virtual_size"] == 7 << 30


def test_an_image_of_a_larger_disk_than_the_flavor_gives_is_told_at_once(cloud):
    image = make(cloud.demo, "large", disk_format="qcow2")
    assert upload(cloud.demo, image, qcow2(size=70 << 30)).status_code == 204
    flavor = {"name": "small", "ram": 64, "vcpus": 1, "disk": 20}
    made = cloud.admin.post("/v2.1/flavors", {"flavor": flavor}).json()["flavor"]["id"]
    wanted = {"name": "s", "imageRef": image["id"], "flavorRef": made, "networks": "none"}
    answer = cloud.demo.post("/v2.1/servers", {"server": wanted}, version="2.90")
    assert cloud.admin.delete(f"/v2.1/flavors/{made}").status_code == 202
    assert answer.status_code == 400
    assert str(70 << 30) in answer.json()["badRequest"]["message"]


@pytest.mark.covers("S075")
@pytest.mark.parametrize(
    ("body", "code", "word"),
    [
        ({"name": 5}, 400, "name"),
        ({"name": "x" * 256}, 400, "name"),
        ({"min_disk": -1}, 400, "min_disk"),
        ({"min_ram": "lots"}, 400, "min_ram"),
        ({"disk_format": "floppy"}, 400, "disk_format"),
        ({"visibility": "everyone"}, 400, "visibility"),
        ({"tags": "a"}, 400, "tags"),
        ({"protected": "yes"}, 400, "protected"),
        ({"os_distro": 5}, 400, "os_distro"),
        ({"id": "../../etc/passwd"}, 400, "id"),
        ({"status": "active"}, 403, "status"),
        ({"checksum": "0"}, 403, "checksum"),
        ({"visibility": "public"}, 403, "visibility"),
        ({"owner": "somebody"}, 403, "owner"),
        ([1], 400, "object"),
    ],
)
def test_bad_attributes_name_themselves_and_make_nothing(cloud, body, code, word):
    before = len(cloud.demo.get(V2 + "/images?limit=1000").json()["images"])
    answer = cloud.demo.post(V2 + "/images", body)
    assert answer.status_code == code, answer.text
    assert word in answer.json()["message"]
    assert len(cloud.demo.get(V2 + "/images?limit=1000").json()["images"]) == before


@pytest.mark.covers("S231")
def test_changes_come_as_patches_of_both_forms(cloud):
    demo = cloud.demo
    image = make(demo, "patched", colour="red")
    changed = change(
        demo,
        image,
        {"op": "replace", "path": "/name", "value": "new"},
        {"op": "add", "path": "/a~1b", "value": "slash"},
        {"op": "remove", "path": "/colour"},
    ).json()
    assert (changed["name"], changed["a/b"], "colour" in changed) == ("new", "slash", False)
    assert change(demo, image, {"replace": "/name", "value": "old form"}, old=True).json()["name"] == "old form"
    for operation, code in (
        ({"op": "replace", "path": "/nope", "value": "x"}, 409),
        ({"op": "remove", "path": "/nope"}, 409),
        ({"op": "remove", "path": "/name"}, 403),
        ({"op": "replace", "path": "/id", "value": "x"}, 403),
        ({"op": "replace", "path": "/status", "value": "active"}, 403),
        ({"op": "move", "path": "/name", "value": "x"}, 400),
        ({"op": "add", "path": "name", "value": "x"}, 400),
        ({"op": "add", "path": "/name"}, 400),
        ({"op": "replace", "path": "/visibility", "value": "public"}, 403),
        ({"op": "replace", "path": "/min_ram", "value": "x"}, 400),
    ):
        assert change(demo, image, operation).status_code == code, operation
    both = change(demo, image, {"op": "replace", "path": "/name", "value": "half"}, {"op": "remove", "path": "/nope"})
    assert both.status_code == 409
    assert show(demo, image)["name"] == "old form", "a patch is done whole or not at all"
    answer = demo.patch(f"{V2}/images/{image['id']}", [])
    assert answer.status_code == 415


@pytest.mark.covers("S341", "S342")
def test_who_sees_which_image(cloud):
    demo, stranger, admin = cloud.demo, cloud.stranger, cloud.admin
    private = make(demo, "v-private", visibility="private")
    shared = make(demo, "v-shared")
    community = make(demo, "v-community", visibility="community")
    public = make(admin, "v-public", visibility="public")

    def listed(http, query=""):
        names = http.get(f"{V2}/images?limit=1000{query}").json()["images"]
        return {image["name"] for image in names if image["name"].startswith("v-")}

    assert listed(demo) == {"v-private", "v-shared", "v-community", "v-public"}
    assert listed(stranger) == {"v-public"}
    assert listed(stranger, "&visibility=community") == {"v-community"}
    assert show(stranger, community)["id"] == community["id"]
    for image in (private, shared):
        assert stranger.get(f"{V2}/images/{image['id']}").status_code == 404
        assert stranger.delete(f"{V2}/images/{image['id']}").status_code == 404
    assert stranger.delete(f"{V2}/images/{public['id']}").status_code == 403
    members = f"{V2}/images/{shared['id']}/members"
    assert demo.post(members, {"member": stranger.project_id}).status_code == 200
    assert demo.post(members, {"member": stranger.project_id}).status_code == 409
    assert show(stranger, shared)["id"] == shared["id"]
    assert listed(stranger) == {"v-public"}, "not in lists before it is accepted"
    own = f"{members}/{stranger.project_id}"
    assert demo.put(own, {"status": "accepted"}).status_code == 403
    assert stranger.put(own, {"status": "maybe"}).status_code == 400
    assert stranger.put(own, {"status": "accepted"}).json()["status"] == "accepted"
    assert listed(stranger) == {"v-public", "v-shared"}
    assert stranger.delete(own).status_code == 403
    assert demo.delete(own).status_code == 204
    assert listed(stranger) == {"v-public"}
    assert demo.post(f"{V2}/images/{private['id']}/members", {"member": "x"}).status_code == 403


def test_protected_hidden_and_deactivated_images(cloud):
    demo = cloud.demo
    image = make(demo, "kept", protected=True)
    upload(demo, image, b"bytes")
    assert demo.delete(f"{V2}/images/{image['id']}").status_code == 403
    change(demo, image, {"op": "replace", "path": "/os_hidden", "value": True})
    assert demo.get(V2 + "/images?name=kept").json()["images"] == []
    assert len(demo.get(V2 + "/images?name=kept&os_hidden=true").json()["images"]) == 1
    assert demo.post(f"{V2}/images/{image['id']}/actions/deactivate").status_code == 204
    assert demo.get(f"{V2}/images/{image['id']}/file").status_code == 403
    assert cloud.admin.get(f"{V2}/images/{image['id']}/file").content == b"bytes"
    assert demo.post(f"{V2}/images/{image['id']}/actions/reactivate").status_code == 204
    assert show(demo, image)["status"] == "active"
    queued = make(demo, "never")
    assert demo.post(f"{V2}/images/{queued['id']}/actions/deactivate").status_code == 403


def test_lists_are_filtered_sorted_and_paged(cloud):
    demo = cloud.demo
    made = [make(demo, f"l-{number}", group="l", min_ram=number, tags=[f"t{number}"]) for number in range(5)]
    ids = [image["id"] for image in made]

    def names(query):
        answer = demo.get(f"{V2}/images?{query}")
        assert answer.status_code == 200, answer.text
        return [image["name"] for image in answer.json()["images"]]

    assert names("group=l") == ["l-4", "l-3", "l-2", "l-1", "l-0"], "newest first"
    assert names("group=l&sort=name:asc") == [f"l-{number}" for number in range(5)]
    assert names("group=l&sort_key=min_ram&sort_dir=asc&limit=2") == ["l-0", "l-1"]
    assert sorted(names(f"id=in:{ids[0]},{ids[3]}")) == ["l-0", "l-3"]
    assert names('name=in:"l-2",l-7') == ["l-2"]
    assert names("tag=t1&group=l") == ["l-1"]
    assert names("group=l&status=active") == []
    assert names("group=l&created_at=lt:2000-01-01T00:00:00Z") == []
    seen, path = [], f"{V2}/images?group=l&limit=2&sort=name:asc"
    while path:
        answer = demo.get(path).json()
        seen += [image["name"] for image in answer["images"]]
        path = "/image" + answer["next"] if "next" in answer else None
    assert seen == [f"l-{number}" for number in range(5)]
    for bad in ("limit=-1", "sort=nope", "sort_dir=up", "marker=nope", "visibility=x", "size_min=x", "created_at=x"):
        assert demo.get(f"{V2}/images?{bad}").status_code == 400, bad


def test_an_empty_id_is_no_image(cloud):
    assert cloud.demo.get(V2 + "/images/").status_code == 404
    assert cloud.demo.delete(V2 + "/images/").status_code == 404


def test_tags_one_by_one(cloud):
    image = make(cloud.demo, "tags")
    path = f"{V2}/images/{image['id']}/tags/blue"
    assert cloud.demo.put(path).status_code == 204
    assert cloud.demo.put(path).status_code == 204
    assert show(cloud.demo, image)["tags"] == ["blue"]
    assert cloud.demo.delete(path).status_code == 204
    assert cloud.demo.delete(path).status_code == 404


@pytest.mark.covers("S233")
def test_a_file_of_this_machine_becomes_an_image_hosts_can_read(cloud, tmp_path):
    services = cloud.services
    parts = {}
    for part in ("kernel", "ramdisk"):
        (tmp_path / part).write_bytes(part.encode())
        parts[f"{part}_id"] = books.register_file(
            cloud.store, services.state_dir, name=part, path=tmp_path / part, disk_format="raw"
        )
    (tmp_path / "disk").write_bytes(bytes(range(256)) * 10)
    image_id = books.register_file(
        cloud.store, services.state_dir, name="disk", path=tmp_path / "disk", disk_format="raw", properties=parts
    )
    found = cloud.store.read(lambda: books.ref(image_id))
    assert found.sha512 == hashlib.sha512((tmp_path / "disk").read_bytes()).hexdigest()
    assert (found.kernel.name, found.ramdisk.name) == ("kernel", "ramdisk")
    assert books.read(services.state_dir, image_id, 250, 10) == bytes([*range(250, 256), *range(4)])
    assert books.read(services.state_dir, image_id, 2555, 100) == bytes(range(251, 256))
    queued = make(cloud.demo, "no bytes")
    assert cloud.store.read(lambda: books.ref(queued["id"])) is None


def test_memory_stays_bounded_while_a_large_image_comes_and_goes(cloud):
    import resource

    image = make(cloud.demo, "large")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    piece = bytes(1024 * 1024)
    assert upload(cloud.demo, image, (piece for _ in range(200))).status_code == 204
    with cloud.demo.session.get(
        f"{cloud.url}{V2}/images/{image['id']}/file", headers={"X-Auth-Token": cloud.demo.token}, stream=True
    ) as answer:
        assert sum(len(block) for block in answer.iter_content(1 << 20)) == 200 << 20
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown_mb < 60, f"{grown_mb:.0f} MiB more for an image of 200"
    assert cloud.demo.delete(f"{V2}/images/{image['id']}").status_code == 204


@pytest.mark.slow
@pytest.mark.covers("S032", "S231")
def test_openstack_client_creates_lists_saves_and_deletes(clients, tmp_path):
    os_ = clients.openstack
    blob = tmp_path / "blob"
    blob.write_bytes(os.urandom(100_000))
    made = json.loads(
        os_(
            "image",
            "create",
            "--disk-format",
            "raw",
            "--container-format",
            "bare",
            "--file",
            str(blob),
            "osc-i",
            "-f",
            "json",
        )
    )
    assert made["status"] == "active"
    assert "osc-i" in os_("image", "list", "-f", "value", "-c", "Name")
    os_("image", "set", "--property", "os_distro=debian", "--tag", "blue", "osc-i")
    shown = json.loads(os_("image", "show", "osc-i", "-f", "json"))
    assert (shown["tags"], shown["properties"]["os_distro"]) == (["blue"], "debian")
    os_("image", "save", "--file", str(tmp_path / "back"), "osc-i")
    assert (tmp_path / "back").read_bytes() == blob.read_bytes()
    os_("image", "delete", "osc-i")
    assert "osc-i" not in os_("image", "list", "-f", "value", "-c", "Name")
