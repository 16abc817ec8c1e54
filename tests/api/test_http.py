"""HTTP by the letter: what two readers could take in two ways is refused, and the connection closes."""

import json
import re
import socket
import time

import pytest

KIND = "Content-Type: application/json\r\n"
TOKENS = "POST /identity/v3/auth/tokens HTTP/1.1\r\nHost: x\r\n" + KIND
GOOD = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"


def exchange(cloud, sent, within_s=10.0) -> bytes:
    """Send it, and read until the server closes or has nothing to say for a moment after a whole answer."""
    port = int(cloud.url.rpartition(":")[2])
    data = sent if isinstance(sent, bytes) else sent.encode("latin-1")
    with socket.create_connection(("127.0.0.1", port), timeout=within_s) as sock:
        sock.sendall(data)
        got = b""
        while True:
            sock.settimeout(0.15 if whole(got) else within_s)
            try:
                piece = sock.recv(65536)
            except TimeoutError:
                assert whole(got), (sent[:200], got)
                return got + b"<open>"
            except ConnectionResetError:
                return got
            if not piece:
                return got
            got += piece


def whole(got: bytes) -> bool:
    """Whether it ends with a whole answer."""
    while got:
        head, mark, rest = got.partition(b"\r\n\r\n")
        if not mark:
            return False
        lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
        if not lengths:
            return not rest and head.startswith(b"HTTP/1.1 100") is False
        size = int(lengths[0])
        if len(rest) < size:
            return False
        got = rest[size:]
        if not got:
            return True
    return False


def codes(answer: bytes) -> list[int]:
    """The status of each answer."""
    return [int(code) for code in re.findall(rb"HTTP/1\.1 (\d{3}) [A-Z]", answer)]


def chunked(body: str) -> str:
    return TOKENS + "Transfer-Encoding: chunked\r\n\r\n" + body


def with_headers(*lines: str) -> str:
    return "GET / HTTP/1.1\r\nHost: x\r\n" + "".join(f"{line}\r\n" for line in lines) + "\r\n"


REFUSED = {
    # which bytes are the body
    "length and chunks": (TOKENS + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED, 400),
    "chunks and length": (TOKENS + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + SMUGGLED, 400),
    "two lengths": (TOKENS + "Content-Length: 2\r\nContent-Length: 40\r\n\r\n{}" + SMUGGLED, 400),
    "two equal lengths": (TOKENS + "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", 400),
    "a list of lengths": (TOKENS + "Content-Length: 2, 2\r\n\r\n{}", 400),
    "length +2": (TOKENS + "Content-Length: +2\r\n\r\n{}", 400),
    "length -2": (TOKENS + "Content-Length: -2\r\n\r\n{}", 400),
    "length 0x2": (TOKENS + "Content-Length: 0x2\r\n\r\n{}", 400),
    "length 2.0": (TOKENS + "Content-Length: 2.0\r\n\r\n{}", 400),
    "length 2e0": (TOKENS + "Content-Length: 2e0\r\n\r\n{}", 400),
    "length 1_0": (TOKENS + "Content-Length: 1_0\r\n\r\n0123456789", 400),
    "length of nothing": (TOKENS + "Content-Length:\r\n\r\n{}", 400),
    "length of a superscript": (TOKENS + "Content-Length: \xb2\r\n\r\n{}", 400),
    "length of 5000 digits": (TOKENS + "Content-Length: " + "9" * 5000 + "\r\n\r\n{}", 400),
    "length of two words": (TOKENS + "Content-Length: 2 2\r\n\r\n{}", 400),
    "length of a GET in two": (with_headers("Content-Length: 1", "Content-Length: 2"), 400),
    "length in odd letters": (TOKENS + "cOnTeNt-LeNgTh: 2\r\nContent-length: 3\r\n\r\n{}", 400),
    "coding gzip": (TOKENS + "Transfer-Encoding: gzip\r\n\r\n{}", 501),
    "codings gzip, chunked": (TOKENS + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    "coding chunked twice": (TOKENS + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
    "two codings": (TOKENS + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "coding identity": (TOKENS + "Transfer-Encoding: identity\r\n\r\n{}", 400),
    "coding of nothing": (TOKENS + "Transfer-Encoding:\r\n\r\n{}", 400),
    "coding xchunked": (TOKENS + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
    "coding with a tab": (TOKENS + "Transfer-Encoding: chun\tked\r\n\r\n0\r\n\r\n", 501),
    "coding with a vertical tab": (TOKENS + "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400),
    "coding in HTTP/1.0": (TOKENS.replace("1.1", "1.0") + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    # the target
    "no slash": ("GET v2.1 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "no target": ("GET  HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a star": ("GET * HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "CONNECT": ("CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a fragment": ("GET /#a HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "ESC": ("GET /\x1b[31m HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "NUL": ("GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "CR": ("GET /\rx HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "DEL": ("GET /\x7f HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "another scheme": ("GET ftp://x/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a file": ("GET file:///etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "absolute without a host": ("GET http:///v2.1 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "absolute with a password": ("GET http://a:b@x/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "absolute with port 99999": ("GET http://x:99999/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "absolute without Host": ("GET http://x/ HTTP/1.1\r\n\r\n", 400),
    "a target of 70 KB": ("GET /" + "a" * 70000 + " HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    # the request line
    "two spaces": ("GET  / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a tab": ("GET\t/\tHTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a space before": (" GET / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a space behind": ("GET / HTTP/1.1 \r\nHost: x\r\n\r\n", 400),
    "four words": ("GET / x HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a method with a brace": ("G{T / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "HTTP/0.9": ("GET /\r\n", 400),
    "two empty lines before": ("\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "HTTP/2.0": ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "HTTP/1.2": ("GET / HTTP/1.2\r\nHost: x\r\n\r\n", 505),
    "HTTP/9.9": ("GET / HTTP/9.9\r\nHost: x\r\n\r\n", 505),
    "HTTP/1": ("GET / HTTP/1\r\nHost: x\r\n\r\n", 400),
    "HTTP/1.10": ("GET / HTTP/1.10\r\nHost: x\r\n\r\n", 400),
    "HTTP/1.one": ("GET / HTTP/1.one\r\nHost: x\r\n\r\n", 400),
    "http/1.1": ("GET / http/1.1\r\nHost: x\r\n\r\n", 400),
    "a TLS hello": ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "an LF for a line's end": ("GET / HTTP/1.1\nHost: x\r\n\r\n", 400),
    # the headers
    "no Host": ("GET / HTTP/1.1\r\n\r\n", 400),
    "two Hosts": (with_headers("Host: y"), 400),
    "an empty Host": ("GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
    "a Host with a path": ("GET / HTTP/1.1\r\nHost: x/y\r\n\r\n", 400),
    "a Host with a space": ("GET / HTTP/1.1\r\nHost: x y\r\n\r\n", 400),
    "a Host with a user": ("GET / HTTP/1.1\r\nHost: a@x\r\n\r\n", 400),
    "a Host with two ports": ("GET / HTTP/1.1\r\nHost: x:1:2\r\n\r\n", 400),
    "a Host with port 70000": ("GET / HTTP/1.1\r\nHost: x:70000\r\n\r\n", 400),
    "a Host with a word for a port": ("GET / HTTP/1.1\r\nHost: x:http\r\n\r\n", 400),
    "a list of Hosts": ("GET / HTTP/1.1\r\nHost: x, y\r\n\r\n", 400),
    "two Hosts in HTTP/1.0": ("GET / HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n", 400),
    "a bare LF": ("GET / HTTP/1.1\r\nHost: x\nX-A: b\r\n\r\n", 400),
    "a bare LF at the end": ("GET / HTTP/1.1\r\nHost: x\r\n\n", 400),
    "a bare CR": (with_headers("X-A: b\rc"), 400),
    "a folded line": (with_headers("X-A: b", " c"), 400),
    "a folded first line": ("GET / HTTP/1.1\r\n Host: x\r\n\r\n", 400),
    "a folded length": (TOKENS + "Content-Length:\r\n 2\r\n\r\n{}", 400),
    "a space before the colon": (with_headers("X-A : b"), 400),
    "a space before the length's colon": (TOKENS + "Content-Length : 2\r\n\r\n{}", 400),
    "no name": (with_headers(": b"), 400),
    "no colon": (with_headers("X-A"), 400),
    "a brace in a name": (with_headers("X{A: b"), 400),
    "NUL in a name": (with_headers("X\x00A: b"), 400),
    "NUL in a value": (with_headers("X-A: b\x00c"), 400),
    "ESC in a value": (with_headers("X-A: \x1b[31m"), 400),
    "BEL in a token": (with_headers("X-Auth-Token: a\x07"), 400),
    "a name beyond ASCII": (with_headers("X-\xe4: b"), 400),
    "33 KB in a header": (with_headers("X-A: " + "b" * 33000), 431),
    "33 KB in many": (with_headers(*(f"X-{n}: {'b' * 1000}" for n in range(40))), 431),
    "200 headers": (with_headers(*(f"X-{n}: b" for n in range(200))), 431),
    "two content types": (TOKENS + "Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}", 400),
    "another expectation": (with_headers("Expect: miracles"), 417),
    "two expectations": (with_headers("Expect: 100-continue", "Expect: 100-continue"), 400),
    # chunks
    "a chunk size of letters": (chunked("xyz\r\n{}\r\n0\r\n\r\n"), 400),
    "a chunk size of nothing": (chunked("\r\n{}\r\n0\r\n\r\n"), 400),
    "a chunk size 0x2": (chunked("0x2\r\n{}\r\n0\r\n\r\n"), 400),
    "a chunk size +2": (chunked("+2\r\n{}\r\n0\r\n\r\n"), 400),
    "a chunk size -2": (chunked("-2\r\n{}\r\n0\r\n\r\n"), 400),
    "a chunk size of 30 digits": (chunked("0" * 29 + "2\r\n{}\r\n0\r\n\r\n"), 400),
    "a chunk size with LF": (chunked("2\n{}\r\n0\r\n\r\n"), 400),
    "a chunk longer than its size": (chunked("2\r\n{}xx\r\n0\r\n\r\n"), 400),
    "a chunk extension with LF": (chunked("2;a\nb\r\n{}\r\n0\r\n\r\n"), 400),
    "a chunk extension with NUL": (chunked("2;\x00\r\n{}\r\n0\r\n\r\n"), 400),
    "a chunk extension of 40 KB": (chunked("2;" + "a" * 40000 + "\r\n{}\r\n0\r\n\r\n"), 400),
    "extensions of 40 KB together": (chunked(("1;" + "a" * 1000 + "\r\n \r\n") * 40 + "0\r\n\r\n"), 400),
    "trailers of 40 KB": (chunked("2\r\n{}\r\n0\r\n" + ("X-A: " + "b" * 1000 + "\r\n") * 40 + "\r\n"), 400),
    "a trailer without a colon": (chunked("2\r\n{}\r\n0\r\nabc\r\n\r\n"), 400),
    "a trailer with ESC": (chunked("2\r\n{}\r\n0\r\nX-A: \x1b\r\n\r\n"), 400),
    "a trailer with LF": (chunked("2\r\n{}\r\n0\r\nX-A: b\n\r\n"), 400),
}


@pytest.mark.covers("S059")
@pytest.mark.parametrize("form", REFUSED)
def test_what_can_be_read_in_two_ways_is_refused_and_the_connection_closes(cloud, form):
    sent, code = REFUSED[form]
    answer = exchange(cloud, sent)
    assert codes(answer) == [code], answer
    assert not answer.endswith(b"<open>"), "the connection is still open"
    assert b"smuggled" not in answer
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"connection: close" in head.lower()
    if code != 414:
        assert json.loads(body)["error"]["code"] == code
        assert json.loads(body)["error"]["message"]


SERVED = {
    "plain": (GOOD, [200]),
    "an empty line before": ("\r\n" + GOOD, [200]),
    "absolute": ("GET http://x/v2.1/ HTTP/1.1\r\nHost: x\r\n\r\n", [200]),
    "absolute, another host": ("GET http://other:80/v2.1/ HTTP/1.1\r\nHost: x\r\n\r\n", [200]),
    "absolute, https": ("GET HTTPS://x/v2.1/ HTTP/1.1\r\nHost: x\r\n\r\n", [200]),
    "absolute, no path": ("GET http://x HTTP/1.1\r\nHost: x\r\n\r\n", [200]),
    "absolute, a query": ("GET http://x?a=b HTTP/1.1\r\nHost: x\r\n\r\n", [200]),
    "absolute, a port and an address": ("GET http://[::1]:8774/v2.1/?a=http://y HTTP/1.1\r\nHost: x\r\n\r\n", [200]),
    "a Host with port": ("GET / HTTP/1.1\r\nHost: x.example:8774\r\n\r\n", [200]),
    "a Host of IPv6": ("GET / HTTP/1.1\r\nHost: [fe80::1]:8774\r\n\r\n", [200]),
    "header names in any letters": ("GET / HTTP/1.1\r\nhOsT:x\r\nX-a:\t b \t\r\n\r\n", [200]),
    "a value beyond ASCII": (with_headers("X-A: \xfc"), [200]),
    "an empty value": (with_headers("X-A:"), [200]),
    "two in one go": (GOOD + GOOD, [200, 200]),
    "five in one go": (GOOD * 5, [200] * 5),
    "a body of a GET": (with_headers("Content-Length: 2")[:-2] + "\r\n{}" + GOOD, [200, 200]),
    "a body nobody reads": ("POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc" + GOOD, [404, 200]),
    "a JSON body": (TOKENS + "Content-Length: 2\r\n\r\n{}" + GOOD, [400, 200]),
    "chunks": (chunked("1\r\n{\r\n1\r\n}\r\n0\r\n\r\n") + GOOD, [400, 200]),
    "chunks with extensions and trailers": (
        chunked('1;a="b"\r\n{\r\n01 ;c\r\n}\r\n0;d\r\nX-A: b\r\n\r\n') + GOOD,
        [400, 200],
    ),
    "coding in odd letters": (TOKENS + "transfer-encoding: Chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n" + GOOD, [400, 200]),
}  # fmt: skip
CLOSED = {
    "HTTP/1.0": ("GET / HTTP/1.0\r\n\r\n", [200]),
    "HTTP/1.0 with Host": ("GET / HTTP/1.0\r\nHost: x\r\n\r\n", [200]),
    "HTTP/1.0 that would keep": ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + GOOD, [200]),
    "HTTP/1.0 with an expectation": (
        TOKENS.replace("1.1", "1.0") + "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
        [400],
    ),
    "Connection: close": (with_headers("Connection: close") + GOOD, [200]),
    "Connection: a list": (with_headers("Connection: TE, Close") + GOOD, [200]),
    "Connection: two headers": (with_headers("Connection: keep-alive", "Connection: close") + GOOD, [200]),
    "chunks nobody reads": (chunked("2\r\n{}\r\n0\r\n\r\n").replace("/identity/v3/auth/tokens", "/nowhere"), [404]),
}


@pytest.mark.covers("S059")
@pytest.mark.parametrize("form", SERVED)
def test_what_is_clear_is_served_and_the_connection_stays(cloud, form):
    sent, expected = SERVED[form]
    answer = exchange(cloud, sent)
    assert codes(answer) == expected, answer
    assert answer.endswith(b"<open>")


@pytest.mark.parametrize("form", CLOSED)
def test_what_asks_to_close_or_whose_end_is_unknown_is_served_and_closed(cloud, form):
    sent, expected = CLOSED[form]
    answer = exchange(cloud, sent)
    assert codes(answer) == expected, answer
    assert not answer.endswith(b"<open>")


def test_an_absolute_targets_path_is_the_one_that_counts(cloud):
    answer = exchange(cloud, "GET http://a/identity/v3/no-such HTTP/1.1\r\nHost: b\r\n\r\n")
    assert b"404" in answer
    assert b'"error"' in answer, "the identity service's own words"


def test_a_client_that_waits_for_leave_gets_it_once_and_only_when_its_body_is_wanted(cloud):
    port = int(cloud.url.rpartition(":")[2])
    head = TOKENS + "Content-Length: 2\r\nExpect: 100-Continue\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        sock.sendall(head.encode())
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"{}")
        assert sock.recv(100).startswith(b"HTTP/1.1 400")
    for refused in (head.replace("json", "xml"), head.replace("/identity/v3/auth/tokens", "/nowhere")):
        answer = exchange(cloud, refused)
        assert b"100 Continue" not in answer
        assert codes(answer)[0] in (404, 415)
        assert not answer.endswith(b"<open>"), "the body may come or not: nobody knows where the next request begins"


def test_a_body_that_dribbles_is_cut_off(cloud, monkeypatch):
    monkeypatch.setattr("nova0.controller.api.bodies.JSON_WITHIN_S", 0.3)
    answer = exchange(cloud, TOKENS + "Content-Length: 100\r\n\r\n{")
    assert codes(answer) == [408]
    assert not answer.endswith(b"<open>")


@pytest.mark.slow
def test_endless_chunks_trailers_and_pipelines_hold_nobody_else(cloud):
    """One client sends as fast as it can, in a process of its own; others are answered in between."""
    import subprocess
    import sys

    port = int(cloud.url.rpartition(":")[2])
    program = (
        "import socket, sys, threading\n"
        "port, pieces = int(sys.argv[1]), [sys.argv[2].encode('latin-1').decode('unicode_escape').encode('latin-1'),"
        " sys.argv[3].encode('latin-1').decode('unicode_escape').encode('latin-1')]\n"
        "sock = socket.create_connection(('127.0.0.1', port))\n"
        "def drain():\n"
        "    while sock.recv(65536): pass\n"
        "threading.Thread(target=drain, daemon=True).start()\n"
        "print('on', flush=True)\n"
        "try:\n"
        "    sock.sendall(pieces[0])\n"
        "    while True: sock.sendall(pieces[1] * 2000)\n"
        "except OSError: pass\n"
    )
    floods = {
        "one-byte chunks": (chunked(""), "1\r\n \r\n"),
        "requests": ("", GOOD),
        "a body nobody wants": (chunked("").replace("/identity/v3/auth/tokens", "/nowhere"), "1\r\n \r\n"),
    }
    for name, (head, piece) in floods.items():
        escaped = [text.encode("unicode_escape").decode() for text in (head, piece)]
        child = subprocess.Popen([sys.executable, "-c", program, str(port), *escaped], stdout=subprocess.PIPE)
        try:
            assert child.stdout.readline() == b"on\n"
            slowest = 0.0
            for _ in range(20):
                began = time.monotonic()
                assert cloud.nobody.get("/").status_code == 200
                slowest = max(slowest, time.monotonic() - began)
            assert slowest < 2, f"{name}: {slowest:.1f} s"
        finally:
            child.kill()
            child.communicate()
