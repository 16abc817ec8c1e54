"""A bad wire: passes TCP connections on late, in odd pieces, and now and then resets one.

nftables redirects connections here; where each was going is asked of the kernel (SO_ORIGINAL_DST). Its own
connections bear a mark that the redirect leaves alone. SIGUSR1 resets all that go through it.
"""

from gevent import monkey

monkey.patch_all()

import contextlib  # noqa: E402
import random  # noqa: E402
import signal  # noqa: E402
import socket  # noqa: E402
import struct  # noqa: E402
import sys  # noqa: E402

import gevent  # noqa: E402
from gevent.server import StreamServer  # noqa: E402

MARK, SO_ORIGINAL_DST = 7, 80
through: set[socket.socket] = set()


def reset(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    through.discard(connection)


def pump(from_: socket.socket, to: socket.socket, delay_s: float, reset_one_in: int) -> None:
    try:
        while data := from_.recv(65536):
            gevent.sleep(random.uniform(0, delay_s))
            if random.randrange(reset_one_in) == 0:
                break
            at = 0
            while at < len(data):  # cut where no message ends
                piece = random.choice((1, 7, 100, 1400, 65536))
                to.sendall(data[at : at + piece])
                at += piece
                if piece < 100 and random.random() < 0.2:
                    gevent.sleep(0.001)
    except OSError:
        return
    finally:
        reset(from_)
        reset(to)


def main() -> None:
    port, delay_s, reset_one_in = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])

    def accepted(connection: socket.socket, _: object) -> None:
        raw = connection.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16)
        place = socket.inet_ntoa(raw[4:8]), struct.unpack("!H", raw[2:4])[0]
        onward = socket.socket()
        onward.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK)
        try:
            onward.connect(place)
        except OSError:
            reset(connection)
            return
        for one in (connection, onward):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            through.add(one)
        back = gevent.spawn(pump, onward, connection, delay_s, reset_one_in)
        pump(connection, onward, delay_s, reset_one_in)
        back.join()

    gevent.signal_handler(signal.SIGUSR1, lambda: [reset(one) for one in list(through)])
    StreamServer(("0.0.0.0", port), accepted).serve_forever()


if __name__ == "__main__":
    main()
