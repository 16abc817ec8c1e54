"""The controller's disk takes no more while clients ask for changes; then there is room again."""

import resource

BEFORE = "500 of each, and no word of the disk"
NEEDS = ()


def attack(world):
    cloud = world.cloud(hosts=0)
    child = cloud.controller.child.pid
    hard = resource.prlimit(child, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(child, resource.RLIMIT_FSIZE, (1, hard))
    asked = {
        "compute": ("/v2.1/os-keypairs", {"keypair": {"name": "k"}}),
        "network": ("/network/v2.0/networks", {"network": {"name": "n2"}}),
        "identity": ("/identity/v3/projects", {"project": {"name": "p"}}),
        "image": ("/image/v2/images", {"name": "i"}),
    }
    full = {name: cloud.session.post(cloud.url + path, json=body) for name, (path, body) in asked.items()}
    resource.prlimit(child, resource.RLIMIT_FSIZE, (hard, hard))
    after = {name: cloud.session.post(cloud.url + path, json=body) for name, (path, body) in asked.items()}
    held = all(a.status_code == 507 and "free space" in a.text for a in full.values())
    held = held and all(a.status_code in (200, 201) for a in after.values())
    codes = ", ".join(f"{name} {full[name].status_code}, then {after[name].status_code}" for name in asked)
    return held, codes
