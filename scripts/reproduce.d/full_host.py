"""Three thousand servers on one host; then the controller is started again."""

import json
import sqlite3
import time

import requests

from tests.api.crowd import fill

BEFORE = "with 10,000 a log-in took 63 s and `nova0 up` gave up after 60 s: no controller could be started"
NEEDS = ()
SERVERS = 3000
READY_S, LOGIN_S = 20.0, 2.0


def attack(world):
    cloud = world.cloud(hosts=1)
    [host] = cloud.hosts
    for process in (host, cloud.controller):
        process.end()
    store = cloud.folder / "ctl" / "store.sqlite"
    uuids = fill(store, servers=SERVERS, hosts=["lab1"])
    (host.state / "fake-guests.json").write_text(json.dumps(running(store)))
    began = time.monotonic()
    cloud.controller.start()
    ready_s = time.monotonic() - began
    host.start()
    longest_s, adopted = 0.0, set()
    records = host.state / "instances-records"

    def all_adopted():
        nonlocal longest_s
        began = time.monotonic()
        cloud.log_in()
        longest_s = max(longest_s, time.monotonic() - began)
        adopted.update(path.stem for path in records.glob("*.json"))
        return len(adopted) >= SERVERS

    world.until(all_adopted, 40, f"the host has taken up {SERVERS} servers")
    adopted_s = time.monotonic() - began
    answer = requests.get(
        f"{cloud.url}/v2.1/servers/detail?all_tenants=1", headers=dict(cloud.session.headers), timeout=30
    )
    shown = {server["id"]: server["status"] for server in answer.json()["servers"]}
    well = len(shown) == 1000 and set(shown.values()) == {"ACTIVE"} and adopted == set(uuids)
    held = well and ready_s < READY_S and longest_s < LOGIN_S
    return held, (
        f"ready after {ready_s:.1f} s; {len(adopted)} servers taken up within {adopted_s:.1f} s, and the slowest "
        f"log-in meanwhile took {longest_s:.2f} s"
    )


def running(store):
    """The guests as the fake hypervisor of the host would have kept them."""
    base = sqlite3.connect(f"file:{store}?mode=ro", uri=True)
    rows = base.execute("SELECT uuid, id, name FROM instance WHERE host = 'lab1'").fetchall()
    base.close()
    return {
        uuid: {"generation": 1, "name": name, "domain": f"instance-{number:08x}", "directory": "/nowhere", "power": 1}
        for uuid, number, name in rows
    }
