"""A project has so many images, so many bytes and so many properties, and no more, however it asks."""

import threading

import pytest
import requests
from test_image import OCTETS, V2, change, make, show, upload

MIB = 1 << 20


@pytest.fixture
def project(cloud, request):
    """A member of a project of its own, and what an administrator sets for it."""
    name = f"p{abs(hash(request.node.name)) % 10**9}"
    member = cloud.new_user(f"u-{name}", name, "member")

    def allow(**limits):
        answer = cloud.admin.put(f"/nova0/v1/image-quotas/{member.project_id}", limits)
        assert answer.status_code == 200, answer.text
        return answer.json()

    member.allow = allow
    return member


def chunked(http, image, pieces):
    def sent():
        yield from pieces

    try:
        return http("PUT", f"{V2}/images/{image['id']}/file", data=sent(), headers=OCTETS).status_code
    except requests.ConnectionError:  # refused before the end: the answer may be lost with the connection
        return 413


def kept(cloud, http, image):
    """Whether any byte of it is on the disk."""
    return [path for path in (cloud.services.state_dir / "images").glob(f"{image['id']}*") if path.stat().st_size]


def test_one_image_too_many_is_413_in_the_services_words_and_a_deleted_one_makes_room(project):
    project.allow(image_count_total=3)
    images = [make(project) for _ in range(3)]
    refused = project.post(V2 + "/images", {"name": "x"})
    assert refused.status_code == 413 and "image_count_total is over limit of 3" in refused.text
    assert len(project.get(V2 + "/images").json()["images"]) == 3
    assert project.delete(f"{V2}/images/{images[0]['id']}").status_code == 204
    make(project)


def test_of_many_at_once_as_many_are_made_as_fit(project):
    project.allow(image_count_total=5)
    codes = []
    asking = [
        threading.Thread(target=lambda: codes.append(project.post(V2 + "/images", {"name": "x"}).status_code))
        for _ in range(20)
    ]
    [one.start() for one in asking]
    [one.join() for one in asking]
    assert sorted(codes) == [201] * 5 + [413] * 15


def test_properties_have_a_number_and_bytes_and_only_growth_is_refused(project):
    project.allow(image_property_quota=4, image_property_bytes=100)
    assert project.post(V2 + "/images", {f"k{n}": "v" for n in range(5)}).status_code == 413
    refused = project.post(V2 + "/images", {"name": "x", "key": "v" * 98})
    assert refused.status_code == 413 and "image_property_bytes" in refused.text and "Maximum: 100" in refused.text
    image = make(project, key="v" * 90, other="1")
    assert change(project, image, {"op": "add", "path": "/third", "value": "22"}).status_code == 413
    assert "third" not in show(project, image)
    assert change(project, image, {"op": "replace", "path": "/key", "value": "w" * 90}).status_code == 200
    project.allow(image_property_bytes=10)
    assert change(project, image, {"op": "replace", "path": "/key", "value": "w" * 91}).status_code == 413
    assert change(project, image, {"op": "replace", "path": "/name", "value": "n"}).status_code == 200
    assert change(project, image, {"op": "replace", "path": "/key", "value": "w" * 80}).status_code == 200


def test_many_fat_images_are_refused_and_a_list_of_them_is_short(project):
    codes = [project.post(V2 + "/images", {f"k{n}": "v" * 60_000 for n in range(16)}).status_code for _ in range(3)]
    assert codes == [413] * 3
    for _ in range(100):
        assert project.post(V2 + "/images", {"name": "fat", "k": "v" * 65_000}).status_code == 201
    assert project.post(V2 + "/images", {"name": "fat"}).status_code == 413
    for path, key in (("/image/v2/images?name=fat&limit=1000", "images"), ("/v2.1/images/detail?name=fat", "images")):
        seen, pages = set(), 0
        following = path
        while following:
            answer = project.get(following, version="2.1")
            assert len(answer.content) < 3 * MIB, f"{path}: {len(answer.content)}"
            found = answer.json()
            seen |= {image["id"] for image in found[key]}
            pages += 1
            link = found.get("next") or next((one["href"] for one in found.get(f"{key}_links", ())), None)
            following = link and ("/image" if link.startswith("/v2/") else "") + link.replace(project.url, "")
        assert len(seen) == 100 and pages > 2, path


def test_bytes_with_a_length_are_refused_before_they_come(cloud, project):
    project.allow(image_size_total=2)
    assert upload(project, make(project), bytes(MIB)).status_code == 204
    late = make(project)
    refused = upload(project, late, bytes(MIB + 1))
    assert refused.status_code == 413 and "image_size_total" in refused.text
    assert show(project, late)["status"] == "queued" and not kept(cloud, project, late)
    assert upload(project, late, bytes(MIB)).status_code == 204
    assert upload(project, make(project), b"x").status_code == 413
    usage = project.get(V2 + "/info/usage").json()["usage"]
    assert usage["image_size_total"] == {"limit": 2, "usage": 2} and usage["image_count_total"]["usage"] == 3


def test_bytes_of_unknown_length_are_cut_off_soon_after_the_limit(cloud, project):
    project.allow(image_size_total=5)
    image, sent = make(project), []

    def endless():
        for _ in range(2000):
            sent.append(1)
            yield bytes(MIB // 4)

    assert chunked(project, image, endless()) == 413
    assert len(sent) < 200, "of 500 MiB it took no more than what was on its way"
    assert show(project, image)["status"] == "queued" and not kept(cloud, project, image)
    assert chunked(project, image, [bytes(MIB)] * 5) == 204


def test_uploads_at_once_share_what_is_left(cloud, project):
    project.allow(image_size_total=4)
    images, codes = [make(project) for _ in range(8)], {}

    def send(image, known):
        data = bytes(2 * MIB)
        codes[image["id"]] = upload(project, image, data).status_code if known else chunked(project, image, [data])

    sending = [threading.Thread(target=send, args=(image, n % 2)) for n, image in enumerate(images)]
    [one.start() for one in sending]
    [one.join() for one in sending]
    active = [image for image in images if show(project, image)["status"] == "active"]
    assert 1 <= len(active) <= 2 and all(codes[image["id"]] == 204 for image in active)
    assert len([code for code in codes.values() if code == 413]) == 8 - len(active)
    for image in images:
        assert bool(kept(cloud, project, image)) == (image in active)


def test_a_limit_of_ones_own_is_set_by_administrators_only_and_seen_by_the_project(cloud, project):
    path = f"/nova0/v1/image-quotas/{project.project_id}"
    assert project.put(path, {"image_count_total": -1}).status_code == 403
    assert project.allow(image_count_total=7)["limits"]["image_count_total"] == 7
    assert project.get(path).json()["limits"]["image_count_total"] == 7
    assert cloud.demo.get(path).status_code == 403
    cloud.admin.delete(f"/v2.1/os-quota-sets/{project.project_id}")
    assert project.get(path).json()["limits"]["image_count_total"] == 7, "the servers' quotas are others"
    assert project.allow(image_count_total=None)["limits"]["image_count_total"] == 100
    for wrong in ({"image_count_total": -2}, {"image_count_total": 2**31}, {"nothing": 1}, {"image_size_total": "x"}):
        answer = cloud.admin.put(path, wrong)
        assert answer.status_code == 400 and next(iter(wrong)) in answer.text
    assert cloud.admin.put("/nova0/v1/image-quotas/none", {}).status_code == 404
