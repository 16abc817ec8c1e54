"""Somebody without rights reads the command lines of all programs while a second box joins."""

import threading
from pathlib import Path

BEFORE = "the join token was read from /proc while `nova0 join` ran: whoever was quicker joined in its place"
NEEDS = ()


def attack(world):
    states = {name: world.folder / name for name in ("one", "two")}
    words = {
        name: {
            "NOVA0_MESH__MDNS": "false",
            "NOVA0_MESH__LISTEN": "127.0.0.1",
            "NOVA0_MESH__ADVERTISE": "127.0.0.1",
            "OS_CLIENT_CONFIG_FILE": str(world.folder / name / "clouds.yaml"),
            "HOME": str(world.folder / f"home-{name}"),
        }
        for name in states
    }

    def run(name, *what, **more):
        return world.nova0(*what, state=states[name], **words[name], **more)

    def end():
        run("two", "leave", "--purge", "--without-controller", "--yes")
        run("one", "destroy", "--purge", "--force", "--yes")

    world.defer(end)
    run("one", "up", "--fake", "--daemon", "--host", "one", "--port", str(world.free_port()))
    token = run("one", "token").stdout.split()[-1]
    seen, looks, done = set(), [0], threading.Event()

    def look():
        while not done.is_set():
            looks[0] += 1
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    if token.encode() in path.read_bytes():
                        seen.add(path.parent.name)
                except OSError:  # it has ended
                    continue
            done.wait(0.01)

    looking = threading.Thread(target=look)
    looking.start()
    joined = run("two", "join", "-", "--fake", "--daemon", "--host", "two", said=token)
    done.set()
    looking.join()
    refused = run("two", "join", "an-argument", "--fake")
    held = joined.returncode == 0 and not seen and refused.returncode == 2 and looks[0] > 3
    how = "it joined" if joined.returncode == 0 else joined.stderr
    return held, f"{how}; of {looks[0]} looks {len(seen)} saw the token; one given as an argument is refused"
