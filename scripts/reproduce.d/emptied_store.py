"""The controller's store is emptied, then somebody types `nova0 up`."""

BEFORE = "nova0 is up: a new cloud, without a word"
NEEDS = ()


def attack(world):
    options = {"NOVA0_MESH__MDNS": "false", "NOVA0_MESH__LISTEN": "127.0.0.1", "NOVA0_MESH__ADVERTISE": "127.0.0.1"}
    options |= {"HOME": str(world.folder), "NOVA0_MESH__DOOR_PORT": str(world.free_port())}
    up = ("up", "--fake", "--daemon", "--no-seed", "--port", str(world.free_port()))
    world.defer(lambda: world.nova0("down", **options))
    first = world.nova0(*up, **options)
    if first.returncode:
        return False, f"it could not be started: {first.stderr}"
    world.nova0("down", **options)
    for path in (world.folder / "state").glob("store.sqlite-*"):
        path.unlink()
    (world.folder / "state/store.sqlite").write_bytes(b"")
    again = world.nova0(*up, **options)
    held = again.returncode == 1 and "nova0 up --new-store" in again.stderr
    return held, f"exit code {again.returncode}: {(again.stderr or again.stdout).splitlines()[-1]}"
