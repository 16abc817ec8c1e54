"""A cloud at log_level DEBUG is used with marked secrets: none is in any file of a log, in no encoding."""

from __future__ import annotations

import base64
import json
import re
import secrets
from urllib.parse import quote

import pytest
import requests

from nova0.mesh.errors import JoinRefused
from nova0.mesh.joining import join, mint_token
from tests.faults.processes import Cloud

pytestmark = pytest.mark.slow


def encodings(secret: str) -> set[bytes]:
    """How it might stand in a file: as it is, quoted, escaped, in hexadecimal, in base64 at each offset."""
    raw = secret.encode()
    found = {raw, quote(secret, safe="").encode(), json.dumps(secret)[1:-1].encode(), raw.hex().encode()}
    for shift in range(3):
        text = base64.b64encode(b"\0" * shift + raw)
        found.add(text[(0, 2, 3)[shift] : len(text) - 4])
    found |= {one.replace(b"+", b"-").replace(b"/", b"_") for one in found}
    return found


class Marked(list):
    """Secrets of a journey; `mark(what)` makes one."""

    def mark(self, what: str) -> str:
        self.append(f"{what}-{secrets.token_hex(12)}!")
        return self[-1]

    def has(self, what: str, secret: str) -> str:
        assert len(secret) >= 12, what
        self.append(secret)
        return secret

    def found_in(self, folder) -> list[str]:
        texts = {path: path.read_bytes() for path in folder.rglob("*.log*") if path.is_file()}
        assert sum(map(len, texts.values())) > 10_000, "the logs were looked at"
        return [
            f"{secret[:20]}... in {path.name} as {form[:20]!r}"
            for path, text in texts.items()
            for secret in self
            for form in encodings(secret)
            if form in text
        ]


@pytest.mark.covers("S036")
def test_no_secret_is_in_a_log_at_debug(tmp_path, monkeypatch):
    monkeypatch.setenv("NOVA0_LOG_LEVEL", "DEBUG")
    marked = Marked()
    cloud = Cloud(tmp_path, hosts=1)
    try:
        cloud.start()
        journey(cloud, marked)
        token = mint_token(cloud._settings("ctl", "controller", door_port=cloud.door), uses=1)
        marked.has("join token", token)
        marked.has("part of a join token", token[60:100])
        join(cloud._settings("newcomer", "host"), token)
        with pytest.raises(JoinRefused):
            join(cloud._settings("another", "host"), token)
    finally:
        cloud.stop()
    for path in tmp_path.glob("*/secrets/*.password"):
        marked.has(path.name, path.read_text().strip())
    for path in tmp_path.rglob("*.key"):
        marked.has(path.name, path.read_text(errors="replace").strip()[:40])
    assert not marked.found_in(tmp_path)
    told = b"".join(path.read_bytes() for path in tmp_path.rglob("*.log"))
    assert b" DEBUG " in told
    assert not re.search(rb"INSERT INTO|UPDATE \"|SELECT ", told), "a statement"


def journey(cloud: Cloud, marked: Marked) -> None:
    url, session = cloud.url, cloud.session
    marked.has("token", session.headers["X-Auth-Token"])

    def post(path, body, ok=(200, 201, 202, 204), who=session, **more):
        answer = who.post(url + path, json=body, timeout=60, **more)
        assert answer.status_code in ok, (path, answer.status_code, answer.text)
        return answer

    def log_in(name, password, ok):
        user = {"name": name, "domain": {"id": "default"}, "password": password}
        body = {
            "auth": {
                "identity": {"methods": ["password"], "password": {"user": user}},
                "scope": {"project": {"name": "admin", "domain": {"id": "default"}}},
            }
        }
        answer = post("/identity/v3/auth/tokens", body, (ok,), requests)
        return marked.has("token", answer.headers["X-Subject-Token"]) if ok == 201 else ""

    # users, their passwords and credentials
    old, new = marked.mark("password"), marked.mark("newpassword")
    made = post("/identity/v3/users", {"user": {"name": "u", "password": old}}).json()["user"]["id"]
    roles = session.get(f"{url}/identity/v3/roles?name=member").json()["roles"][0]["id"]
    path = f"/identity/v3/projects/{cloud.project}/users/{made}/roles/{roles}"
    assert session.put(url + path).status_code == 204
    log_in("u", marked.mark("wrongpassword"), 401)
    log_in("nobody", marked.mark("otherwrong"), 401)
    post(
        f"/identity/v3/users/{made}/password",
        {"user": {"original_password": marked.mark("wrongold"), "password": new}},
        (401,),
        requests,
    )
    post(f"/identity/v3/users/{made}/password", {"user": {"original_password": old, "password": new}}, (204,), requests)
    session.patch(f"{url}/identity/v3/users/{made}", json={"user": {"password": new, "enabled": 5}})
    token = log_in("u", new, 201)
    user = requests.Session()
    user.headers.update({"X-Auth-Token": token, "X-OpenStack-Nova-API-Version": "2.37"})
    credential = {"application_credential": {"name": "c", "secret": marked.mark("appcredential")}}
    made_id = post(f"/identity/v3/users/{made}/application_credentials", credential, who=user).json()[
        "application_credential"
    ]["id"]
    for secret, ok in ((marked[-1], 201), (marked.mark("wrongcredential"), 401)):
        identity = {"methods": ["application_credential"], "application_credential": {"id": made_id, "secret": secret}}
        answer = post("/identity/v3/auth/tokens", {"auth": {"identity": identity}}, (ok,), requests)
        if ok == 201:
            marked.has("token", answer.headers["X-Subject-Token"])
    # tokens where they should not stand
    stray = marked.mark("straytoken" + "a" * 40)
    requests.get(f"{url}/v2.1/servers?token={token}&password={stray}", timeout=20)
    requests.get(f"{url}/v2.0/tokens/{token}", timeout=20)
    both = {"X-Auth-Token": token, "X-Subject-Token": stray}
    requests.get(f"{url}/identity/v3/auth/tokens", headers=both, timeout=20)
    requests.get(f"{url}/v2.1/servers", headers={"X-Auth-Token": stray, "Cookie": stray, "X-A": stray}, timeout=20)
    # servers and what is theirs
    keypair = {"keypair": {"name": "k"}}
    private = post("/v2.1/os-keypairs", keypair).json()["keypair"].get("private_key", "")
    for line in private.splitlines()[1:-1]:
        if len(line) > 40:
            marked.has("private key", line)
    data = marked.mark("userdata")
    server = {
        "name": "s",
        "imageRef": cloud.image,
        "flavorRef": cloud._flavor(),
        "networks": [{"uuid": cloud.network}],
        "adminPass": marked.mark("adminpass"),
        "user_data": base64.b64encode(f"#cloud-config\npassword: {data}\n".encode()).decode(),
        "metadata": {"secret": marked.mark("metadata")},
        "key_name": "k",
    }
    made_server = post("/v2.1/servers", {"server": server}).json()["server"]
    cloud.rested(made_server["id"])
    other = {key: server[key] for key in server if key != "adminPass"} | {"name": "t"}
    again = post("/v2.1/servers", {"server": other})
    marked.has("adminPass", again.json()["server"]["adminPass"])
    cloud.rested(again.json()["server"]["id"])
    post("/v2.1/servers", {"server": server | {"flavorRef": "none"}}, (400,))
    post("/v2.1/servers", {"server": server | {"adminPass": 5, "user_data": data + "?"}}, (400,))
    broken = json.dumps({"server": server})[:-2].encode()
    kind = {"Content-Type": "application/json"}
    assert session.post(f"{url}/v2.1/servers", data=broken, headers=kind).status_code == 400
    path = f"/v2.1/servers/{made_server['id']}"
    post(f"{path}/metadata", {"metadata": {"more": marked.mark("moremetadata")}})
    rebuilt = {"imageRef": cloud.image, "adminPass": marked.mark("rebuildpass")}
    post(f"{path}/action", {"rebuild": rebuilt}, (202, 501))
    cloud.rested(made_server["id"])
    post(f"{path}/action", {"changePassword": {"adminPass": marked.mark("changedpass")}}, (202, 400, 403, 409, 501))
    post(f"{path}/action", {"os-getConsoleOutput": {}}, (200, 404, 409))
    post(f"{path}/remote-consoles", {"remote_console": {"protocol": "vnc", "type": "novnc"}}, (200, 400, 404, 409, 501))
    session.delete(url + path)
    cloud.rested(made_server["id"])
