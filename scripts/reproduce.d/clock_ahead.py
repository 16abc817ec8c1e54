"""A token is taken back, the controller is started a day ahead for a while, then with the right clock."""

import requests

BEFORE = "the token that was taken back is good again: 200"
NEEDS = ()
AHEAD = "import time\n_real = time.time\ntime.time = lambda: _real() + 86400\n"


def attack(world):
    cloud = world.cloud(hosts=0)
    admin = cloud.session.headers["X-Auth-Token"]
    tokens = f"{cloud.url}/identity/v3/auth/tokens"

    def take_back(token):
        return requests.delete(tokens, headers={"X-Auth-Token": token, "X-Subject-Token": token}, timeout=20)

    take_back(admin)
    ahead = world.folder / "ahead"
    ahead.mkdir()
    (ahead / "sitecustomize.py").write_text(AHEAD)
    restart(cloud, PYTHONPATH=str(ahead))
    cloud.log_in()
    take_back(cloud.session.headers["X-Auth-Token"])  # forgets those that have ended by this clock
    cloud.controller.options.pop("PYTHONPATH")
    restart(cloud)
    answer = requests.get(f"{cloud.url}/identity/v3/auth/projects", headers={"X-Auth-Token": admin}, timeout=20)
    return answer.status_code == 401, f"the token that was taken back: {answer.status_code}"


def restart(cloud, **options):
    cloud.controller.end()
    cloud.controller.options |= options
    cloud.controller.start()
