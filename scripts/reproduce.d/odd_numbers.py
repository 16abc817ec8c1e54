"""Somebody gives numbers in digits of other scripts, or of more digits than any column holds, wherever one is read."""

BEFORE = "500 for each of these"
NEEDS = ()

QUERIES = (
    "/image/v2/images?size_min={}",
    "/v2.1/servers?power_state={}",
    "/v2.1/servers?launch_index={}",
    "/v2.1/servers?progress={}",
    "/v2.1/os-server-groups?offset={}",
    "/v2.1/flavors?minRam={}",
    "/v2.1/flavors?minDisk={}",
    "/v2.1/images/detail?minRam={}",
    "/v2.1/os-aggregates/{}",
    "/v2.1/os-hypervisors/{}/uptime",
)


def attack(world):
    cloud = world.cloud(hosts=0)
    told = {"X-OpenStack-Nova-API-Version": "2.1"}
    codes = {}
    for query in QUERIES:
        for digits in ("%C2%B2", "9" * 30, "9" * 5000, str(2**63)):
            answer = cloud.session.get(cloud.url + query.format(digits), headers=told, timeout=30)
            codes.setdefault(answer.status_code, set()).add(query.format("N"))
    many = "&".join(["status=ACTIVE"] * 400)
    for query in (f"/v2.1/servers?{many}", "/image/v2/images?name=in:%22a%0Db",
                  "/v2.1/os-simple-tenant-usage?start=0001-01-01T00:00:00%2B23:59"):  # fmt: skip
        answer = cloud.session.get(cloud.url + query, headers=told, timeout=30)
        codes.setdefault(answer.status_code, set()).add(query[:40])
    version = {"X-OpenStack-Nova-API-Version": "2." + "9" * 5000}
    codes.setdefault(cloud.session.get(f"{cloud.url}/v2.1/servers", headers=version).status_code, set()).add("version")
    faults = sorted(one for code, several in codes.items() if code >= 500 for one in several)
    return not faults, f"answers {sorted(codes)}" + (f"; faults at {', '.join(faults)}" if faults else "")
