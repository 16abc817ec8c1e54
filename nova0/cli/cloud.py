"""An ordinary client of the cloud's HTTP API: signs in from clouds.yaml, finds services in the catalogue.

Only what the commands need; nothing here knows where nova0 keeps its state.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import requests

from nova0.cli.failure import Failure

COMPUTE_MICROVERSION = "2.37"
TIMEOUT_S = (5, 60)  # connect, read


class NotFound(Failure):
    """The API has no such thing."""


class Cloud:
    """One signed-in session. Paths are relative to a service's endpoint: `get("compute", "/servers")`."""

    def __init__(self, entry: dict[str, Any], name: str = "nova0") -> None:
        self.name = name
        self.entry = entry
        self.session = requests.Session()
        self.session.trust_env = False  # a proxy from the environment has no business with a cloud on loopback
        self.session.verify = entry.get("cacert") or entry.get("verify", True)
        self.token = ""
        self.project_id = self.user_id = ""
        self._endpoints: dict[str, str] = {}

    @classmethod
    def named(cls, name: str | None = None) -> Cloud:
        """The cloud called `name`, or $OS_CLOUD, or `nova0`; signed in."""
        from nova0.cli import clouds
        from nova0.config import CONF, state_home

        name = name or os.environ.get("OS_CLOUD") or "nova0"
        try:
            state = CONF.state_path
        except Exception:  # noqa: BLE001 - no configuration was read: the usual place
            state = str(state_home())
        from pathlib import Path

        cloud = cls(clouds.find(name, Path(state)), name)
        cloud.sign_in()
        return cloud

    def sign_in(self) -> None:
        auth = self.entry.get("auth") or {}
        domain = {"id": auth.get("project_domain_id", "default")}
        user = {
            "name": auth.get("username"),
            "password": auth.get("password"),
            "domain": {"id": auth.get("user_domain_id", "default")},
        }
        body = {
            "auth": {
                "identity": {"methods": ["password"], "password": {"user": user}},
                "scope": {"project": {"name": auth.get("project_name"), "domain": domain}},
            }
        }
        url = str(auth.get("auth_url", "")).rstrip("/")
        answer = self._send("POST", f"{url}/auth/tokens", json=body)
        if answer.status_code == 401:
            raise Failure(
                f"{self.name}: {url} does not accept the password in clouds.yaml: `nova0 up` on the controller "
                "writes the right one"
            )
        self._check(answer, f"POST {url}/auth/tokens")
        self.token = answer.headers["X-Subject-Token"]
        token = answer.json()["token"]
        self.project_id, self.user_id = token["project"]["id"], token["user"]["id"]
        for service in token.get("catalog", []):
            for endpoint in service["endpoints"]:
                if endpoint["interface"] == "public":
                    self._endpoints.setdefault(service["type"], endpoint["url"].rstrip("/"))

    def endpoint(self, service: str) -> str:
        """Base URL of `service` ("compute", "image", "network", "identity"), as the catalogue has it; "nova0" is
        what nova0 offers beside them."""
        if service == "nova0":
            compute = urlsplit(self.endpoint("compute"))
            return f"{compute.scheme}://{compute.netloc}/nova0/v1"
        try:
            url = self._endpoints[service]
        except KeyError:
            raise Failure(f"{self.name} offers no {service} service: see `openstack catalog list`") from None
        version = {"image": "/v2", "network": "/v2.0"}.get(service, "")
        return url if not version or url.endswith(version) else url + version

    def get(self, service: str, path: str, **query: Any) -> Any:
        return self.ask("GET", service, path, params=query).json()

    def post(self, service: str, path: str, body: Any) -> Any:
        answer = self.ask("POST", service, path, json=body)
        return answer.json() if answer.content else None

    def put_bytes(self, path: str, data: Any) -> None:
        """Upload an image's bytes."""
        self.ask("PUT", "image", path, data=data, headers={"Content-Type": "application/octet-stream"})

    def delete(self, service: str, path: str) -> None:
        self.ask("DELETE", service, path)

    def ask(self, method: str, service: str, path: str, **more: Any) -> requests.Response:
        headers = {"X-Auth-Token": self.token, "Accept": "application/json", **more.pop("headers", {})}
        if service == "compute":
            headers["OpenStack-API-Version"] = f"compute {COMPUTE_MICROVERSION}"
        url = self.endpoint(service) + path
        answer = self._send(method, url, headers=headers, **more)
        self._check(answer, f"{method} {url}")
        return answer

    def pages(self, service: str, path: str, key: str, **query: Any) -> Iterator[dict[str, Any]]:
        """Every item of a list, page after page."""
        marker: str | None = None
        while True:
            items = self.get(service, path, **query, **({"marker": marker} if marker else {}))
            yield from items[key]
            links = items.get(f"{key}_links") or ([{"rel": "next"}] if items.get("next") else [])
            if not items[key] or not any(link.get("rel") == "next" for link in links):
                return
            marker = items[key][-1]["id"]

    def _send(self, method: str, url: str, **more: Any) -> requests.Response:
        try:
            return self.session.request(method, url, timeout=TIMEOUT_S, **more)
        except requests.exceptions.SSLError as error:
            raise Failure(f"{url}: its certificate is not one clouds.yaml trusts (cacert): {error}") from error
        except requests.ConnectionError as error:
            raise Failure(f"nothing answers at {url}: is the controller up? `nova0 up` starts it") from error
        except requests.Timeout as error:
            raise Failure(f"{url} did not answer within {TIMEOUT_S[1]} s: see the controller's log") from error
        except requests.exceptions.RequestException as error:
            raise Failure(f"{url}: {error}: check auth_url of {self.name} in clouds.yaml") from error

    @staticmethod
    def _check(answer: requests.Response, what: str) -> None:
        if answer.status_code < 400:
            return
        kind = NotFound if answer.status_code == 404 else Failure
        raise kind(f"{_reason(answer)} ({answer.status_code} to {what})")


def _reason(answer: requests.Response) -> str:
    try:
        body = answer.json()
    except ValueError:
        return answer.text.strip()[:200] or answer.reason
    for value in body.values() if isinstance(body, dict) else ():
        if isinstance(value, dict) and value.get("message"):
            return str(value["message"])
        if isinstance(value, str):
            return value
    return answer.reason
