"""A cloud to speak HTTP to: real store, real server on a free port, hosts and guests in memory."""

from gevent import monkey

monkey.patch_all()

import os  # noqa: E402
import shutil  # noqa: E402
from pathlib import Path  # noqa: E402

import pytest  # noqa: E402
from served import PASSWORD, Clients, Cloud, FakeGuests, FakeHosts, Http, client_env  # noqa: E402

from nova0.controller.api.application import make_app  # noqa: E402
from nova0.controller.api.server import serve  # noqa: E402
from nova0.controller.db.store import Store  # noqa: E402
from nova0.controller.identity.bootstrap import bootstrap  # noqa: E402
from nova0.controller.services import Services  # noqa: E402


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory):
    """One cloud for the tests of a file: they name what they make, and don't count what others made."""
    place = tmp_path_factory.mktemp("cloud")
    store = Store(place / "store.sqlite")
    bootstrap(store, PASSWORD)
    hosts, guests = FakeHosts(), FakeGuests()
    services = Services(store=store, hosts=hosts, guests=guests, state_dir=place, public_url="http://unset")
    server = serve(make_app(services), "127.0.0.1", 0)
    services.public_url = f"http://127.0.0.1:{server.port}"
    yield Cloud(services.public_url, services, hosts, guests, Http(services.public_url))
    server.stop(within_s=0.2)
    store.close()


@pytest.fixture(scope="module")
def clients(cloud: Cloud):
    """Clients logged in as demo. NOVA0_TEST_CLIENTS names their bin folder; else `openstack` on PATH."""
    folder = os.environ.get("NOVA0_TEST_CLIENTS") or os.path.dirname(shutil.which("openstack") or "")
    if not folder or not Path(folder, "openstack").exists():
        pytest.skip("no openstack client: set NOVA0_TEST_CLIENTS to the bin folder of an environment that has it")
    return Clients(Path(folder), client_env(cloud, "demo", "demo"))
