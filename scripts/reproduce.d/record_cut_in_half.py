"""A host's disk takes only a part of a server's record; then the host is started again."""

import subprocess
import sys

BEFORE = "it said that it was kept; after the start the record could not be read, and its generation was forgotten"
NEEDS = ()

PROGRAM = """
import sys
from pathlib import Path
from nova0.host.compute.records import Record, Records
from tests.unit.host.lab import an_instance
records = Records("lab1", Path(sys.argv[1]))
records.open()
server = an_instance()
records.keep(Record(instance=server, generation=1))
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))
try:
    records.keep(Record(instance=server, generation=2))
    said = "kept"
except Exception as error:
    said = str(error)
again = Records("lab1", Path(sys.argv[1]))
again.open()
print([record.generation for record in again.all()], said)
"""


def attack(world):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(world.folder / "host")], capture_output=True, text=True, timeout=60
    )
    said = done.stdout.strip() or done.stderr.strip()[-300:]
    return said.startswith("[1] lab1: cannot record") and "free space" in said, said
