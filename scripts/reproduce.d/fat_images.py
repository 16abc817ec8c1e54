"""A member makes two hundred images with a megabyte of properties each, asks for a list, and deletes them."""

import time

BEFORE = "200 images in 7.6 s, one list answer of 96 MB, and a store of 199 MB also after they were deleted"
NEEDS = ()


def attack(world):
    cloud = world.cloud(hosts=0)
    url = f"{cloud.url}/image/v2/images"
    fat = {f"p{n:03}": "x" * 60_000 for n in range(16)}
    made = [cloud.session.post(url, json=fat).status_code for _ in range(5)]
    ids = []
    for _ in range(200):
        answer = cloud.session.post(url, json={"p": "x" * 65_000, "name": "fat"})
        made.append(answer.status_code)
        if answer.status_code == 201:
            ids.append(answer.json()["id"])
    longest = len(cloud.session.get(f"{url}?limit=1000").content)
    for image in ids:
        cloud.session.delete(f"{url}/{image}")
    store, text = world.folder / "ctl" / "store.sqlite", b"x" * 1000
    full = store.stat().st_size
    deadline = time.monotonic() + 20
    while text in store.read_bytes() and time.monotonic() < deadline:
        time.sleep(0.2)
    left = text in store.read_bytes()
    held = set(made[:5]) == {413} and len(ids) <= 100 and longest < 3 << 20 and not left
    return held, (
        f"{made.count(201)} were made, {made.count(413)} refused (413); the longest list has {longest >> 10} KiB; "
        f"of {full >> 20} MB {'something' if left else 'nothing'} of them is left after the deletes"
    )
