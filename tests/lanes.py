"""Runs the whole suite: the lanes of budget.toml side by side, each folder a pytest of its own, held to its budget.

    python tests/lanes.py FOLDER PYTEST-ARGUMENTS...     FOLDER: where tests keep their files

The last lane speaks as it goes, the others when they end. Prints each folder's time and peak memory, that of all its
processes together. Ends with pytest's status, or 1 when a folder took more than twice its share of time.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
LOOK_S = 2.0  # between two looks at the memory of a folder's processes
OVER = 2  # times its share, and a folder has failed
ENDS_WITHIN_S = 20  # after an interrupt
NO_TESTS = 5  # pytest's status when the arguments left out every test


class Folder:
    """One folder's run. `code`: pytest's status."""

    def __init__(self, name: str, share: float) -> None:
        self.name, self.share = name, share
        self.seconds, self.peak_mib, self.code = 0.0, 0.0, 0
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, arguments: list[str], kept: Path, said: Path | None) -> None:
        """With its words in the file `said`, or here."""
        began = time.monotonic()
        words = [sys.executable, "-m", "pytest", f"--basetemp={kept / self.name}", *arguments, f"tests/{self.name}"]
        out = said.open("ab") if said else None
        try:
            # an interrupt is passed on by `end`, once
            self._process = subprocess.Popen(words, stdout=out, stderr=out, cwd=HERE.parent, start_new_session=True)
            while (code := self._ended()) is None:
                self.peak_mib = max(self.peak_mib, memory_mib(self._process.pid))
            self.code = 0 if code == NO_TESTS else code
        finally:
            if out:
                out.close()
            self.seconds = time.monotonic() - began

    def end(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(ENDS_WITHIN_S)
            except subprocess.TimeoutExpired:
                self._process.kill()

    @property
    def over(self) -> bool:
        return self.seconds > OVER * self.share * 60

    def line(self) -> str:
        budget = f"{self.seconds / 60:5.1f} of {self.share:g} min" + ("  OVER TWICE ITS SHARE" if self.over else "")
        return f"{self.name:8}{self.peak_mib:6.0f} MiB  {budget}" + (f"  status {self.code}" if self.code else "")

    def _ended(self) -> int | None:
        assert self._process is not None
        try:
            return self._process.wait(LOOK_S)
        except subprocess.TimeoutExpired:
            return None


def memory_mib(root: int) -> float:
    """What a process and its descendants take together: shared pages count once (PSS)."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                parent = int(Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue
            children.setdefault(parent, []).append(int(entry))
    total, left = 0, [root]
    while left:
        pid = left.pop()
        left += children.get(pid, [])
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:  # ended meanwhile
            continue
        total += next((int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")), 0)
    return total / 1024


def main(kept: Path, arguments: list[str]) -> int:
    budget = tomllib.loads((HERE / "budget.toml").read_text())
    lanes = [[Folder(name, budget["minutes"][name]) for name in names] for names in budget["lanes"].values()]
    ending = threading.Event()

    def lane(folders: list[Folder], said: Path | None) -> None:
        for folder in folders:
            if not ending.is_set():
                folder.run(arguments, kept, said)

    aside = [kept / f"lane{number}.said" for number in range(len(lanes) - 1)]
    threads = [threading.Thread(target=lane, args=pair) for pair in zip(lanes, [*aside, None], strict=True)]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except KeyboardInterrupt:
        ending.set()
        for folder in (folder for folders in lanes for folder in folders):
            folder.end()
        return 130
    for said in aside:
        print(said.read_text(errors="replace"), flush=True)
    folders = [folder for folders in lanes for folder in folders]
    for folder in folders:
        print(folder.line())
    code = next((folder.code for folder in folders if folder.code), 0)
    return code or int(any(folder.over for folder in folders))


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):  # in a shell's background SIGINT is ignored, and so would be here
        signal.signal(number, signal.default_int_handler)
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
