"""TEST ONLY: a conductor that moves no guest. It ends each operation by writing the rows a real one would end with,
so that the API's journeys can be tested without hosts."""

import gevent
from gevent.event import Event

from nova0.controller.conductor import journal
from nova0.controller.conductor.operation import record_fault
from nova0.controller.db.base_table import now
from nova0.controller.db.compute_tables import ClaimRow, HostRow, InstanceRow
from nova0.controller.db.network_tables import NetworkRow, SubnetRow
from nova0.controller.db.operation_tables import OperationRow
from nova0.controller.db.store import Store
from nova0.controller.network import books as networks
from nova0.objects.states import PowerState, VmState

HOST = "lab1"
RESTS = {
    "start": (VmState.ACTIVE, PowerState.RUNNING),
    "stop": (VmState.STOPPED, PowerState.SHUTDOWN),
    "reboot": (VmState.ACTIVE, PowerState.RUNNING),
    "pause": (VmState.PAUSED, PowerState.PAUSED),
    "unpause": (VmState.ACTIVE, PowerState.RUNNING),
}


class StandIn:
    """Takes up every operation as it is committed. `held` set: it waits, so that states in between can be seen."""

    def __init__(self, store: Store, host: str) -> None:
        self.store, self.host, self.held, self.fail_with = store, host, False, ""
        self._rung = Event()
        loop = gevent.get_hub().loop
        self._bell = loop.async_()
        self._bell.start(self._rung.set)
        store.on_commit(self._bell.send)
        self._greenlet = gevent.spawn(self._run)

    def release(self) -> None:
        self.held = False
        self._rung.set()

    def stop(self) -> None:
        self._greenlet.kill()
        self._bell.stop()

    def _run(self) -> None:
        while True:
            self._rung.wait()
            self._rung.clear()
            while self.store.write(self._one):
                pass

    def _one(self) -> bool:
        if self.held:  # seen on the store's thread: nothing recorded after it was set is taken up
            return False
        row = OperationRow.select().where(OperationRow.state == "ready").order_by(OperationRow.id).first()
        if row is None:
            return False
        server = InstanceRow.get(InstanceRow.uuid == row.subject)
        journal.event_started(row.data["action_id"], f"compute_{row.kind}", self.host)
        error = None
        if row.kind == "boot":
            error = self._boot(server)
        elif row.kind == "delete":
            self._delete(server)
        else:
            server.vm_state, server.power_state = RESTS[row.kind]
        server.task_state, server.updated_at = None, now()
        server.save()
        journal.event_finished(row.data["action_id"], f"compute_{row.kind}", error)
        journal.action_finished(row.data["action_id"], error)
        row.state, row.finished_at = ("failed" if error else "done"), now()
        row.save()
        return True

    def _boot(self, server: InstanceRow) -> str | None:
        if server.deleted_at is not None or server.task_state == "deleting":
            return "deleted"
        if self.fail_with:
            server.vm_state = VmState.ERROR
            record_fault(server.uuid, self.fail_with, None)
            return self.fail_with
        flavor = server.flavor
        server.vm_state, server.power_state, server.launched_at = VmState.ACTIVE, PowerState.RUNNING, now()
        server.host = server.node = self.host
        server.availability_zone, server.progress = "nova", 100
        taken = {"vcpus": flavor["vcpus"], "memory_mb": flavor["memory_mb"], "disk_gb": flavor["root_gb"]}
        ClaimRow.create(instance_uuid=server.uuid, host=self.host, **taken)
        HostRow.update(servers=HostRow.servers + 1, vcpus_used=HostRow.vcpus_used + flavor["vcpus"]).where(
            HostRow.host == self.host
        ).execute()
        networks.allocate(server, server.requested_networks)
        networks.bind(server.uuid, self.host)
        networks.activate(server.uuid)
        return None

    def _delete(self, server: InstanceRow) -> None:
        networks.release(server.uuid)
        ClaimRow.delete().where(ClaimRow.instance_uuid == server.uuid).execute()
        server.vm_state, server.power_state = VmState.DELETED, PowerState.NOSTATE
        server.deleted_at = server.terminated_at = now()


def network(project_id: str, name: str = "private", cidr: str = "10.91.0.0/24", shared: bool = True) -> str:
    """In a transaction: a network with a subnet, as rows."""
    row = NetworkRow.create(
        name=name, project_id=project_id, shared=shared, vni=NetworkRow.select().count() + 7000,
        gateway_mac="fa:16:3f:00:00:01",
    )  # fmt: skip
    base = cidr.rsplit(".", 1)[0]
    SubnetRow.create(
        network_id=row.id, project_id=project_id, cidr=cidr, gateway_ip=base + ".1", name=name + "-subnet",
        allocation_pools=[{"start": base + ".2", "end": base + ".254"}],
    )  # fmt: skip
    return row.id
