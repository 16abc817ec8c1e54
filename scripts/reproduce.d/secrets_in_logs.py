"""An operator sets log_level to DEBUG; a user logs in and boots a server with user data."""

import base64
import os

BEFORE = "passwords' hashes, adminPass, user_data and metadata stood in the log, in a file that everybody could read"
NEEDS = ()


def attack(world):
    os.environ["NOVA0_LOG_LEVEL"] = "DEBUG"
    cloud = world.cloud(hosts=1)
    marks = {what: f"{what}-{os.urandom(8).hex()}" for what in ("adminpass", "userdata", "metadata", "password")}
    cloud.session.post(f"{cloud.url}/identity/v3/users", json={"user": {"name": "u", "password": marks["password"]}})
    server = {
        "name": "s",
        "imageRef": cloud.image,
        "flavorRef": cloud._flavor(),
        "networks": [{"uuid": cloud.network}],
        "adminPass": marks["adminpass"],
        "metadata": {"a": marks["metadata"]},
        "user_data": base64.b64encode(marks["userdata"].encode()).decode(),
    }
    made = cloud.session.post(f"{cloud.url}/v2.1/servers", json={"server": server}).json()["server"]["id"]
    cloud.rested(made)
    text = b"".join(path.read_bytes() for path in world.folder.rglob("*.log"))
    found = [
        what for what, mark in marks.items() if mark.encode() in text or base64.b64encode(mark.encode())[:16] in text
    ]
    found += [word for word in ("$argon2id$", cloud.session.headers["X-Auth-Token"]) if word.encode() in text]
    return not found, f"in {len(text)} bytes of logs: {', '.join(found) or 'none of them'}"
