"""A controller whose store lost its servers, or that lies, tells a host that all its guests are deleted."""

import sqlite3

BEFORE = "every guest of the host was removed with its disk at the next comparison, within a minute"
NEEDS = ()


def attack(world):
    cloud = world.cloud(hosts=1, NOVA0_LOG_LEVEL="DEBUG")
    servers = [cloud.boot(f"s{number}") for number in range(6)]
    for server in servers:
        cloud.rested(server)
    cloud.controller.end()
    store = sqlite3.connect(cloud.folder / "ctl/store.sqlite")
    with store:  # as an audit of a store that is wrong would have it; the host's own record is at that generation
        store.execute("UPDATE instance SET host = 'lab9'")
        store.execute("UPDATE instance SET generation = generation + 5")
    store.close()
    # One that only answers the comparison: its deletes do not come.
    cloud.controller.options["PYTHONPATH"] = str(_lying(world.folder))
    cloud.controller.start()
    cloud.log_in()
    log = cloud.hosts[0].state / "host.log"
    world.until(lambda: "disown" in log.read_text() or not cloud.guests()["lab1"], 60, "the host has been answered")
    kept = len(cloud.guests()["lab1"])
    doctor = world.nova0("doctor", "--fake", state=cloud.hosts[0].state).stdout
    told = "kept in doubt" in doctor
    says = "says" if told else "does not say"
    return kept == 6 and told, f"{kept} of 6 guests kept; doctor {says} that they are in doubt"


def _lying(folder):
    """A conductor without its Removals, put in its place by Python's own sitecustomize."""
    place = folder / "lying"
    place.mkdir()
    (place / "sitecustomize.py").write_text(
        "from nova0.controller.conductor import removals\nremovals.Removals.ask = lambda *_: None\n"
    )
    return place
