"""docs/mesh.md does what it says: its files are written and its commands run against real processes."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from tests.unit.cli.test_up import Box

PAGE = Path(__file__).parents[3] / "docs/mesh.md"
FILE = re.compile(r"`(\w+\.py)`")
WAIT_S = 60


def blocks() -> list[tuple[str, str, str]]:
    """(language, the prose before it, text) of every code block."""
    parts = re.split(r"^```(\w+)\n(.*?)^```\n", PAGE.read_text(), flags=re.M | re.S)
    return [(parts[at + 1], parts[at], parts[at + 2]) for at in range(0, len(parts) - 1, 3)]


def commands(text: str) -> list[tuple[str, str]]:
    """(command, what it is said to print) of a block; a backslash goes on in the next line."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        command, _, said = line.partition("    # ")
        found.append((command.strip(), said.strip()))
    return found


class OpenStack:
    """The one command of the field's client that the page uses, where that client is not installed."""

    TEXT = """#!{python}
import sys, requests, yaml
assert sys.argv[1:] == ["--os-cloud", "nova0-admin", "token", "issue", "-f", "value", "-c", "id"], sys.argv
auth = yaml.safe_load(open("{clouds}"))["clouds"]["nova0-admin"]["auth"]
user = {{"name": auth["username"], "domain": {{"id": "default"}}, "password": auth["password"]}}
scope = {{"project": {{"name": auth["project_name"], "domain": {{"id": "default"}}}}}}
body = {{"auth": {{"identity": {{"methods": ["password"], "password": {{"user": user}}}}, "scope": scope}}}}
print(requests.post(auth["auth_url"] + "/auth/tokens", json=body).headers["X-Subject-Token"])
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    box = Box(tmp_path_factory.mktemp("mesh_page") / "lab", "lab1")
    programs = box.folder / "bin"
    programs.mkdir()
    stand_ins = {
        "nova0": f'#!/bin/sh\nexec {sys.executable} -m nova0.cli.main "$@"\n',
        "python3": f'#!/bin/sh\nexec {sys.executable} "$@"\n',
        "openstack": OpenStack.TEXT.format(python=sys.executable, clouds=box.clouds),
    }
    for name, text in stand_ins.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    box.environment["PATH"] = f"{programs}:{os.environ['PATH']}"
    box.up(NOVA0_LOG_LEVEL="DEBUG")
    yield box
    box.away()


@pytest.mark.slow
@pytest.mark.design("N10")
def test_every_file_and_command_of_the_page_does_what_it_says(lab):
    running, printed, shell = [], [], ""
    try:
        for language, before, text in blocks():
            if language == "python":
                (lab.folder / FILE.findall(before)[-1]).write_text(text)
                continue
            for command, said in commands(text):
                command = command.replace("127.0.0.1:8774", f"127.0.0.1:{lab.port}")
                if command.endswith(" &"):
                    running.append(begun(lab, command.removesuffix(" &")))
                    continue
                if re.match(r"\w+=", command):  # a variable for the commands that follow
                    shell += command + "\n"
                    continue
                done = ran(lab, shell + command)
                deadline = time.monotonic() + WAIT_S  # a cast is on its way to the copy
                while "user/reader" in command and done.stdout.strip() != said and time.monotonic() < deadline:
                    done = ran(lab, shell + command)
                assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}\n{lab.logs()}"
                assert done.stdout.startswith(said) and bool(said) == bool(done.stdout), f"{command}\n{done.stdout}"
                printed.append(said)
    finally:
        for process in running:
            process.terminate()
            process.wait()
    assert printed[0] == "hello Ada" and "hello Bob" in printed and '{"result":"hello Eve"}' in printed
    assert len(printed) == 6 and printed[-1] == "3"


def ran(lab, command):
    return subprocess.run(
        ["bash", "-euc", command], env=lab.environment, cwd=lab.folder, capture_output=True, text=True, timeout=WAIT_S
    )


def begun(lab, command):
    """Runs in the background until its agent answers."""
    file = lab.folder / f"{Path(shlex.split(command)[-1]).stem}.log"
    with open(file, "w") as log:
        process = subprocess.Popen(shlex.split(command), env=lab.environment, cwd=lab.folder, stdout=log, stderr=log)
    deadline = time.monotonic() + WAIT_S
    while not (topic := re.search(r"answers (user/\w+)", file.read_text())):
        assert process.poll() is None and time.monotonic() < deadline, file.read_text()
        time.sleep(0.05)
    lab.wait(lambda: any(topic[1] in one["topics"] and one["status"] == "up" for one in lab.json("agents")), WAIT_S)
    return process


def test_the_way_there_takes_twenty_lines():
    way = blocks()[: next(n for n, (_, before, _) in enumerate(blocks()) if "## What it is" in before)]
    typed = [line for _, _, text in way for line in text.splitlines() if line.strip()]
    assert len(typed) <= 20


@pytest.mark.slow
@pytest.mark.covers("S362")
def test_a_request_s_trace_is_in_the_logs_of_the_controller_and_of_the_host(lab):
    """Through real HTTP and real processes."""
    sent = "4bf92f3577b34da6a3ce929d0e0e4736"
    token = subprocess.run(
        ["openstack", "--os-cloud", "nova0-admin", "token", "issue", "-f", "value", "-c", "id"],
        env=lab.environment, capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    headers = {"X-Auth-Token": token, "OpenStack-API-Version": "compute 2.37"}
    url = f"http://127.0.0.1:{lab.port}"

    def first(path, kind):
        return requests.get(url + path, headers=headers, timeout=WAIT_S).json()[kind][0]["id"]

    wanted = {
        "name": "traced",
        "flavorRef": first("/v2.1/flavors", "flavors"),
        "imageRef": first("/image/v2/images", "images"),
        "networks": "none",
    }
    headers["traceparent"] = f"00-{sent}-00f067aa0ba902b7-01"
    answer = requests.post(url + "/v2.1/servers", json={"server": wanted}, headers=headers, timeout=WAIT_S)
    assert answer.status_code == 202, answer.text
    request_id = answer.headers["X-Openstack-Request-Id"]
    for process in ("controller", "host"):
        log = lab.state / f"log/{process}.log"
        lines = lab.wait(lambda log=log: [x for x in log.read_text().splitlines() if f"trace={sent}/" in x], WAIT_S)
        assert any(request_id in line for line in lines)
