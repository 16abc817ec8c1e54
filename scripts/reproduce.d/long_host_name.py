"""A member asks for a server with a host name of two thousand letters and a sign that no host name has."""

BEFORE = "13 s of the controller for 2,000 letters, eight times that for twice as many"
NEEDS = ()


def attack(world):
    cloud = world.cloud(hosts=0)
    server = {
        "name": "x", "imageRef": cloud.image, "flavorRef": "42", "networks": "none", "hostname": "a" * 2000 + "!",
    }  # fmt: skip
    said = []
    for name in ("a" * 2000 + "!", "a" * 900_000 + "!", "abc\n"):
        answer = cloud.session.post(
            f"{cloud.url}/v2.1/servers",
            json={"server": server | {"hostname": name}},
            headers={"X-OpenStack-Nova-API-Version": "2.90"},
            timeout=200,
        )
        said.append((answer.status_code, answer.elapsed.total_seconds(), "hostname" in answer.text))
    held = all(code == 400 and took_s < 2 and named for code, took_s, named in said)
    return held, "; ".join(f"{code} after {took_s:.2f} s" for code, took_s, _ in said)
