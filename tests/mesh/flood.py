"""Keys nobody knows, as fast as one process can: at ADDRESS, RPC-PORT and DOOR-PORT, until killed.

Arguments: address to come from, RPC port, door port, both sockets' CURVE key (hex)."""

import sys
import time

import zmq
from zmq.utils import z85


def main() -> None:
    source, rpc, door, key = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), bytes.fromhex(sys.argv[4])
    context = zmq.Context()
    context.set(zmq.MAX_SOCKETS, 4000)
    held: list[zmq.Socket[bytes]] = []
    count = 0
    print("FLOODING", flush=True)
    while True:
        public, secret = zmq.curve_keypair()
        try:
            socket = context.socket(zmq.DEALER)
        except zmq.ZMQError:  # libzmq closes the old ones in its own time
            time.sleep(0.01)
            continue
        socket.setsockopt(zmq.CURVE_SERVERKEY, z85.encode(key))
        socket.setsockopt(zmq.CURVE_PUBLICKEY, public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, secret)
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(f"tcp://{source}:0;127.0.0.1:{door if count % 2 else rpc}")
        socket.send(b"x" * 1000, zmq.NOBLOCK)
        held.append(socket)
        if len(held) > 100:
            held.pop(0).close()
        count += 1
        if count % 100 == 0:
            print(count, flush=True)


if __name__ == "__main__":
    main()
