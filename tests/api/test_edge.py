"""The HTTP edge: what every API answers alike, before any resource is reached."""

import socket
import threading

import pytest

from nova0.controller.api.server import PortTaken, serve


@pytest.mark.covers("S061")
def test_root_lists_compute_versions_without_a_token(cloud):
    answer = cloud.nobody.get("/")
    assert answer.status_code == 200
    versions = {one["id"]: one for one in answer.json()["versions"]}
    assert versions["v2.1"]["links"][0]["href"] == cloud.url + "/v2.1/"
    assert versions["v2.1"]["min_version"] == "2.1"
    assert versions["v2.0"]["version"] == ""


@pytest.mark.covers("S061", "S062")
def test_both_compute_roots_are_served(cloud):
    assert cloud.nobody.get("/v2.1/").json()["version"]["id"] == "v2.1"
    assert cloud.nobody.get("/v2").json()["version"]["id"] == "v2.0"
    assert "OpenStack-API-Version" not in cloud.nobody.get("/v2").headers


@pytest.mark.parametrize("path", ["/", "/identity", "/image", "/network", "/v2.1"])
def test_every_answer_has_a_request_id(cloud, path):
    answer = cloud.nobody.get(path)
    assert answer.headers["X-Openstack-Request-Id"].startswith("req-")


def test_microversions_are_negotiated_and_echoed(cloud):
    answer = cloud.nobody.get("/v2.1", version="2.5")
    assert answer.headers["OpenStack-API-Version"] == "compute 2.5"
    assert answer.headers["X-OpenStack-Nova-API-Version"] == "2.5"
    assert "X-OpenStack-Nova-API-Version" in answer.headers["Vary"]
    highest = cloud.nobody.get("/v2.1").json()["version"]["version"]
    assert cloud.nobody.get("/v2.1", version="latest").headers["X-OpenStack-Nova-API-Version"] == highest
    assert cloud.nobody.get("/v2.1", version="2.999").status_code == 406
    assert cloud.nobody.get("/v2.1", version="2.999").json()["computeFault"]["code"] == 406
    assert cloud.nobody.get("/v2.1", version="two").json()["badRequest"]["code"] == 400


@pytest.mark.covers("S036")
def test_no_token_and_a_wrong_token_are_401_in_json(cloud):
    for headers in ({}, {"X-Auth-Token": "gAAAAA-nonsense"}, {"X-Auth-Token": "ü"}):
        answer = cloud.nobody.get("/network/v2.0/networks", headers={k: v.encode() for k, v in headers.items()})
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == 401
        assert "Keystone uri" in answer.headers["WWW-Authenticate"]


@pytest.mark.covers("S359")
def test_wrong_verb_is_405_and_unknown_path_404_in_the_services_words(cloud):
    assert cloud.nobody("PATCH", "/network/v2.0/networks").json()["NeutronError"]["type"] == "HTTPMethodNotAllowed"
    assert cloud.nobody("PATCH", "/network/v2.0/networks").status_code == 405
    assert cloud.nobody.get("/v2.1/no-such-thing").json()["itemNotFound"]["code"] == 404
    assert cloud.nobody.get("/identity/v3/no-such-thing").json()["error"]["code"] == 404
    assert cloud.nobody.get("/image/v2/no-such-thing").json()["title"] == "Not Found"
    assert cloud.nobody.get("/nowhere").status_code == 404


@pytest.mark.covers("S360")
def test_xml_is_415_and_malformed_json_400(cloud):
    path = "/identity/v3/auth/tokens"
    answer = cloud.nobody("POST", path, data="<auth/>", headers={"Content-Type": "application/xml"})
    assert answer.status_code == 415
    for broken in (b"{", b'{"auth": NaN}', b"\xff\xfe", b"[" * 100000):
        answer = cloud.nobody("POST", path, data=broken, headers={"Content-Type": "application/json"})
        assert answer.status_code == 400, broken[:20]
        assert "JSON" in answer.json()["error"]["message"]


def raw(cloud, text: bytes, most: int = 65536) -> bytes:
    """Send bytes, read what comes until the server closes or `most` are there."""
    port = int(cloud.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        sock.sendall(text)
        got = b""
        while len(got) < most:
            try:
                piece = sock.recv(65536)
            except ConnectionResetError:
                break
            if not piece:
                break
            got += piece
        return got


def test_a_json_body_over_a_mebibyte_is_refused_before_it_is_sent(cloud):
    head = (
        b"POST /identity/v3/auth/tokens HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: 99999999999\r\n\r\n"
    )
    answer = raw(cloud, head)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"1048576" in answer


def test_a_chunked_json_body_is_bounded_too(cloud):
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    head = (
        b"POST /identity/v3/auth/tokens HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )
    assert raw(cloud, head + chunk * 20).startswith(b"HTTP/1.1 413")


def test_a_bad_content_length_and_headers_without_end_are_refused(cloud):
    for value in (b"-5", b"abc"):
        text = b"POST /identity/v3/auth/tokens HTTP/1.1\r\nHost: x\r\nContent-Length: " + value + b"\r\n\r\n"
        assert raw(cloud, text).startswith(b"HTTP/1.1 400")
    assert raw(cloud, b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 414")


def test_headers_that_dribble_in_are_cut_off(cloud, monkeypatch):
    monkeypatch.setattr("nova0.controller.api.server.HEADERS_WITHIN_S", 0.3)
    assert raw(cloud, b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ").startswith(b"HTTP/1.1 400")
    monkeypatch.setattr("nova0.controller.api.server.IDLE_S", 0.3)
    assert raw(cloud, b"GET / HT") == b""


def test_an_unexpected_error_is_json_without_a_trace(cloud, monkeypatch, caplog):
    def broken(*_):
        raise RuntimeError("the cellar is on fire")

    admin = cloud.admin
    monkeypatch.setattr("nova0.controller.api.identity.catalog._services", broken)
    answer = admin.get("/identity/v3/services")
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == 500
    assert "cellar" not in answer.text
    assert "cellar" in caplog.text


def test_a_client_that_leaves_early_harms_nobody(cloud):
    port = int(cloud.url.rpartition(":")[2])
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
            sock.sendall(b"POST /identity/v3/auth/tokens HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{")
    assert cloud.nobody.get("/").status_code == 200


@pytest.mark.covers("S055")
def test_tls_is_served_with_a_context_and_plain_text_is_turned_away(cloud, tmp_path):
    import datetime
    import ssl
    import subprocess
    import sys

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    today = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(today - datetime.timedelta(1)).not_valid_after(today + datetime.timedelta(1))
    made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    certificate = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "both.pem").write_bytes(secret + certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "both.pem")
    from nova0.controller.api.application import make_app

    server = serve(make_app(cloud.services), "127.0.0.1", 0, tls=context)
    try:
        url = f"https://localhost:{server.port}/"
        # a process of its own: this one's patches came after its TLS client was loaded
        program = (
            "import requests, sys, warnings\n"
            "warnings.simplefilter('ignore')\n"
            "url, ca = sys.argv[1:]\n"
            "print(requests.get(url, verify=ca, timeout=10).status_code)\n"
            "big = b'x' * 3_000_000\n"
            "kind = {'Content-Type': 'application/json'}\n"
            "url += 'identity/v3/auth/tokens'\n"
            "print(requests.post(url, data=big, headers=kind, verify=ca, timeout=10).status_code)\n"
        )
        words = [sys.executable, "-c", program, url, str(tmp_path / "both.pem")]
        told = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
        assert told.stdout.split() == ["200", "413"]
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
            try:
                assert not sock.recv(100).startswith(b"HTTP")
            except ConnectionResetError:
                pass
        silent = [socket.create_connection(("127.0.0.1", server.port), timeout=10) for _ in range(266)]
        try:
            assert [sock.recv(100) for sock in silent[:5]] == [b""] * 5, "who waits longest before TLS gives way, too"
        finally:
            for sock in silent:
                sock.close()
    finally:
        server.stop(within_s=0.1)


def test_a_port_in_use_is_told_with_its_holder_and_a_remedy(cloud):
    port = int(cloud.url.rpartition(":")[2])
    with pytest.raises(PortTaken, match=rf"port {port} .* by .*pid \d+.*api_port"):
        serve(lambda environ, start: [], "127.0.0.1", port)


@pytest.mark.covers("S059")
def test_more_than_a_thousand_connections_at_once_are_all_answered(cloud):
    port = int(cloud.url.rpartition(":")[2])
    opened = []
    try:
        for number in range(1200):  # from six addresses: each has a bound of its own
            source = (f"127.0.0.{2 + number % 6}", 0)
            opened.append(socket.create_connection(("127.0.0.1", port), timeout=10, source_address=source))
        for sock in opened:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert all(sock.recv(12) == b"HTTP/1.1 200" for sock in opened)
    finally:
        for sock in opened:
            sock.close()


@pytest.mark.covers("S361")
def test_a_second_worker_over_the_same_store_takes_the_same_token(cloud):
    from nova0.controller.api.application import make_app

    token = cloud.demo.token
    second = serve(make_app(cloud.services), "127.0.0.1", 0)
    try:
        Http = type(cloud.nobody)

        assert Http(f"http://127.0.0.1:{second.port}", token).get("/identity/v3/auth/catalog").status_code == 200
    finally:
        second.stop(within_s=0.1)


def test_threads_see_only_their_own_request_ids(cloud):
    seen = []
    workers = [
        threading.Thread(target=lambda: seen.append(cloud.nobody.get("/").headers["X-Compute-Request-Id"]))
        for _ in range(20)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(set(seen)) == 20
