"""The controller process: store, conductor, images and the HTTP API, and its node on the mesh."""

from __future__ import annotations

import logging
import secrets
import ssl
from pathlib import Path
from typing import Any

from nova0.agents import bundles
from nova0.agents.conductor import ConductorAgent
from nova0.agents.images import ImagesAgent

from nova0.config import CONF
from nova0.controller import assembly
from nova0.controller.api.application import make_app
from nova0.controller.api.server import serve
from nova0.controller.assembly import Controller
from nova0.controller.bridge import Bridge
from nova0.controller.compute.flavors import seed_flavors
from nova0.controller.db import facts, witness
from nova0.controller.db.store import Store
from nova0.controller.db.witness import Witness
from nova0.controller.identity.bootstrap import bootstrap
from nova0.mesh.node import Node

log = logging.getLogger(__name__)


class ControllerBundle:
    def __init__(self) -> None:
        state_dir = bundles.state_dir()
        cluster = cluster_key()
        self.note = witness.check(state_dir, cluster)
        if self.note:
            log.warning("%s", self.note)
        self.store = Store(witness.store_of(state_dir))
        store_facts = self.store.write(lambda: facts.opened(cluster))
        self.witness = Witness(store_facts.store_id, cluster, store_facts.boot)
        self.see_store()
        known = passwords(state_dir)
        bootstrap(self.store, known["admin"], known["demo"])
        self.store.write(seed_flavors)
        self.node = Node(
            bundles.mesh_settings(
                "controller",
                ("controller",),
                store_id=store_facts.store_id,
                commit_mark=self.store.commit_mark,
            )
        )
        self.controller = Controller(
            self.store,
            self.node,
            state_dir=state_dir,
            cluster_id=self.node.cluster_id,
            public_url=public_url(),
            owner=f"{bundles.host_name()}#{store_facts.boot}",
        )
        self.controller.services.mesh = Bridge(self.node)
        self.node.offer(ConductorAgent(self.controller))
        self.node.offer(ImagesAgent(self.controller))
        self.server: Any = None

    def start(self) -> None:
        """The API first (a port in use is said at once), then the mesh, then the work left undone."""
        self.server = serve(
            make_app(self.controller.services),
            CONF.api.osapi_listen,
            CONF.api.osapi_listen_port,
            tls=tls(),
            per_address=CONF.api.connections_per_address,
        )
        self.node.start()
        self.controller.start()
        log.info("API at %s", public_url())

    def see_store(self) -> None:
        """Note how far the store has come, where a lost or older one would be noticed by it."""
        self.witness.mark = self.store.commit_mark()
        witness.write(bundles.state_dir(), self.witness)

    def facts(self) -> dict[str, Any]:
        notes = [self.note] if self.note else []
        return {"api_url": public_url(), "door_port": self.node.door_port, "notes": notes}

    def stop(self) -> None:
        assembly.quietly("API", self.server.stop)
        assembly.quietly("conductor", self.controller.stop)
        assembly.quietly("mesh", self.node.stop)
        assembly.quietly("witness", self.see_store)
        assembly.quietly("store", self.store.close)


def cluster_key() -> str:
    """Hex; "" on a machine that is no member, whose node then says so."""
    root = bundles.mesh_dir() / "root.pub"
    return root.read_bytes().hex() if root.exists() else ""


def public_url() -> str:
    """How clients reach the API."""
    if CONF.api.public_url:
        return CONF.api.public_url.rstrip("/")
    scheme = "https" if CONF.api.tls_cert_file else "http"
    return f"{scheme}://{CONF.api.osapi_listen}:{CONF.api.osapi_listen_port}"


def tls() -> ssl.SSLContext | None:
    """The server's TLS, where a certificate is configured."""
    if not CONF.api.tls_cert_file:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(CONF.api.tls_cert_file, CONF.api.tls_key_file)
    return context


def passwords(state_dir: Path) -> dict[str, str]:
    """{user: password} of admin and demo: generated once, each in a file of mode 0600."""
    from nova0.mesh.keys import write_secret

    found = {}
    for user in ("admin", "demo"):
        path = state_dir / "secrets" / f"{user}.password"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_secret(path, secrets.token_urlsafe(18).encode())
        found[user] = path.read_text().strip()
        if not found[user]:
            raise RuntimeError(f"{path} is empty: put it back from a backup, or write {user}'s password into it")
    return found
