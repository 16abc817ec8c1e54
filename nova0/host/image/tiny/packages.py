"""Debian packages for the tiny image: found with apt, downloaded and unpacked, never installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path


class CannotBuild(Exception):
    """The image can't be built here; the message names the step and the remedy."""


def _run(step: str, *command: str, cwd: Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotBuild(f"{step}: {' '.join(command[:3])} failed: {done.stderr.strip()[-300:]}")
    return done.stdout


def require_apt() -> None:
    """Raises CannotBuild where apt, dpkg-deb or apt's lists are missing."""
    for program in ("apt-get", "apt-cache", "dpkg-deb"):
        if shutil.which(program) is None:
            raise CannotBuild(f"no {program} here: the tiny image is made of Debian packages; build it on Debian")


def depends(*names: str, recurse: bool = False) -> dict[str, list[str]]:
    """Package -> what it depends on, virtual packages left out; with `recurse` for all of those too, in the one
    call that costs what a single package does."""
    options = ["--important", "--recurse"] if recurse else ["--important"]
    found: dict[str, list[str]] = {}
    package = ""
    for line in _run("reading package lists", "apt-cache", "depends", *options, *names).splitlines():
        if line and not line.startswith((" ", "<")):
            package = line.strip()
            found.setdefault(package, [])
        elif match := re.match(r"\s*\|?(?:Pre)?Depends: ([^<\s]+)$", line):
            found.setdefault(package, []).append(match.group(1))
    return found


def kernel_package(arch: str) -> str:
    """The real package behind linux-image-cloud-ARCH."""
    try:
        meta = f"linux-image-cloud-{arch}"
        candidates = depends(meta).get(meta, [])
    except CannotBuild as error:
        raise CannotBuild(f"no kernel package in apt's lists: run apt-get update ({error})") from error
    for name in candidates:
        if name.startswith("linux-image-"):
            return name
    raise CannotBuild(f"linux-image-cloud-{arch} names no kernel: run apt-get update")


def with_libraries(names: list[str]) -> list[str]:
    """`names` and every library package they need, in turn."""
    known = depends(*names, recurse=True)
    wanted, seen = list(names), set(names)
    for name in wanted:
        for needed in known.get(name, []):
            if needed not in seen and re.match(r"lib(?!linux)|zlib", needed):
                seen.add(needed)
                wanted.append(needed)
    return wanted


def download(names: list[str], into: Path) -> list[Path]:
    """The .deb files of `names` in `into`. Works without root; apt checks the archive's signatures."""
    into.mkdir(parents=True, exist_ok=True)
    into.chmod(0o755)
    before = set(into.glob("*.deb"))
    _run("downloading packages", "apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", *names, cwd=into)
    return sorted(set(into.glob("*.deb")) - before) or sorted(before)


def unpack(package: Path, into: Path) -> None:
    into.mkdir(parents=True, exist_ok=True)
    _run(f"unpacking {package.name}", "dpkg-deb", "-x", str(package), str(into))
