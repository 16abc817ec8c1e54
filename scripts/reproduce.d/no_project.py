"""A user with a role on a domain, in no project, makes an image and a group, and deletes an image that is nobody's."""

import requests

BEFORE = '201 and 200: they belonged to the project "", which is everybody\'s who has none'
NEEDS = ()


def attack(world):
    cloud = world.cloud(hosts=0)
    identity, admin = f"{cloud.url}/identity/v3", cloud.session
    user = admin.post(f"{identity}/users", json={"user": {"name": "dora", "password": "secret of dora"}}).json()["user"]
    [role] = admin.get(f"{identity}/roles?name=member").json()["roles"]
    admin.put(f"{identity}/domains/default/users/{user['id']}/roles/{role['id']}")
    proof = {"methods": ["password"], "password": {"user": {"id": user["id"], "password": "secret of dora"}}}
    body = {"auth": {"identity": proof, "scope": {"domain": {"id": "default"}}}}
    token = requests.post(f"{identity}/auth/tokens", json=body, timeout=30).headers["X-Subject-Token"]
    headers = {"X-Auth-Token": token}
    image = requests.post(f"{cloud.url}/image/v2/images", json={"name": "x"}, headers=headers, timeout=30)
    group = {"server_group": {"name": "x", "policies": ["affinity"]}}
    made = requests.post(f"{cloud.url}/v2.1/os-server-groups", json=group, headers=headers, timeout=30)
    said = [image.status_code, made.status_code]
    return said == [400, 400], f"{said}"
