"""`nova0 tunnel`: an upgrade, then bytes both ways; a refusal says the API's reason."""

from __future__ import annotations

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

CARRY = """
import sys
from nova0.cli import tunnel
from nova0.cli.cloud import Cloud
from nova0.cli.failure import Failure
cloud = Cloud({})
cloud.token = "the-token"
cloud._endpoints = {"compute": sys.argv[1]}
try:
    sys.exit(tunnel.carry(cloud, "the-server", 22))
except Failure as failure:
    sys.exit(failure.message)
"""


@pytest.fixture
def api():
    """Echoes in upper case after an upgrade for the right token and server."""
    seen = {}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            seen.update(path=self.path, token=self.headers["X-Auth-Token"], upgrade=self.headers["Upgrade"])
            if seen.get("refuse"):
                body = b'{"message": "its host lab2 is down"}'
                self.send_response(503)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                return
            self.wfile.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\nSSH-2.0 early\n")
            while data := self.rfile.read1(65536):
                self.wfile.write(data.upper())
            self.close_connection = True

        def log_message(self, *words):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", seen
    server.shutdown()
    thread.join()
    server.server_close()


def carry(url: str, data: bytes) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", CARRY, url], input=data, capture_output=True, timeout=30)


def test_bytes_go_both_ways_and_early_ones_are_not_lost(api):
    url, seen = api
    data = b"hello " * 100_000
    done = carry(url + "/v2.1", data)
    assert done.returncode == 0, done.stderr
    assert done.stdout == b"SSH-2.0 early\n" + data.upper()
    assert (seen["path"], seen["token"], seen["upgrade"]) == (
        "/nova0/v1/tunnel/the-server/22", "the-token", "nova0-tunnel",
    )  # fmt: skip


def test_a_refusal_gives_the_reason(api):
    url, seen = api
    seen["refuse"] = True
    done = carry(url, b"")
    assert done.returncode == 1
    assert b"503" in done.stderr and b"its host lab2 is down" in done.stderr
