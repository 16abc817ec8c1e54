"""What API tests speak with: a served cloud, HTTP clients with a token, and the field's own programs."""

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from nova0.controller.db.store import Store
from nova0.controller.services import HostLife, Services

PASSWORD = "correct horse"


@dataclass
class FakeHosts:
    """Hosts as the mesh would see them: `lives[host] = HostLife(...)`."""

    lives: dict[str, HostLife] = field(default_factory=dict)
    out: dict[str, tuple[str, float]] = field(default_factory=dict)

    def put_out(self) -> dict[str, tuple[str, float]]:
        return self.out

    def life(self, host: str) -> HostLife:
        return self.lives.get(host) or HostLife(host=host, alive=False, status="unknown", age_s=None)

    def all(self) -> list[HostLife]:
        return list(self.lives.values())


@dataclass
class FakeGuests:
    """Remembers what it was told; `logs[uuid]` is a console's text."""

    logs: dict[str, bytes] = field(default_factory=dict)
    changed: list[list[str]] = field(default_factory=list)
    described: list[str] = field(default_factory=list)

    def console_log(self, host: str, instance_uuid: str, most_bytes: int) -> bytes:
        return self.logs.get(instance_uuid, b"")[-most_bytes:]

    def describe_anew(self, instance_uuid: str) -> None:
        self.described.append(instance_uuid)

    def networks_changed(self, network_ids: list[str]) -> None:
        self.changed.append(network_ids)


class Http:
    """A client of one cloud with one token; answers are requests.Response."""

    def __init__(self, url: str, token: str | None = None, project_id: str = "", user_id: str = "") -> None:
        self.url, self.token, self.project_id, self.user_id = url, token, project_id, user_id
        self.session = requests.Session()
        self.session.trust_env = False

    def __call__(self, method: str, path: str, **more: Any) -> requests.Response:
        headers = {"X-Auth-Token": self.token} if self.token else {}
        version = more.pop("version", None)
        if version:
            headers["OpenStack-API-Version"] = f"compute {version}"
            headers["X-OpenStack-Nova-API-Version"] = version
        headers |= more.pop("headers", {})
        return self.session.request(method, self.url + path, headers=headers, timeout=20, **more)

    def get(self, path: str, **more: Any) -> requests.Response:
        return self("GET", path, **more)

    def post(self, path: str, body: Any = None, **more: Any) -> requests.Response:
        return self("POST", path, json=body, **more)

    def put(self, path: str, body: Any = None, **more: Any) -> requests.Response:
        return self("PUT", path, json=body, **more)

    def patch(self, path: str, body: Any = None, **more: Any) -> requests.Response:
        return self("PATCH", path, json=body, **more)

    def delete(self, path: str, **more: Any) -> requests.Response:
        return self("DELETE", path, **more)


@dataclass
class Cloud:
    """One served cloud. `nobody` has no token; `as_user` logs in."""

    url: str
    services: Services
    hosts: FakeHosts
    guests: FakeGuests
    nobody: Http
    _kept: dict[tuple[str, str], Http] = field(default_factory=dict)

    @property
    def store(self) -> Store:
        return self.services.store

    def as_user(self, name: str, project: str, password: str = PASSWORD) -> Http:
        key = (name, project)
        if key not in self._kept:
            answer = self.nobody.post("/identity/v3/auth/tokens", login(name, project, password))
            assert answer.status_code == 201, answer.text
            token = answer.json()["token"]
            self._kept[key] = Http(
                self.url, answer.headers["X-Subject-Token"], token["project"]["id"], token["user"]["id"]
            )
        return self._kept[key]

    @property
    def admin(self) -> Http:
        return self.as_user("admin", "admin")

    @property
    def demo(self) -> Http:
        return self.as_user("demo", "demo")

    def new_user(self, name: str, project: str, role: str) -> Http:
        """A user with one role on a project; both are made where absent."""
        admin = self.admin
        found = admin.get(f"/identity/v3/projects?name={project}").json()["projects"]
        if not found:
            found = [admin.post("/identity/v3/projects", {"project": {"name": project}}).json()["project"]]
        users = admin.get(f"/identity/v3/users?name={name}").json()["users"]
        if not users:
            body = {"user": {"name": name, "password": PASSWORD}}
            users = [admin.post("/identity/v3/users", body).json()["user"]]
        roles = admin.get(f"/identity/v3/roles?name={role}").json()["roles"]
        path = f"/identity/v3/projects/{found[0]['id']}/users/{users[0]['id']}/roles/{roles[0]['id']}"
        assert admin.put(path).status_code == 204
        return self.as_user(name, project)

    @property
    def reader(self) -> Http:
        """A reader on project demo."""
        return self._kept.get(("reader", "demo")) or self.new_user("reader", "demo", "reader")

    @property
    def stranger(self) -> Http:
        """A member of another project."""
        return self._kept.get(("stranger", "elsewhere")) or self.new_user("stranger", "elsewhere", "member")


def login(name: str, project: str | None, password: str = PASSWORD) -> dict[str, Any]:
    """The body of POST auth/tokens for a password log-in, scoped to a project of the default domain."""
    user = {"name": name, "domain": {"id": "default"}, "password": password}
    body: dict[str, Any] = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}}}
    if project:
        body["auth"]["scope"] = {"project": {"name": project, "domain": {"id": "default"}}}
    return body


@dataclass
class Clients:
    """The field's own clients, from an environment of their own."""

    bin_dir: Path
    env: dict[str, str]

    def __call__(self, *words: str, ok: bool = True, timeout_s: float = 60) -> str:
        """Run one of their programs; its standard output. Fails the test when it fails (unless ok=False)."""
        done = subprocess.run(
            [str(self.bin_dir / words[0]), *words[1:]], env=self.env, capture_output=True, text=True, timeout=timeout_s
        )
        assert (done.returncode == 0) is ok, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
        return done.stdout if ok else done.stdout + done.stderr

    def openstack(self, *words: str, ok: bool = True) -> str:
        return self("openstack", *words, ok=ok).strip()

    def python(self, program: str) -> str:
        """Run a program with the clients' own interpreter; `cloud` in it is an openstacksdk connection."""
        start = "import openstack\ncloud = openstack.connect()\n"
        return self("python", "-c", start + program).strip()


def client_env(cloud: Cloud, user: str, project: str) -> dict[str, str]:
    """The environment variables of the field's clients for one user."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(cloud.services.state_dir),
        "OS_AUTH_URL": cloud.url + "/identity/v3",
        "OS_USERNAME": user,
        "OS_PASSWORD": PASSWORD,
        "OS_PROJECT_NAME": project,
        "OS_USER_DOMAIN_ID": "default",
        "OS_PROJECT_DOMAIN_ID": "default",
        "OS_REGION_NAME": cloud.services.region,
        "OS_IDENTITY_API_VERSION": "3",
    }
