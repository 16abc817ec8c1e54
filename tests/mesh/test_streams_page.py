"""docs/streams.md does what it says: its code runs, on the bus without sockets."""

from __future__ import annotations

import re
from pathlib import Path

from nova0.mesh.local import LocalNet

PAGE = Path(__file__).parents[2] / "docs/streams.md"


def test_the_code_of_the_page_runs(tmp_path):
    page = {}
    for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(compile(code, str(PAGE), "exec"), page)
    net = LocalNet()
    (tmp_path / "a.txt").write_bytes(b"once upon a time")
    (tmp_path / "got").mkdir()
    for host in ("lab1", "lab2"):
        bus = net.bus(host)
        bus.offer(page["Shelf"](bus, tmp_path))
        bus.start()
    reader = net.bus("lab3")
    reader.start()
    assert page["read"](reader, tmp_path / "got", ["lab1", "lab2"]) == b"0\n1\n2\n"
    assert (tmp_path / "got" / "a.txt").read_bytes() == b"once upon a time"
    for bus in net.buses.values():
        bus.stop()
