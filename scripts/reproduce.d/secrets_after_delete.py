"""A server with a password and user data is deleted; then somebody reads every file of the controller and its host."""

import base64

BEFORE = "password and user data of a deleted server stayed in the store, in clear"
NEEDS = ()
PASSWORD = "Reef-anchor-4711"  # noqa: S105
SECRET = "token=lantern-harbour-0815"  # noqa: S105


def attack(world):
    cloud = world.cloud(hosts=1, NOVA0_FAKE__FETCH_IMAGES="true")
    data = base64.b64encode(f"#!/bin/sh\n# {SECRET}\n".encode() * 300).decode()
    marks = [PASSWORD.encode(), SECRET.encode(), data[:400].encode()]
    body = {
        "name": "s",
        "imageRef": cloud.image,
        "flavorRef": cloud._flavor(),
        "networks": [{"uuid": cloud.network}],
        "adminPass": PASSWORD,
        "user_data": data,
        "config_drive": True,
    }
    made = cloud.session.post(f"{cloud.url}/v2.1/servers", json={"server": body})
    server = made.json()["server"]["id"]
    if (cloud.rested(server) or {}).get("status") != "ACTIVE":
        return False, f"the server did not boot: {made.text}"
    try:
        world.until(lambda: not _where(world, marks[:1], but="disk.config"), 15, "its password is on its drive only")
    except AssertionError:
        return False, f"its password is in {', '.join(_where(world, marks[:1]))} while it runs"
    there = _where(world, marks)
    cloud.delete(server)
    world.until(lambda: cloud.server(server) is None and not cloud.unfinished(), 30, "the server is gone")
    try:
        world.until(lambda: not _where(world, marks), 15, "its secrets are gone")
    except AssertionError:
        return False, f"still in {', '.join(_where(world, marks))}"
    return bool(there), f"while it ran in {len(there)} files, the password on its drive only; after the delete in none"


def _where(world, marks, but=""):
    found = []
    for path in world.folder.rglob("*"):
        if path.is_file() and path.name != but:
            try:
                content = path.read_bytes()
            except OSError:  # just removed
                continue
            if any(mark in content for mark in marks):
                found.append(str(path.relative_to(world.folder)))
    return found
