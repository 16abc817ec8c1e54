"""Another user of a host looks into its guests' folders, disks, cached images and their ids."""

import os

BEFORE = "instances/ and its folders 0755, disks and cached images 0644, the ids of images listed: everybody read them"
NEEDS = ("root",)
NOBODY = 65534


def attack(world):
    cloud = world.cloud(hosts=1, NOVA0_FAKE__FETCH_IMAGES="true")
    os.umask(0o022)
    if (cloud.rested(cloud.boot()) or {}).get("status") != "ACTIVE":
        return False, "the server did not boot"
    for above in (world.folder, *world.folder.parents):
        if not above.stat().st_mode & 0o001 and above != world.folder.parent.parent:
            above.chmod(above.stat().st_mode | 0o011)
    places = [path for state in ("lab1", "ctl") for path in (world.folder / state).rglob("*")]
    guests = [path for path in places if {"instances", "images"} & set(path.relative_to(world.folder).parts)]
    seen = _as_nobody([path for path in guests if path.is_file() or path.is_dir()])
    return bool(guests) and not seen, f"of {len(guests)} files and folders {len(seen)} are read or listed {seen[:3]}"


def _as_nobody(paths):
    """Those that a user without rights can read or list."""
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            for path in paths:
                if os.access(path, os.R_OK):
                    os.write(tell, f"{path}\n".encode())
        finally:
            os._exit(0)
    os.close(tell)
    with os.fdopen(told) as lines:
        seen = lines.read().splitlines()
    os.waitpid(child, 0)
    return seen
