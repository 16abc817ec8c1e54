"""A machine that joined as a member, and one as a host, answer for the conductor: hosts should remove their guests."""

import json
import subprocess
import sys
import time
from pathlib import Path

from nova0.mesh.joining import mint_token

BEFORE = "4 of 4 guests of an honest host were removed within two minutes; the store went on showing them ACTIVE"
NEEDS = ()
SERVERS = 4
ALL_HERE_S = 75  # hosts compare every minute
HOSTILE = """
from gevent import monkey; monkey.patch_all()
import gevent, sys
from nova0.mesh.joining import join
from nova0.mesh.node import Node
from nova0.mesh.settings import MeshSettings
from nova0.rpcapi.conductor import ConductorAPI
def disowned(guest):
    try:
        from nova0.objects.host import Disowned
    except ImportError:  # as hosts were answered before
        return guest.uuid
    return Disowned(uuid=guest.uuid, reason="deleted", generation=guest.generation)
def say(name, answer):
    def run(self, **arguments):
        print(name, flush=True)
        return answer(**arguments)
    return run
class Mine(ConductorAPI):
    leave = say("leave", lambda uuid, generation: 20000)
    report = say("report", lambda state: None)
    instances_of = say("instances_of", lambda: [])
    compare = say("compare", lambda guests: [disowned(guest) for guest in guests])
    networks_of = say("networks_of", lambda: [])
    power_changed = say("power_changed", lambda uuid, generation, power_state: None)
folder, host, role, token = sys.argv[1:]
settings = MeshSettings(state_dir=folder, host=host, roles=(role, "controller"), listen="127.0.0.1", mdns=False)
join(settings, token)
node = Node(settings)
node.offers.add(Mine())  # past the check of its own node
node.start()
print("ready", flush=True)
gevent.sleep(600)
"""


def attack(world):
    cloud = world.cloud(hosts=1)
    servers = [cloud.boot(f"s{number}") for number in range(SERVERS)]
    for server in servers:
        cloud.rested(server)
    hostiles = []
    for role in ("member", "host"):
        token = mint_token(cloud._settings("ctl", "controller", door_port=cloud.door), roles=(role,))
        folder = world.folder / f"evil-{role}"
        said = open(world.folder / f"evil-{role}.out", "w+")  # noqa: SIM115 (read below)
        words = [sys.executable, "-c", HOSTILE, str(folder), f"evil-{role}", role, token]
        process = subprocess.Popen(words, stdout=said, stderr=subprocess.DEVNULL)
        world.defer(process.kill)
        hostiles.append(Path(said.name))
    world.until(lambda: all("ready" in path.read_text() for path in hostiles), 30, "the hostile machines have joined")
    end = time.monotonic() + ALL_HERE_S

    def over():
        fewer = sum(len(guests) for guests in cloud.guests().values()) < SERVERS
        return fewer or time.monotonic() > end

    world.until(over, ALL_HERE_S + 30, "a round of comparing")
    left = sum(len(guests) for guests in cloud.guests().values())
    asked = _asked(hostiles)
    shown = json.loads(world.nova0("agents", "--json", state=cloud.folder / "ctl").stdout or "[]")
    wrong = {member["host"] for member in shown if "conductor" in member.get("wrong_topics", ())}
    answer = f"{left} of {SERVERS} guests are left, {len(asked)} questions were asked of the hostile machines"
    answer += f", `nova0 agents` shows {', '.join(sorted(wrong)) or 'nobody'} as wrong"
    return left == SERVERS and not asked and wrong == {"evil-member", "evil-host"}, answer


def _asked(hostiles):
    return [line for path in hostiles for line in path.read_text().split() if line != "ready"]
