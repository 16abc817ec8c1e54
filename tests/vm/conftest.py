"""Fixtures for tests with real guests: a switch with hosts, the tiny image (built once for its source)."""

from gevent import monkey

monkey.patch_all()

import hashlib  # noqa: E402
import os  # noqa: E402
import tempfile  # noqa: E402
from collections.abc import Iterator  # noqa: E402
from pathlib import Path  # noqa: E402

import pytest  # noqa: E402

from nova0.host.image import tiny  # noqa: E402
from tests.vm.hosts import Host, Switch  # noqa: E402
from tests.vm.networks import Carriers  # noqa: E402

KEPT = Path(tempfile.gettempdir()) / "nova0-tests"  # outlives a run: the image and libvirt's slow first look


@pytest.fixture(scope="session")
def capability_cache() -> Path:
    KEPT.mkdir(exist_ok=True)
    return KEPT / "libvirt-cache-without-kvm"


@pytest.fixture(scope="module")
def switch() -> Iterator[Switch]:
    made = Switch(f"n0t{os.getpid()}")
    yield made
    made.close()


@pytest.fixture(scope="module")
def host(switch: Switch, capability_cache: Path) -> Host:
    return switch.host(capability_cache)


@pytest.fixture(scope="module")
def two_hosts(switch: Switch) -> tuple[Host, Host]:
    return switch.host(), switch.host()


@pytest.fixture
def cloud(two_hosts: tuple[Host, Host]) -> Iterator[Carriers]:
    """Two hosts with a carrier each; everything is forgotten afterwards, and nothing may be left."""
    made = Carriers(two_hosts)
    yield made
    made.close()


@pytest.fixture(scope="session")
def tiny_image() -> tiny.Built:
    source = hashlib.sha256()
    for path in sorted(Path(tiny.__file__).parent.rglob("*")):
        if path.suffix in (".py", ".sh"):
            source.update(path.read_bytes())
    place = KEPT / f"tiny-{source.hexdigest()[:16]}"
    if not (place / "tiny.json").exists():
        return tiny.build(place)
    files = [place / f"tiny.{kind}" for kind in ("vmlinuz", "initrd", "qcow2", "json")]
    return tiny.Built(
        kernel=files[0],
        ramdisk=files[1],
        disk=files[2],
        manifest=files[3],
        total_bytes=sum(path.stat().st_size for path in files[:3]),
    )
