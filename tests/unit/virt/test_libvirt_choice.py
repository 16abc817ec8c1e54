"""Whose libvirtd is used: the machine's where one runs or should run, else nova0's own."""

from __future__ import annotations

import pytest

connection = pytest.importorskip("nova0.host.virt.libvirt.connection")
from nova0.objects.errors import DriverError  # noqa: E402


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with systemd and no socket of libvirt's; `units` are the services it has."""
    units = tmp_path / "units"
    units.mkdir()
    monkeypatch.setattr(connection, "SYSTEM_SOCKETS", (str(tmp_path / "no-socket"),))
    monkeypatch.setattr(connection, "SYSTEMD", tmp_path)
    monkeypatch.setattr(connection, "SYSTEM_UNITS", (str(units / "libvirtd.service"),))
    return units


def test_with_systemd_but_no_service_of_libvirt_ours_is_started(machine, tmp_path):
    assert connection.Connection("lab1", tmp_path, "", lambda conn: None)._system_answers() is False


def test_a_service_that_is_installed_and_not_running_is_said_with_the_remedy(machine, tmp_path):
    (machine / "libvirtd.service").touch()
    with pytest.raises(DriverError, match="systemctl enable --now libvirtd"):
        connection.Connection("lab1", tmp_path, "", lambda conn: None)._system_answers()
