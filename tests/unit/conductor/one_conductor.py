"""A controller as a process of its own, on a store that others work on, too; its hosts are scripted and its own.

    one_conductor.py STORE NUMBER HOSTS

Says READY, begins when a line comes on standard input, ends when nothing is left to do in the store, and says what
its hosts hold and how often it committed: [{host: [uuid, ...]}, commits].
"""

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

import gevent  # noqa: E402
from nova0.agents.conductor import ConductorAgent  # noqa: E402

from nova0.controller.assembly import Controller  # noqa: E402
from nova0.controller.db.operation_tables import OperationRow  # noqa: E402
from nova0.controller.db.store import Store  # noqa: E402
from nova0.mesh.local import LocalNet  # noqa: E402
from tests.unit.conductor.conftest import ScriptedHost  # noqa: E402

PATIENCE_S = 120.0


def left():
    return OperationRow.select().where(OperationRow.state.in_(("ready", "running"))).exists()


def main(path, number, names):
    net, store = LocalNet(timers=False), Store(path)
    hosts = [ScriptedHost(net, name) for name in names]
    bus = net.bus(f"ctl{number}", "controller", ("controller",))
    controller = Controller(
        store, bus, state_dir=path.parent, cluster_id="c", public_url="http://127.0.0.1:0", owner=f"ctl{number}#1"
    )
    bus.offer(ConductorAgent(controller))
    bus.start()
    commits = []
    store.on_commit(lambda: commits.append(1))
    controller.scheduler.views()  # what it believes of the hosts before anybody places anything
    print("READY", flush=True)
    sys.stdin.readline()
    controller.start()
    with gevent.Timeout(PATIENCE_S):
        while store.read(left):
            gevent.sleep(0.02)
    controller.stop()
    store.close()
    print(json.dumps([{host.name: list(host.guests_here) for host in hosts}, len(commits)]), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3].split(","))
