"""ssh into a guest, through its host: which key, which user, which way.

Never straight to its address: that is the address of something else on this machine's own network, if of anything.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

from nova0.cli import servers, settings, ssh_key
from nova0.cli.cloud import Cloud, NotFound
from nova0.cli.failure import Failure
from nova0.cli.person import caller

_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")


def login(args: argparse.Namespace) -> int:
    """Become ssh. Returns only by raising Failure."""
    state_path = settings.state_path(args)
    if shutil.which("ssh") is None:
        raise Failure("there is no ssh here: install openssh-client")
    cloud = Cloud.named()
    server = servers.find(cloud, args.name)
    if not servers.addresses(server):
        raise Failure(f"{server['name']} has no address: `nova0 log {server['name']}` shows its console")
    if server["status"] != "ACTIVE":
        raise Failure(f"{server['name']} is {server['status']}, not ACTIVE: `nova0 ps` tells more")
    identity = Path(args.identity) if args.identity else ssh_key.path_of(caller(), state_path)
    if not identity.exists():
        raise Failure(f"no key {identity}: name yours with --identity")
    command = [*options(identity, server["id"]), "-o", f"ProxyCommand={_proxy(args, server['id'])}"]
    user = args.user or _user(cloud, server)
    command += ["-l", user, server["id"], *args.remote]
    sys.stdout.flush()
    os.execvp("ssh", ["ssh", *command])  # noqa: S606 - no shell is wanted


def options(identity: Path, server_id: str) -> list[str]:
    """Host keys are kept by server id, since addresses are used again by later servers."""
    return [
        "-i", str(identity), "-o", "IdentitiesOnly=yes", "-o", f"HostKeyAlias={server_id}",
        "-o", "StrictHostKeyChecking=accept-new", "-o", f"UserKnownHostsFile={identity}.known_hosts",
        "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=20",
    ]  # fmt: skip


def _proxy(args: argparse.Namespace, server_id: str) -> str:
    words = [sys.executable, "-m", "nova0.cli.main", "tunnel", server_id, "22"]
    if args.config_file:
        words += ["--config-file", args.config_file]
    return shlex.join(words).replace("%", "%%")


def _user(cloud: Cloud, server: dict[str, object]) -> str:
    image = server.get("image")
    try:
        if isinstance(image, dict):
            user = str(cloud.get("image", f"/images/{image['id']}").get("os_admin_user") or "root")
            return user if _USER.fullmatch(user) else "root"  # an image may be anybody's
    except NotFound:
        pass
    return "root"
