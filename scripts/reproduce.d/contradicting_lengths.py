"""A stranger sends requests whose bodies' ends two readers see in two places, or that name no host."""

import socket

BEFORE = "two lengths, a length with chunks, and HTTP/1.1 without Host were served, and the connection stayed open"
NEEDS = ()
START = b"POST /identity/v3/auth/tokens HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
FORMS = {
    "length and chunks": START + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": START + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "length 2, 2": START + b"Content-Length: 2, 2\r\n\r\n{}",
    "length +2": START + b"Content-Length: +2\r\n\r\n{}",
    "a folded length": START + b"Content-Length:\r\n 2\r\n\r\n{}",
    "no Host": b"GET / HTTP/1.1\r\n\r\n",
    "two Hosts": b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
}


def attack(world):
    cloud = world.cloud(hosts=0)
    told = {}
    for name, form in FORMS.items():
        with socket.create_connection(("127.0.0.1", cloud.port), timeout=5) as one:
            one.sendall(form)
            got = one.recv(4096)
            try:
                while more := one.recv(4096):
                    got += more
                told[name] = f"{got[9:12].decode()} and closed"
            except TimeoutError:
                told[name] = f"{got[9:12].decode()} and open"
    bad = {name: answer for name, answer in told.items() if answer != "400 and closed"}
    return not bad, f"{bad}" if bad else f"{len(told)} of {len(told)}: 400 and closed"
