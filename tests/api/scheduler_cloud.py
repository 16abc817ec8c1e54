"""A cloud for tests of the scheduler: the real API, controller and store, configured by a file, and hosts that
answer like compute agents. A test asks for servers as a client would and looks at the hosts they went to.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import gevent
from nova0.agents.conductor import ConductorAgent
from served import PASSWORD, Cloud, FakeHosts, Http

from nova0 import config
from nova0.controller.api.application import make_app
from nova0.controller.api.server import serve
from nova0.controller.assembly import Controller
from nova0.controller.compute.flavors import seed_flavors
from nova0.controller.db.image_tables import ImageRow
from nova0.controller.db.store import Store
from nova0.controller.identity.bootstrap import bootstrap
from nova0.mesh.local import LocalNet
from nova0.objects.host import HostState
from tests.unit.conductor.conftest import ScriptedHost

IMAGES = {
    "plain": {}, "secret": {}, "arm": {"hw_architecture": "aarch64"}, "xen": {"img_hv_type": "xen"},
    "debian": {"os_distro": "debian"},
}  # fmt: skip
FREE = {"instances": -1, "cores": -1, "ram": -1, "server_groups": -1, "server_group_members": -1}


class Machine(ScriptedHost):
    """`more`: what it reports of itself besides; four CPUs and 8192 MiB unless told otherwise."""

    def __init__(self, net, name, **more):
        self.more = {"vcpus": 4, "memory_mb": 8192, "disk_gb": 500, "arch": "x86_64"} | more
        super().__init__(net, name, memory_mb=self.more["memory_mb"], vcpus=self.more["vcpus"])

    def host_state(self):
        reported = {"hypervisor_type": "QEMU", "hypervisor_version": 7_002_022, "virt_type": "kvm"} | self.more
        return HostState(host=self.name, hypervisor_hostname=self.name, **reported)

    def report(self, **more):
        """Something of it changed: tell the controller."""
        self.more |= more
        self.join()


class Lab:
    """`where(...)`: the host a new server goes to, or its fault's message."""

    def __init__(self, cloud, machines, images, net, conductor):
        self.cloud, self.machines, self.images, self.made = cloud, machines, images, []
        self.net, self.conductor, self.controller, self.flavors = net, conductor, conductor.controller, 0

    def post(self, path, body, http=None, **more):
        answer = (http or self.cloud.admin).post(path, body, **{"version": "2.90"} | more)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    def get(self, path, **more):
        answer = self.cloud.admin.get(path, **more)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def host(self, name, **more):
        """One more machine."""
        self.machines[name] = Machine(self.net, name, **more).join()
        return self.machines[name]

    def kill(self, name):
        """Its agent dies: nothing is said, and the mesh finds it down."""
        self.net.kill(self.machines.pop(name).bus)

    def flavor(self, vcpus=1, memory_mb=256, disk_gb=1, specs=None):
        self.flavors += 1
        body = {"name": f"f{self.flavors}", "id": f"f{self.flavors}", "vcpus": vcpus, "ram": memory_mb, "disk": disk_gb}
        made = self.post("/v2.1/flavors", {"flavor": body})["flavor"]["id"]
        if specs:
            self.post(f"/v2.1/flavors/{made}/os-extra_specs", {"extra_specs": specs})
        return made

    def boot(self, *, flavor=None, image="plain", hints=None, http=None, **more):
        server = {"name": "s", "flavorRef": flavor or self.flavor(), "imageRef": self.images[image], "networks": "none"}
        body = {"server": server | more}
        if hints:
            body["os:scheduler_hints"] = hints
        made = self.post("/v2.1/servers", body, http=http)["server"]["id"]
        self.made.append(made)
        return made

    def settled(self, server):
        with gevent.Timeout(60, AssertionError("not settled within 60 s")):
            while True:
                shown = self.cloud.admin.get(f"/v2.1/servers/{server}").json()["server"]
                if shown["status"] in ("ACTIVE", "ERROR"):
                    return shown
                gevent.sleep(0.01)

    def where(self, **more):
        shown = self.settled(self.boot(**more))
        return shown["OS-EXT-SRV-ATTR:host"] or shown["fault"]["message"]

    def together(self, number, *, at_least=None, placed=False, **more):
        """`number` servers by one request: what the API shows of each once all are settled, or (`placed`) have
        a host."""
        flavor = more.pop("flavor", None) or self.flavor()
        counts = {"min_count": at_least or number, "max_count": number}
        self.boot(flavor=flavor, name="many", **counts, **more)
        listed = f"/v2.1/servers/detail?all_tenants=1&name=many&flavor={flavor}"
        with gevent.Timeout(120, AssertionError(f"{number} servers are not settled within 120 s")):
            while placed and sum(one["running_vms"] for one in self.hypervisors()) < number:
                gevent.sleep(0.05)
            while self.get(f"{listed}&status=BUILD&limit=1")["servers"] and not placed:
                gevent.sleep(0.05)
        shown = self.get(listed)["servers"]
        assert len(shown) == number
        return shown

    def hypervisors(self):
        return self.get("/v2.1/os-hypervisors/detail", version="2.87")["hypervisors"]

    def explain(self, **asked):
        return self.post("/nova0/v1/schedule/explain", {"flavor": self.flavor()} | asked)

    def order(self, **asked):
        """Hosts, best first."""
        return [one["host"] for one in self.explain(**asked)["order"]]

    def aggregate(self, name, *hosts, **metadata):
        made = self.post("/v2.1/os-aggregates", {"aggregate": {"name": name}})["aggregate"]["id"]
        for host in hosts:
            self.post(f"/v2.1/os-aggregates/{made}/action", {"add_host": {"host": host}})
        self.post(f"/v2.1/os-aggregates/{made}/action", {"set_metadata": {"metadata": metadata}})
        return made

    def no_aggregate(self, made, host):
        self.post(f"/v2.1/os-aggregates/{made}/action", {"remove_host": {"host": host}})
        assert self.cloud.admin.delete(f"/v2.1/os-aggregates/{made}").status_code == 200

    def group(self, policy, **more):
        body = {"server_group": {"name": policy, "policy": policy} | more}
        return self.post("/v2.1/os-server-groups", body)["server_group"]["id"]

    def service(self, host, status):
        """`status`: enabled or disabled."""
        listed = self.get(f"/v2.1/os-services?binary=nova-compute&host={host}", version="2.90")["services"]
        answer = self.cloud.admin.put(f"/v2.1/os-services/{listed[0]['id']}", {"status": status}, version="2.90")
        assert answer.status_code == 200, answer.text

    def clear(self):
        for server in self.made:
            self.cloud.admin.delete(f"/v2.1/servers/{server}")
        with gevent.Timeout(60, AssertionError("servers are not gone within 60 s")):
            while self.cloud.admin.get("/v2.1/servers?all_tenants=1").json()["servers"]:
                gevent.sleep(0.01)
        self.made.clear()


def host_of(server):
    return server["OS-EXT-SRV-ATTR:host"]


class Template:
    """A store with users, flavors, images and no quotas, from which clouds are made in a few milliseconds."""

    def __init__(self, place):
        self.place, self.clouds, self.users = place, 0, {}
        self.file = place / "template.sqlite"
        store = Store(self.file)
        bootstrap(store, PASSWORD)
        self.images = store.write(_rows)
        store.close()
        with self.cloud(keep=True) as lab:
            for user, project in (("admin", "admin"), ("demo", "demo")):
                self.users[(user, project)] = http = lab.cloud.as_user(user, project)
                quota = lab.cloud.admin.put(f"/v2.1/os-quota-sets/{http.project_id}", {"quota_set": FREE})
                assert quota.status_code == 200, quota.text

    @contextmanager
    def cloud(self, options: str = "", hosts=(), *, keep: bool = False) -> Iterator[Lab]:
        """`options`: a configuration file's text, [scheduler] unless it says otherwise. `hosts`: names, or name ->
        what it reports. `keep`: what is done is in every later cloud."""
        self.clouds += 1
        conf = self.place / f"nova0-{self.clouds}.conf"
        conf.write_text(options if options.startswith("[") else f"[scheduler]\n{options}\n")
        file = self.file if keep else self.place / f"store-{self.clouds}.sqlite"
        if not keep:
            shutil.copy(self.file, file)
        config.load([str(conf)])
        store = Store(file)
        net = LocalNet(timers=False)
        bus = net.bus("ctl", "controller", ("controller",))
        server = controller = None
        try:
            controller = Controller(
                store, bus, state_dir=self.place, cluster_id="c1", public_url="http://unset", owner="ctl#1"
            )
            conductor = ConductorAgent(controller)
            bus.offer(conductor)
            bus.start()
            controller.start()
            reported = hosts if isinstance(hosts, dict) else {name: {} for name in hosts}
            machines = {name: Machine(net, name, **more).join() for name, more in reported.items()}
            server = serve(make_app(controller.services), "127.0.0.1", 0)
            url = controller.services.public_url = f"http://127.0.0.1:{server.port}"
            cloud = Cloud(url, controller.services, FakeHosts(), None, Http(url))
            for user, http in self.users.items():
                cloud._kept[user] = Http(url, http.token, http.project_id, http.user_id)
            yield Lab(cloud, machines, self.images, net, conductor)
        finally:
            if server is not None:
                server.stop(within_s=0)
            if controller is not None:
                controller.engine.stop(patience_s=0)
                controller.networks.stop()
            store.close()
            config.load([])


def _rows():
    seed_flavors()
    return {
        name: ImageRow.create(
            name=name, status="active", visibility="public", disk_format="qcow2", container_format="bare",
            size=1000, sha512="ab", owner="x", properties=properties,
        ).id
        for name, properties in IMAGES.items()
    }  # fmt: skip
