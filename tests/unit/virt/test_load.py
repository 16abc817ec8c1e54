"""One option chooses the virt driver; what cannot be is refused with the way out."""

from __future__ import annotations

import sys

import pytest

from nova0.host.virt.fake import FakeDriver
from nova0.host.virt.load import load_driver
from nova0.objects.errors import DriverError


@pytest.mark.covers("S246")
def test_the_fake_driver_loads_by_name_and_is_open(tmp_path):
    driver, notes = load_driver("fake", "lab1", "c1", tmp_path)
    assert isinstance(driver, FakeDriver) and notes
    assert driver.found() == []


@pytest.mark.covers("S246", "S048")
def test_a_driver_of_ones_own_loads_by_class_path(tmp_path, monkeypatch):
    (tmp_path / "my_own_driver.py").write_text(
        "from nova0.host.virt.fake import FakeDriver\nclass Mine(FakeDriver):\n    name = 'mine'\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    driver, _ = load_driver("my_own_driver:Mine", "lab1", "c1", tmp_path)
    assert driver.name == "mine"
    sys.modules.pop("my_own_driver")


@pytest.mark.covers("S246", "S250")
@pytest.mark.parametrize("name", ["uml", "xenapi", "hyperv", "nonsense"])
def test_an_unknown_or_gone_driver_is_refused_with_the_choices(tmp_path, name):
    with pytest.raises(DriverError, match=f"lab1: compute_driver={name}: no such driver.*auto, libvirt, fake"):
        load_driver(name, "lab1", "c1", tmp_path)


@pytest.mark.covers("S048")
@pytest.mark.parametrize("path", ["no.such.module:Class", "nova0.host.virt.fake:NoSuch", "pathlib:Path", ":x"])
def test_a_class_path_that_leads_nowhere_is_refused(tmp_path, path):
    with pytest.raises(DriverError, match="lab1: compute_driver="):
        load_driver(path, "lab1", "c1", tmp_path)


@pytest.mark.covers("S246")
def test_auto_without_libvirt_names_both_remedies(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "libvirt", None)
    with pytest.raises(DriverError, match=r"install nova0\[libvirt\].*compute_driver=fake"):
        load_driver("auto", "lab1", "c1", tmp_path)
