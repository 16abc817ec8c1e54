"""The controller's loop is blocked for good: some code of it never ends and lets nobody else go on."""

import json
import os
import signal

import requests

BEFORE = "the supervisor saw a process that lives: nobody was answered until a person killed it"
NEEDS = ()
LIMIT_S = 3
BLOCKS = """
import re, signal, sys
if sys.argv[-1:] == ["controller"] or "controller" in sys.orig_argv:
    signal.signal(signal.SIGUSR2, lambda number, frame: re.search("(a|a|a|a)*b", "a" * 60))  # in C, for ever
"""


def attack(world):
    place = world.folder
    (place / "python").mkdir()
    (place / "python/sitecustomize.py").write_text(BLOCKS)
    (place / "home").mkdir()
    port, door = world.free_port(), world.free_port()
    options = {
        "HOME": str(place / "home"),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(place / "python"), os.environ.get("PYTHONPATH")])),
        "NOVA0_WATCHDOG_S": str(LIMIT_S),
        "NOVA0_HOST": "ctl",
        "NOVA0_API__OSAPI_LISTEN_PORT": str(port),
        "NOVA0_MESH__DOOR_PORT": str(door),
        "NOVA0_MESH__LISTEN": "127.0.0.1",
        "NOVA0_MESH__ADVERTISE": "127.0.0.1",
        "NOVA0_MESH__MDNS": "false",
    }
    world.defer(lambda: world.nova0("down", **options))
    up = world.nova0("up", "--fake", "--daemon", "--no-seed", **options)
    if up.returncode:
        return False, f"nova0 up: {up.stderr[-300:]}"
    ready = place / "state/run/controller.json"
    pid = json.loads(ready.read_text())["pid"]
    os.kill(pid, signal.SIGUSR2)
    url = f"http://127.0.0.1:{port}/"

    def answered_by_another():
        try:
            return json.loads(ready.read_text())["pid"] != pid and requests.get(url, timeout=1).status_code < 500
        except (OSError, ValueError, KeyError):
            return False

    world.until(answered_by_another, 40, "another controller answers")
    log = (place / "state/log/controller.log").read_text()
    stack = log.partition("Its threads:")[2]
    return "sitecustomize.py" in stack, (
        "ended and started again; its log: " + next(line for line in log.splitlines() if "running time" in line)
    )
