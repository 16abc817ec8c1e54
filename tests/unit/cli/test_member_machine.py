"""A machine that joined with a token of role `member`, as the command line shows it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from nova0.mesh.joining import join, mint_token
from tests.faults.processes import Cloud, Process, until


@pytest.fixture
def cloud(tmp_path):
    made = Cloud(tmp_path, 0)
    made.start()
    yield made
    made.stop()


def nova0(cloud, *words):
    environment = {**os.environ, "NOVA0_STATE_PATH": str(cloud.folder / "ctl")}
    command = [sys.executable, "-m", "nova0.cli.main", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.slow
def test_it_is_there_for_users_agents_and_answers_no_topic_of_a_host(cloud):
    one = Process(cloud, "one", "host")
    one.state.mkdir()
    token = mint_token(cloud._settings("ctl", "controller", door_port=cloud.door), roles=("member",))
    join(cloud._settings("one", "host"), token)
    one.start()
    try:

        def shown():
            members = {m["node"]: m for m in json.loads(nova0(cloud, "agents", "--json").stdout)}
            return members.get("one/host") if members.get("one/host", {}).get("status") == "up" else None

        member = until(shown, 20, "it is up")
        assert (member["roles"], member["topics"], member["wrong_topics"]) == (["member"], [], [])
        assert cloud.up() == [], "no host for servers"
        assert nova0(cloud, "call", "mesh@one", "ping").returncode == 0
    finally:
        one.end()


@pytest.mark.slow
def test_a_token_for_a_topic_of_another_role_is_refused_with_the_role_it_takes(cloud):
    refused = nova0(cloud, "token", "--role", "member", "--topic", "conductor")
    assert refused.returncode == 2 and "'conductor' is answered by a controller, not by a member" in refused.stderr
    given = nova0(cloud, "token", "--topic", "billing", "--topic", "stock", "--json")
    assert json.loads(given.stdout)["topics"] == ["billing", "stock"], given.stderr
