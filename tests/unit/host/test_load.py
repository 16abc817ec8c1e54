"""How busy a machine says it is, from files as the kernel writes them."""

from __future__ import annotations

import pytest

from nova0.host.compute.load import Load

NET = """Inter-|   Receive  |  Transmit
 face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop fifo colls carrier compressed
    lo: 99999 1 0 0 0 0 0 0 99999 1 0 0 0 0 0 0
  eth0: {received} 1 0 0 0 0 0 0 {sent} 1 0 0 0 0 0 0
  tap0: 77777 1 0 0 0 0 0 0 77777 1 0 0 0 0 0 0
"""


class Kernel:
    """Files of a machine with one interface."""

    def __init__(self, folder):
        self.proc, self.sys = folder / "proc", folder / "sys"
        (self.proc / "net").mkdir(parents=True)
        (self.proc / "net/route").write_text("Iface Destination Gateway\neth0 00000000 0100000A\ntap0 0000000A 0\n")
        self.says()

    def says(self, uptime_s=100.0, ticks=(50, 0, 30, 20, 0, 0, 0, 0), received=1000, sent=500):
        (self.proc / "uptime").write_text(f"{uptime_s} 1.00\n")
        (self.proc / "stat").write_text(f"cpu  {' '.join(map(str, ticks))} 40 0\ncpu0 1 2 3\n")
        (self.proc / "net/dev").write_text(NET.format(received=received, sent=sent))

    def load(self):
        return Load(self.proc, self.sys)


@pytest.fixture
def kernel(tmp_path):
    return Kernel(tmp_path)


@pytest.mark.parametrize("physical", [True, False])
def test_at_first_it_tells_of_the_time_since_the_machines_start(kernel, physical):
    if physical:  # else in a container: the interface of the default route
        (kernel.sys / "class/net/eth0/device").mkdir(parents=True)
    told = kernel.load().metrics()
    assert told == {
        "cpu.percent": 0.8, "cpu.user.percent": 0.5, "cpu.kernel.percent": 0.3, "cpu.idle.percent": 0.2,
        "cpu.iowait.percent": 0.0, "network.incoming.bytes.rate": 10.0, "network.outgoing.bytes.rate": 5.0,
    }  # fmt: skip


def test_then_of_the_time_since_it_was_asked_before(kernel):
    load = kernel.load()
    load.metrics()
    kernel.says(110.0, ticks=(51, 0, 30, 39, 0, 0, 0, 0), received=3000, sent=500)
    told = load.metrics()
    assert (told["cpu.percent"], told["cpu.idle.percent"]) == (0.05, 0.95)
    assert (told["network.incoming.bytes.rate"], told["network.outgoing.bytes.rate"]) == (200.0, 0.0)
    kernel.says(111.0, ticks=(99, 0, 30, 39, 0, 0, 0, 0), received=9000)
    assert load.metrics() == told, "too soon to say anything new"


def test_what_another_machine_takes_counts_as_busy_and_counters_that_step_back_as_nothing(kernel):
    load = kernel.load()
    load.metrics()
    kernel.says(110.0, ticks=(50, 0, 30, 30, 0, 0, 0, 10), received=0)
    assert load.metrics()["cpu.percent"] == 0.5
    assert load.metrics()["network.incoming.bytes.rate"] == 0.0


def test_this_machine_has_them_all(lab):
    lab.host()
    told = lab.compute().host_state().metrics
    assert len(told) == 7 and all(value >= 0 for value in told.values())
    assert all(value <= 1 for name, value in told.items() if name.startswith("cpu."))
