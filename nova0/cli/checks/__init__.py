"""What `nova0 doctor` looks at, one file per subject. A check returns findings and changes nothing.

Each file has `check(look) -> list[Finding]`; whatever it needs of the machine it asks through `Look`, so
that tests can show it any machine.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

OK, WARNING, BLOCKS = "ok", "warning", "blocks"


@dataclass(frozen=True)
class Finding:
    """`level`: ok, warning (something is worse than it could be) or blocks (servers can't run here)."""

    subject: str
    level: str
    found: str
    remedy: str = ""


@dataclass
class Look:
    """The machine as the checks see it. `root` stands before every path, "/" outside of tests."""

    state_path: Path
    root: Path = Path("/")
    port: int = 8774
    listen: str = "127.0.0.1"
    running: bool = False  # nova0 is up here: its own ports are rightly taken
    fake: bool = False  # the fake driver wants nothing of the machine
    path: str | None = None  # PATH for programs; None: this process's
    notes: list[str] = field(default_factory=list)

    def text(self, path: str) -> str:
        """A file's text, stripped; "" where there is none."""
        try:
            return (self.root / path.lstrip("/")).read_text().strip()
        except OSError:
            return ""

    def program(self, name: str) -> str | None:
        """Where a program is; system folders are looked at even when PATH lacks them."""
        default = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return shutil.which(name, path=self.path if self.path is not None else default)
