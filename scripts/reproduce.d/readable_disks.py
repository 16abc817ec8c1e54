"""Another user of a host looks into its guests' folders, disks, cached images and their ids."""

import os
import subprocess

BEFORE = "instances/ and its folders 0755, disks and cached images 0644, the ids of images listed: everybody read them"
NEEDS = ("root",)
NOBODY = 65534


def attack(world):
    cloud = world.cloud(hosts=1, NOVA0_FAKE__FETCH_IMAGES="true")
    os.umask(0o022)
    if (cloud.rested(cloud.boot()) or {}).get("status") != "ACTIVE":
        return False, "the server did not boot"
    for above in (world.folder, *world.folder.parents[:-2]):
        above.chmod(above.stat().st_mode | 0o011)  # of the folder for attacks, not of what is below it
    places = [path for state in ("lab1", "ctl") for path in (world.folder / state).rglob("*")]
    guests = [path for path in places if {"instances", "images"} & set(path.relative_to(world.folder).parts)]
    seen = _as_nobody([path for path in guests if path.is_file() or path.is_dir()])
    return bool(guests) and not seen, f"of {len(guests)} files and folders {len(seen)} are read or listed {seen[:3]}"


def _as_nobody(paths):
    """Those that a user without rights can read or list."""
    reads = ["xargs", "-0", "sh", "-c", 'for path; do test -r "$path" && echo "$path"; done; true', "sh"]
    nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    names = "\0".join(map(str, paths))
    done = subprocess.run([*nobody, *reads], input=names, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()
