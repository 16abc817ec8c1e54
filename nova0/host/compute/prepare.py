"""Make everything an instance needs on this host, and start nothing: image, network, disks, definition."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nova0.crashpoints import crash_point
from nova0.host.compute.guests import Guests, Progress
from nova0.host.compute.records import Record, without_password
from nova0.host.virt.driver import GuestDisks
from nova0.objects.errors import DriverError
from nova0.objects.host import GuestInfo
from nova0.objects.image import ImageRef
from nova0.objects.instance import Instance
from nova0.objects.metadata import config_drive_tree
from nova0.objects.network import NetworkView
from nova0.objects.states import PowerState

LOOK_S = 1.0  # between looks whether it is still wanted, while waiting for a turn


def prepare(guests: Guests, instance: Instance, networks: list[NetworkView], progress: Progress) -> GuestInfo:
    """See ComputeAPI.prepare. What a failed run leaves is remembered by the record and removed by delete."""
    uuid, generation = instance.uuid, instance.generation
    with guests.work_on(uuid, generation):
        _remember(guests, instance)
        with _turn(guests, instance):
            disks = _fetch_image(guests, instance, progress)
            progress({"stage": "network", "percent": 0})
            for view in networks:
                guests.networks.apply(view)
            for port in instance.ports:
                guests.networks.plug(port)
            guests.check(uuid, generation)
            progress({"stage": "disk", "percent": 0})
            disks = _write_config_drive(guests, instance, disks)
            progress({"stage": "define", "percent": 0})
            guests.driver.define(instance, disks)
        crash_point("host.prepare.defined")
        progress({"stage": "define", "percent": 100})
        return guests.info(uuid)


@contextmanager
def _turn(guests: Guests, instance: Instance) -> Iterator[None]:
    """Wait for one of the host's build slots; a delete ends the wait (Stale)."""
    while not guests.builds.acquire(timeout=LOOK_S):
        guests.check(instance.uuid, instance.generation)
    try:
        yield
    finally:
        guests.builds.release()


def _remember(guests: Guests, instance: Instance) -> None:
    """The intent, on disk before the first effect. A lease or a wish to run survives a repeated prepare of
    the same generation only."""
    known = guests.records.get(instance.uuid)
    record = Record(instance=without_password(instance), generation=instance.generation)
    if known is not None:
        record.started_at = known.started_at
        record.run = known.run
        record.leased = known.leased and (known.generation == instance.generation or _runs(guests, instance.uuid))
    if record != known:
        guests.records.keep(record)


def _runs(guests: Guests, uuid: str) -> bool:
    found = guests.driver.find(uuid)
    return found is not None and found.power_state in (PowerState.RUNNING, PowerState.PAUSED)


def _fetch_image(guests: Guests, instance: Instance, progress: Progress) -> GuestDisks:
    directory = guests.files(instance.uuid)
    image = instance.image
    if image is None or not guests.driver.needs_files():
        return GuestDisks(directory=directory, base=None, base_format="raw")

    told = -1

    def watch(percent: int) -> None:
        nonlocal told
        guests.check(instance.uuid, instance.generation)  # a delete does not wait for the bytes
        if percent != told:
            told = percent
            progress({"stage": "image", "percent": percent})

    def fetch(part: ImageRef) -> Path:
        return guests.images.fetch(part, watch)

    return GuestDisks(
        directory=directory,
        base=fetch(image),
        base_format="qcow2" if image.disk_format == "qcow2" else "raw",
        kernel=fetch(image.kernel) if image.kernel else None,
        ramdisk=fetch(image.ramdisk) if image.ramdisk else None,
    )


def _write_config_drive(guests: Guests, instance: Instance, disks: GuestDisks) -> GuestDisks:
    if not instance.config_drive or not guests.driver.needs_files() or _runs(guests, instance.uuid):
        return disks
    from nova0.host.disk.config_drive import write  # only hosts that make one load its library

    path = disks.directory / "disk.config"
    try:
        owner = guests.driver.owner()
        owner.folder(disks.directory)
        write(config_drive_tree(instance, os.urandom(512)), path)
        owner.file(path)
    except OSError as error:
        raise DriverError(
            f"{guests.host}: config drive of {instance.domain_name}: {error}: check space and rights of {path.parent}"
        ) from error
    return dataclasses.replace(disks, config_drive=path)
