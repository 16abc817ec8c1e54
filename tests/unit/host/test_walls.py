"""What a host process must not load."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.covers("S246", "S006")
def test_a_fake_host_loads_neither_the_store_nor_the_hypervisors_library(tmp_path):
    program = (
        "from gevent import monkey; monkey.patch_all()\n"
        "import sys, pathlib\n"
        "from nova0.host.compute.machine import Machine, Settings\n"
        "from nova0.mesh.local import LocalNet\n"
        f"machine = Machine(LocalNet().bus(), Settings(cluster_id='c', state_dir=pathlib.Path({str(tmp_path)!r}), "
        "compute_driver='fake'))\n"
        "machine.open(); machine.agents()\n"
        "print([name for name in ('peewee', 'libvirt', 'pycdlib', 'pyroute2', 'nova0.controller') "
        "if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
