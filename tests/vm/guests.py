"""Real guests for tests: instances of the tiny image, waited for by their console, spoken to by ssh."""

from __future__ import annotations

import subprocess
import time
import uuid
from pathlib import Path

import gevent

from nova0.host.image import tiny
from nova0.host.image.tiny.build import PROPERTIES
from nova0.host.virt.driver import GuestDisks
from nova0.host.virt.libvirt.driver import LibvirtDriver
from nova0.objects.flavor import Flavor
from nova0.objects.image import ImageRef
from nova0.objects.instance import Instance, Keypair
from nova0.objects.network import Port
from tests.vm.hosts import Host
from tests.vm.networks import CLUSTER

FLAVOR = Flavor(flavor_id="1", name="m1.tiny", vcpus=1, memory_mb=160, root_gb=1)


def instance(number: int, **more: object) -> Instance:
    values = dict(
        uuid=str(uuid.uuid4()),
        generation=1,
        name=f"vm{number}",
        hostname=f"vm{number}",
        project_id="p" * 32,
        user_id="u" * 32,
        flavor=FLAVOR,
        image=ImageRef(
            id=str(uuid.uuid4()), name="tiny", size=1, sha512="", disk_format="qcow2", properties=dict(PROPERTIES)
        ),
        number=number,
        cluster_id=CLUSTER,
    )
    return Instance(**{**values, **more})


def disks(host: Host, of: Instance, image: tiny.Built, config_drive: Path | None = None) -> GuestDisks:
    return GuestDisks(
        directory=host.state_dir / "instances" / of.uuid,
        base=image.disk,
        base_format="qcow2",
        kernel=image.kernel,
        ramdisk=image.ramdisk,
        config_drive=config_drive,
    )


def wait_for(driver: LibvirtDriver, uuid: str, words: str, times: int = 1, patience_s: float = 60) -> str:
    """The console log once it holds `words` so often."""
    deadline = time.monotonic() + patience_s
    while True:
        log = driver.console_log(uuid, 1 << 20).decode(errors="replace")
        if log.count(words) >= times:
            return log
        assert time.monotonic() < deadline, f"no {words!r} within {patience_s} s; console:\n{log[-2000:]}"
        gevent.sleep(0.1)


def key(directory: Path) -> tuple[Path, Keypair]:
    path = directory / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path, Keypair(name="mine", public_key=path.with_suffix(".pub").read_text())


def ssh(host: Host, key_path: Path, port: Port, command: str, check: bool = True, given: str | None = None) -> str:
    """What the command says; `given`: its standard input."""
    options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "ConnectTimeout=15", "BatchMode=yes"]
    words = [word for option in options for word in ("-o", option)]
    words += ["-o", "LogLevel=ERROR", "-i", str(key_path), f"root@{port.ip}", command]
    return host.within(port.network_id, "ssh", *words, check=check, given=given)
