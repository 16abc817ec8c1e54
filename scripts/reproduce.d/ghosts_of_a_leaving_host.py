"""A joined host goes away for good, with its guests; then somebody looks at its servers in the cloud."""

BEFORE = "`nova0 down` there removed guests and disks, and the cloud kept their servers ACTIVE for ever"
NEEDS = ()


def attack(world):
    cloud = world.cloud(hosts=1)
    server = cloud.boot("there")
    assert cloud.rested(server)["status"] == "ACTIVE"
    host = cloud.hosts[0]
    host.end()
    environment = {
        "NOVA0_HOST": host.host, "NOVA0_COMPUTE_DRIVER": "fake", "NOVA0_MESH__LISTEN": "127.0.0.1",
        "NOVA0_MESH__ADVERTISE": "127.0.0.1", "NOVA0_MESH__MDNS": "false", "HOME": str(world.folder),
    }  # fmt: skip
    unasked = world.nova0("leave", state=host.state, **environment)
    kept = len(cloud.guests()["lab1"])
    done = world.nova0("leave", "--yes", state=host.state, **environment)
    if done.returncode:
        return False, done.stderr
    found = cloud.server(server)
    fault = found.get("fault", {}).get("message", "")
    gone = cloud.delete(server) and cloud.rested(server) is None
    held = (unasked.returncode, kept) == (2, 1) and found["status"] == "ERROR" and "left the cluster" in fault and gone
    return held, f"without a yes nothing is done; then the server is {found['status']} ({fault}) and can be deleted"
