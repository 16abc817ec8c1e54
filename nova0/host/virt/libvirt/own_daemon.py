"""A libvirtd of our own, for machines without systemd and without a running one.

It lives in a mount namespace where libvirt's fixed directories are those below `state_dir`/libvirt, so
it shares nothing with a libvirtd of the machine. It outlives nova0's processes, as guests do. Its guests run as a user
of their own (libvirt-qemu), with few devices, and bounded by control groups where the machine has them.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import time
import uuid
from pathlib import Path

from nova0 import atomic_file
from nova0.host.virt.libvirt import confinement
from nova0.objects.errors import DriverError

START_S = 30.0  # a cold capability cache takes about 8 s
STOP_S = 10.0
MOST_SOCKET_PATH = 107  # bytes the kernel takes for a UNIX socket's path

USER = "libvirt-qemu"  # Debian's; libvirtd does not start without it
MOST_THREADS = 16384  # of all guests of a host together: the kernel counts them by user

# Whose files are whose is nova0.host.disk.ownership's to say, so libvirt leaves owners as they are. Seccomp and no new
# privileges are QEMU's own sandbox, which libvirt turns on where QEMU has it.
QEMU_CONF = """user = "{user}"
group = "{user}"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
clear_emulator_capabilities = 1
cgroup_controllers = [ {controllers} ]
namespaces = [ {namespaces} ]
max_processes = {most_threads}
max_core = 0
stdio_handler = "file"
"""

LIBVIRTD_CONF = """host_uuid = "{host_uuid}"
unix_sock_group = "root"
unix_sock_ro_perms = "0700"
unix_sock_rw_perms = "0700"
auth_unix_rw = "none"
auth_unix_ro = "none"
listen_tls = 0
listen_tcp = 0
log_outputs = "3:file:{log}"
"""

# directory below state_dir/libvirt -> where libvirtd looks for it
PLACES = {
    "run": "/run/libvirt",
    "lib": "/var/lib/libvirt",
    "log": "/var/log/libvirt",
    "cache": "/var/cache/libvirt",
    "etc": "/etc/libvirt",
}

# A folder above the state that others may not pass (a home) is covered by an empty one that has the folders guests need
# in it; /dev is one of our own with the devices guests need, since QEMU's user can't use all that root can.
_ENTER = """set -e
home=$1 closed=$2 kvm=$3 user=$4; shift 4
mount --make-rprivate /
if [ -n "$closed" ]; then
  mount -t tmpfs -o mode=0711,size=1m passage /mnt
  for folder in libvirt instances images; do
    mkdir /mnt/$folder; mount --bind "${home%/*}/$folder" /mnt/$folder
  done
  mount -t tmpfs -o mode=0711,size=1m passage "$closed"
  for folder in libvirt instances images; do
    mkdir -p "${home%/*}/$folder"; mount --move /mnt/$folder "${home%/*}/$folder"
  done
  umount /mnt
fi
if [ "$kvm" != whole ]; then
  mkdir -p "$home/dev"
  mount -t tmpfs -o mode=0755,size=1m dev "$home/dev"
  for node in null zero full random urandom tty ptmx vhost-net; do
    if [ -e /dev/$node ]; then cp -a /dev/$node "$home/dev/$node"; fi
  done
  mkdir "$home/dev/pts" "$home/dev/shm" "$home/dev/net"
  if [ -e /dev/net/tun ]; then cp -a /dev/net/tun "$home/dev/net/tun"; fi
  if [ "$kvm" = yes ] && [ -e /dev/kvm ]; then
    cp -a /dev/kvm "$home/dev/kvm"; chown "root:$user" "$home/dev/kvm"; chmod 0660 "$home/dev/kvm"
  fi
  for mounted in pts shm; do
    if mountpoint -q /dev/$mounted; then mount --move /dev/$mounted "$home/dev/$mounted"; fi
  done
  ln -s /proc/self/fd "$home/dev/fd"
  if mountpoint -q /dev; then umount -l /dev; fi
  mount --move "$home/dev" /dev
fi
while [ "$1" != -- ]; do mkdir -p "$2"; mount --bind "$home/$1" "$2"; shift 2; done
shift
if [ "$kvm" = whole ] && [ -e "$home/no-kvm" ] && [ -e /dev/kvm ]; then
  mount --bind "$home/no-kvm" /dev/kvm
  mount -o remount,bind,ro /dev/kvm
fi
mkdir -p /run/lock
exec "$@"
"""


class OwnDaemon:
    """`home` is `state_dir`/libvirt. Starting what runs and stopping what does not are fine. With
    `without_kvm` set before its start the daemon sees no /dev/kvm: where KVM does not answer, libvirt's first
    look at its emulators is twice as quick, and nothing there can wait for it."""

    def __init__(self, host: str, state_dir: Path) -> None:
        self.host, self.home = host, (state_dir / "libvirt").absolute()
        self.socket = self.home / "run" / "libvirt-sock"
        self._pid_file = self.home / "libvirtd.pid"
        self.without_kvm = False

    @property
    def uri(self) -> str:
        return f"qemu+unix:///system?socket={self.socket}"

    def pid(self) -> int | None:
        """Its process, if it is really ours and alive."""
        try:
            pid = int(self._pid_file.read_text())
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            alive = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
        except (OSError, ValueError, IndexError):
            return None
        return pid if alive and str(self.home / "libvirtd.conf").encode() in words else None

    def start(self) -> None:
        """Start it unless it runs; returns when its socket answers. Raises DriverError with the remedy."""
        self._check()
        settings = self._settings()
        if self.pid() is not None and self.socket.exists():
            if all(path.exists() and path.read_text() == text for path, text in settings.items()):
                return
            self.stop()  # it is of an earlier version; guests run on as they are, and it takes them up again
        self._write_files(settings)
        program = shutil.which("libvirtd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") or "libvirtd"
        binds = [word for name, place in PLACES.items() for word in (name, place)]
        daemon = [program, "-f", str(self.home / "libvirtd.conf"), "-p", str(self._pid_file)]
        with (self.home / "log" / "start.log").open("wb") as said:
            child = subprocess.Popen(
                ["unshare", "-m", "sh", "-c", _ENTER, "sh", str(self.home), *self._place(), *binds, "--", *daemon],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
                cwd="/",
            )
        deadline = time.monotonic() + START_S
        while not (self.pid() and self._answers()):
            if child.poll() is not None or time.monotonic() > deadline:
                words = (self.home / "log" / "start.log").read_text(errors="replace").strip()[-300:]
                raise DriverError(
                    f"{self.host}: nova0's own libvirtd does not come up: {words or 'it says nothing'}: "
                    f"see {self.home}/log, or start the machine's libvirtd and set libvirt.connection_uri"
                )
            time.sleep(0.02)  # a daemon says nothing of its start and end

    def _answers(self) -> bool:
        """Its socket takes connections: the file is there a moment earlier."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(str(self.socket))
            except OSError:
                return False
        return True

    def stop(self) -> None:
        """End the daemon; guests run on (cut their power before, where they must go)."""
        pid = self.pid()
        if pid is None:
            return
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_S
        while self.pid() is not None:
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
                deadline += STOP_S
            time.sleep(0.02)  # a daemon says nothing of its start and end

    def _check(self) -> None:
        if os.geteuid() != 0:
            raise DriverError(
                f"{self.host}: no libvirtd answers and only root can start one: run as root, or start libvirtd "
                "and add this user to the group libvirt"
            )
        for program, package in (("libvirtd", "libvirt-daemon-system"), ("unshare", "util-linux")):
            if shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None:
                raise DriverError(f"{self.host}: no {program} here: install {package}")
        if len(str(self.socket).encode()) > MOST_SOCKET_PATH:
            raise DriverError(f"{self.host}: {self.socket} is too long for a socket: set a shorter state_path")

    def _settings(self) -> dict[Path, str]:
        """What it is started with, file by file."""
        identity = self.home / "host_uuid"  # stable and unlike any other daemon's on this machine
        if not identity.exists():
            self.home.mkdir(parents=True, exist_ok=True)
            atomic_file.write(identity, str(uuid.uuid4()))
        controllers = confinement.controllers()
        qemu = QEMU_CONF.format(
            user=USER,
            controllers=", ".join(f'"{name}"' for name in controllers),
            namespaces='"mount"' if self._makes_devices() else "",
            most_threads=MOST_THREADS,
        )
        daemon = LIBVIRTD_CONF.format(host_uuid=identity.read_text().strip(), log=self.home / "log" / "libvirtd.log")
        return {self.home / "etc" / "qemu.conf": qemu, self.home / "libvirtd.conf": daemon}

    def _makes_devices(self) -> bool:
        """Whether this machine lets root make device files; some containers do not."""
        probe = self.home / "null"
        try:
            probe.unlink(missing_ok=True)
            os.mknod(probe, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
        except OSError:
            return False
        probe.unlink()
        return True

    def _place(self) -> list[str]:
        """What the daemon's own view of the machine needs: the outermost folder above guests' files that QEMU's user
        may not pass, how /dev is made, and the user."""
        state = self.home.parent
        closed = [str(folder) for folder in (*reversed(state.parents), state) if not folder.stat().st_mode & 0o001]
        kvm = "whole" if not self._makes_devices() else "no" if self.without_kvm else "yes"
        return [closed[0] if closed else "", kvm, USER]

    def _write_files(self, settings: dict[Path, str]) -> None:
        self.home.chmod(0o700)
        for name in PLACES:
            (self.home / name).mkdir(exist_ok=True)
        for name in ("instances", "images"):
            (self.home.parent / name).mkdir(mode=0o711, exist_ok=True)
        for name in ("qemu", "nwfilter", "hooks"):
            (self.home / "etc" / name).mkdir(exist_ok=True)
        for path, text in settings.items():
            atomic_file.write(path, text)
        hidden = self.home / "no-kvm"  # bound over the device read-only: not even root may write to it
        if self.without_kvm:
            hidden.touch()
        else:
            hidden.unlink(missing_ok=True)
        self.socket.unlink(missing_ok=True)
