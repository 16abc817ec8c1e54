"""An administrator tags a project, and a member a server, with a tag that ends in a newline."""

BEFORE = "500, and the tag was stored"
NEEDS = ()


def attack(world):
    cloud = world.cloud(hosts=1)
    server = cloud.boot()
    told = {"X-OpenStack-Nova-API-Version": "2.94"}
    said = []
    for path in (f"/v2.1/servers/{server}/tags", f"/identity/v3/projects/{cloud.project}/tags"):
        answer = cloud.session.put(f"{cloud.url}{path}/a%0A", headers=told, timeout=30)
        kept = cloud.session.get(f"{cloud.url}{path}", headers=told, timeout=30).json()["tags"]
        said.append((answer.status_code, kept))
    return all(code == 400 and not kept for code, kept in said), f"{said}"
