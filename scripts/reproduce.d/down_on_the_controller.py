"""Somebody types `nova0 down` on the controller, to restart it, while servers run there and on another host."""

import os

BEFORE = "every server of the whole cloud was deleted, on other hosts too, without a question"
NEEDS = ()


def attack(world):
    states = {name: world.folder / name for name in ("one", "two")}
    words = {
        name: {"HOME": str(world.folder), "NOVA0_MY_IP": "127.0.0.1", "NOVA0_MESH__MDNS": "false",
               "OS_CLIENT_CONFIG_FILE": str(world.folder / "clouds.yaml")}
        for name in states
    }  # fmt: skip

    def run(name, *what, **more):
        return world.nova0(*what, state=states[name], **words[name], **more)

    def end():
        run("one", "destroy", "--purge", "--force", "--yes")
        run("two", "leave", "--purge", "--without-controller", "--yes")

    world.defer(end)
    run("one", "up", "--fake", "--daemon", "--host", "one", "--port", str(world.free_port()))
    token = run("one", "token").stdout.split()[-1]
    run("two", "join", "-", "--fake", "--daemon", "--host", "two", said=token)
    for name in states:
        world.until(lambda name=name: run("one", "launch", "tiny", f"on-{name}", "--host", name, OS_CLOUD="nova0-admin")
                    .returncode == 0, 60, f"a server on {name}")  # fmt: skip
    run("one", "down")
    run("one", "up", "--daemon")
    left = run("one", "ps", "--all", OS_CLOUD="nova0-admin").stdout
    kept = [name for name in states if f"on-{name}" in left]
    refused = run("one", "destroy", "--purge").returncode, run("one", "destroy", "--yes").returncode
    held = len(kept) == 2 and refused == (1, 1) and os.path.exists(states["one"] / "store.sqlite")
    return held, f"{len(kept)} of 2 servers are there; destroy, with another host joined, ended with {refused[0]}"
