"""What a host made is found again by what was written down, whatever the options say now."""

from __future__ import annotations

import json

import pytest
from nova0.agents import host_bundle

from nova0.host.compute.removal import Removal
from nova0.host.network import linux
from nova0.host.virt.fake import FakeDriver
from nova0.mesh.identity import create_cluster
from nova0.objects.errors import DriverError
from tests.unit.host.lab import an_instance


@pytest.fixture
def host(tmp_path, option, monkeypatch):
    """A state whose host ran with the fake driver and, once, with Linux networks; what is swept is noted."""
    create_cluster(tmp_path / "mesh", "lab1")
    option("state_path", str(tmp_path))
    option("compute_driver", "libvirt")
    option("host", "another")
    swept = []

    class Carrier:
        def __init__(self, host, cluster_id, state_dir, **more):
            self.names = host, more

        def sweep(self):
            swept.append(self.names)
            return ["bridge n0br1"]

    monkeypatch.setattr(linux, "LinuxCarrier", Carrier)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "5a0f8c9e-0000-4000-8000-000000000000").write_text("an image")
    (cache / "holiday.jpg").write_text("mine")
    one = {"compute_driver": "fake", "network_carrier": "none"}
    two = {"compute_driver": "fake", "network_carrier": "linux", "metadata_port": 9775, "image_cache_dir": str(cache)}
    (tmp_path / "state").mkdir()
    (tmp_path / host_bundle.OPTIONS).write_text(json.dumps([one, two]))
    return tmp_path, swept


def test_guests_and_networks_of_every_set_of_options_go(host):
    tmp_path, swept = host
    driver = FakeDriver("lab1", "c", tmp_path)
    driver.open()
    instance = an_instance()
    driver.define(instance, _disks(tmp_path))
    assert host_bundle.guests_here() == [instance.uuid]
    assert f"guest {instance.uuid}" in host_bundle.remove_everything()
    assert swept == [("lab1", {})]  # an option that is no more is passed over
    assert host_bundle.guests_here() == []


def test_of_an_image_cache_elsewhere_only_images_go(host, tmp_path_factory):
    tmp_path, _ = host
    elsewhere = tmp_path_factory.mktemp("cache")
    (elsewhere / "5a0f8c9e-0000-4000-8000-000000000000").write_text("an image")
    (elsewhere / "holiday.jpg").write_text("mine")
    options = {"compute_driver": "fake", "image_cache_dir": str(elsewhere)}
    (tmp_path / host_bundle.OPTIONS).write_text(json.dumps([options]))
    assert host_bundle.remove_everything() == [f"1 cached images in {elsewhere}"]
    assert [path.name for path in elsewhere.iterdir()] == ["holiday.jpg"]


def test_networks_stay_while_a_guest_cannot_be_removed(host, monkeypatch):
    tmp_path, swept = host

    def stuck(self):
        raise DriverError("lab1: it will not go")

    monkeypatch.setattr(FakeDriver, "sweep", stuck)
    with pytest.raises(DriverError):
        Removal(
            host="lab1", cluster_id="c", state_dir=tmp_path, compute_driver="fake", network_carrier="linux"
        ).remove()
    assert swept == []


def _disks(tmp_path):
    from nova0.host.virt.driver import GuestDisks

    return GuestDisks(directory=tmp_path / "instances/one", base=None, base_format="raw")
