"""A hypervisor in memory: instant, of any size, with delays and failures on order.

Its guests outlive a killed agent, as a real hypervisor's do (one small file, written atomically). No
image bytes, no processes, no threads, no devices may enter: thousands of these run in one process.
"""

from __future__ import annotations

import fnmatch
import logging
import shutil
import time
from pathlib import Path
from typing import ClassVar

import gevent
import msgspec
from oslo_config import cfg

from nova0 import atomic_file
from nova0.config import CONF, declare
from nova0.host.virt.driver import Driver, Found, GuestDisks, GuestEvent
from nova0.objects.errors import DriverError, InstanceNotFound
from nova0.objects.host import HostState
from nova0.objects.instance import Instance
from nova0.objects.states import PowerState

LOG = logging.getLogger(__name__)
STAGES = ("define", "start", "shut_down", "cut_power", "reset", "pause", "unpause", "remove")
FAIL_KEY = "nova0:fail"  # server property: the stage that shall fail, e.g. nova0:fail=start

declare(
    [
        cfg.IntOpt("vcpus", default=64, min=1, help="Processors of a fake host."),
        cfg.IntOpt("memory_mb", default=262144, min=1, help="Memory of a fake host, MiB."),
        cfg.IntOpt("disk_gb", default=4096, min=1, help="Disk of a fake host, GiB."),
        cfg.DictOpt(
            "delays",
            default={},
            help="Seconds an operation takes, by name, e.g. define:0.2,start:1. Names: " + ", ".join(STAGES) + ".",
        ),
        cfg.DictOpt(
            "fail",
            default={},
            help="Names of servers whose operation fails, by operation, e.g. start:bad-*,define:worse-*. "
            f"A server property {FAIL_KEY}=OPERATION does the same for one server.",
        ),
        cfg.FloatOpt(
            "shutdown_s",
            default=0.0,
            help="Seconds a guest takes to obey a shutdown request; below 0 it never does.",
        ),
        cfg.BoolOpt("persist", default=True, help="Keep guests in fake-guests.json, so that they outlive the process."),
        cfg.BoolOpt("fetch_images", default=False, help="Fetch and verify images although no guest reads them."),
    ],
    group="fake",
)


class FakeGuest(msgspec.Struct, gc=False):
    """What the fake hypervisor knows of one guest."""

    generation: int
    name: str
    domain: str
    directory: str
    power: int = PowerState.SHUTDOWN
    boots: int = 0
    fail: str = ""


_guests = msgspec.json.Decoder(dict[str, FakeGuest])


class FakeDriver(Driver):
    name: ClassVar[str] = "fake"

    def __init__(self, host: str, cluster_id: str, state_dir: Path) -> None:
        super().__init__(host, cluster_id, state_dir)
        self._file = state_dir / "fake-guests.json"
        self._all: dict[str, FakeGuest] = {}
        self._started_at = time.monotonic()

    def needs_files(self) -> bool:
        return CONF.fake.fetch_images

    def open(self) -> list[str]:
        unknown = sorted((set(CONF.fake.delays) | set(CONF.fake.fail)) - set(STAGES))
        if unknown:
            raise DriverError(
                f"{self.host}: [fake] delays and fail know no operation {', '.join(unknown)}: use {', '.join(STAGES)}"
            )
        if CONF.fake.persist and self._file.exists():
            try:
                self._all = _guests.decode(self._file.read_bytes())
            except (OSError, msgspec.DecodeError) as error:
                LOG.error("%s: %s cannot be read (%s): fake guests are gone", self.host, self._file, error)
        return ["guests are fake: they have a state and a console line, nothing runs"]

    def close(self) -> None:
        self._all = dict(self._all)  # guests run on; nothing to disconnect

    def host_state(self) -> HostState:
        running = [guest for guest in self._all.values() if guest.power == PowerState.RUNNING]
        return HostState(
            host=self.host,
            hypervisor_hostname=self.host,
            hypervisor_type="fake",
            hypervisor_version=1000,
            virt_type="fake",
            arch="x86_64",
            vcpus=CONF.fake.vcpus,
            memory_mb=CONF.fake.memory_mb,
            disk_gb=CONF.fake.disk_gb,
            cpu_info={
                "arch": "x86_64",
                "model": "fake",
                "vendor": "nova0",
                "features": [],
                "topology": {"sockets": CONF.fake.vcpus, "cores": 1, "threads": 1},
            },
            supported=[("x86_64", "fake", "hvm"), ("aarch64", "fake", "hvm")],
            disk_free_gb=CONF.fake.disk_gb,
            memory_free_mb=CONF.fake.memory_mb,
            running=len(running),
            uptime=f"up {int(time.monotonic() - self._started_at)} s",
        )

    def define(self, instance: Instance, disks: GuestDisks) -> None:
        known = self._all.get(instance.uuid)
        if known is not None and known.power in (PowerState.RUNNING, PowerState.PAUSED):
            return
        made = FakeGuest(
            generation=instance.generation,
            name=instance.name,
            domain=instance.domain_name,
            directory=str(disks.directory),
            fail=instance.metadata.get(FAIL_KEY, ""),
        )
        self._work("define", made)
        self.owner().folder(disks.directory)
        self._all[instance.uuid] = made
        self._save()

    def start(self, uuid: str) -> None:
        guest = self._guest(uuid)
        if guest.power in (PowerState.RUNNING, PowerState.PAUSED):
            return
        self._work("start", guest)
        self._become(uuid, PowerState.RUNNING, "started")

    def shut_down(self, uuid: str) -> None:
        guest = self._guest(uuid)
        self._work("shut_down", guest)
        if guest.power == PowerState.RUNNING and CONF.fake.shutdown_s >= 0:
            gevent.spawn_later(CONF.fake.shutdown_s, self._obey, uuid, guest)

    def cut_power(self, uuid: str) -> None:
        guest = self._guest(uuid)
        self._work("cut_power", guest)
        self._become(uuid, PowerState.SHUTDOWN, "stopped")

    def reset(self, uuid: str) -> None:
        self._work("reset", self._guest(uuid))
        self._become(uuid, PowerState.SHUTDOWN, "stopped")
        self._become(uuid, PowerState.RUNNING, "started")

    def pause(self, uuid: str) -> None:
        guest = self._guest(uuid)
        self._work("pause", guest)
        if guest.power not in (PowerState.RUNNING, PowerState.PAUSED):
            raise DriverError(f"{self.host}: pause {guest.domain}: it does not run: start it first")
        self._become(uuid, PowerState.PAUSED, "paused")

    def unpause(self, uuid: str) -> None:
        guest = self._guest(uuid)
        self._work("unpause", guest)
        if guest.power not in (PowerState.RUNNING, PowerState.PAUSED):
            raise DriverError(f"{self.host}: unpause {guest.domain}: it does not run: start it first")
        self._become(uuid, PowerState.RUNNING, "resumed")

    def remove(self, uuid: str) -> None:
        guest = self._all.get(uuid)
        if guest is None:
            return
        self._work("remove", guest)
        shutil.rmtree(guest.directory, ignore_errors=True)
        self._all.pop(uuid, None)
        self._save()

    def find(self, uuid: str) -> Found | None:
        guest = self._all.get(uuid)
        return None if guest is None else _found(uuid, guest)

    def found(self) -> list[Found]:
        return [_found(uuid, guest) for uuid, guest in self._all.items()]

    def console_log(self, uuid: str, most_bytes: int) -> bytes:
        guest = self._guest(uuid)
        boot = (
            f"[    0.000000] fake guest {guest.domain} on {self.host}\n"
            f"[    0.100000] uuid {uuid}\n"
            f"{guest.name} login:\n"
        )
        written = (boot * guest.boots).encode()
        return written[-most_bytes:] if most_bytes > 0 else b""

    def crash(self, uuid: str) -> None:
        """What a test does to a guest: it dies by itself."""
        self._guest(uuid)
        self._become(uuid, PowerState.CRASHED, "crashed")

    def _guest(self, uuid: str) -> FakeGuest:
        guest = self._all.get(uuid)
        if guest is None:
            raise InstanceNotFound(f"{self.host}: no guest {uuid} here")
        return guest

    def _work(self, stage: str, guest: FakeGuest) -> None:
        """Take the ordered time, or fail as ordered."""
        delay_s = float(CONF.fake.delays.get(stage, 0))
        if delay_s > 0:
            gevent.sleep(delay_s)
        pattern = CONF.fake.fail.get(stage, "")
        if guest.fail == stage or (pattern and fnmatch.fnmatchcase(guest.name, pattern)):
            raise DriverError(
                f"{self.host}: {stage} {guest.domain}: fails as ordered by [fake] fail or its property {FAIL_KEY}"
            )

    def _obey(self, uuid: str, guest: FakeGuest) -> None:
        if self._all.get(uuid) is guest and guest.power == PowerState.RUNNING:
            self._become(uuid, PowerState.SHUTDOWN, "stopped")

    def _become(self, uuid: str, power: PowerState, kind: str) -> None:
        guest = self._guest(uuid)
        if guest.power == power:
            return
        if power == PowerState.RUNNING and guest.power != PowerState.PAUSED:
            guest.boots += 1
        guest.power = power
        self._save()
        self.listener.heard(GuestEvent(uuid=uuid, kind=kind))

    def _save(self) -> None:
        if not CONF.fake.persist:
            return
        try:
            atomic_file.write(self._file, msgspec.json.encode(self._all), sync=False)
        except OSError as error:
            raise DriverError(
                f"{self.host}: keeping fake guests: {error}: free space, or set persist=false in [fake]"
            ) from error


def _found(uuid: str, guest: FakeGuest) -> Found:
    return Found(uuid=uuid, power_state=PowerState(guest.power), generation=guest.generation)
