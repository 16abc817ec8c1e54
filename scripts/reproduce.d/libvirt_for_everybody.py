"""Another user of a host asks nova0's own libvirtd about guests, by its read-only socket."""

import subprocess
import sys

BEFORE = "names, projects, paths and the port of each screen, to anybody"
NEEDS = ("root", "libvirt")


def attack(world):
    from nova0.host.virt.libvirt.own_daemon import OwnDaemon

    world.folder.chmod(0o755)
    state = world.folder / "host"
    state.mkdir(mode=0o755)
    daemon = OwnDaemon("lab1", state)
    daemon.without_kvm = True
    world.defer(daemon.stop)
    daemon.start()
    socket = state / "libvirt/run/libvirt-sock-ro"
    code = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    child = [sys.executable, "-c", code, str(socket)]
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--", "/usr/bin/python3", *child[1:]]
    as_root = subprocess.run(child, capture_output=True, text=True).returncode
    said = subprocess.run(nobody, capture_output=True, text=True).stderr.strip().splitlines()[-1:]
    return as_root == 0 and "PermissionError" in "".join(said), f"root: {as_root}, nobody: {said}"
