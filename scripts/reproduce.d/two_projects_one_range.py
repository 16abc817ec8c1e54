"""Two projects choose 10.66.0.0/24 and 10.66.0.0/25, have servers on one host, and each asks for its address."""

import fcntl
import os
import select
import socket
import struct
import time

from subnet_of_the_lan import boot_on, ip, machine_with_a_lan, network

BEFORE = "the host had one route for both: what was meant for the first network's guests went to the second's bridge"
NEEDS = ("root",)
TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
ARP = b"\x08\x06"


class Guest:
    """Speaks on a server's tap, as its hypervisor would."""

    def __init__(self, cloud, server):
        port = cloud.session.get(f"{cloud.url}/network/v2.0/ports?device_id={server['id']}").json()["ports"][0]
        self.address, self.mac = port["fixed_ips"][0]["ip_address"], bytes.fromhex(port["mac_address"].replace(":", ""))
        self.tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        name = "n0t" + port["id"].replace("-", "")[:11]
        fcntl.ioctl(self.tap, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))

    def asks(self, frame, answered, within_s=20):
        """What `answered` makes of the first frame it knows; asked again every second."""
        end = time.monotonic() + within_s
        while time.monotonic() < end:
            os.write(self.tap, frame)
            again = time.monotonic() + 1
            while (left := again - time.monotonic()) > 0 and select.select([self.tap], [], [], left)[0]:
                if found := answered(os.read(self.tap, 4096)):
                    return found
        return None

    def gateway(self):
        """The MAC that answers for 10.66.0.1."""
        gateway = socket.inet_aton("10.66.0.1")
        ask = b"\x00\x01\x08\x00\x06\x04\x00\x01" + self.mac + socket.inet_aton(self.address) + bytes(6) + gateway
        frame = b"\xff" * 6 + self.mac + ARP + ask.ljust(46, b"\0")
        mine = ARP + b"\x00\x01\x08\x00\x06\x04\x00\x02"
        return self.asks(
            frame, lambda heard: heard[22:28].hex(":") if heard[12:22] == mine and heard[28:32] == gateway else None
        )

    def offered(self):
        """The address that DHCP offers."""
        bootp = struct.pack("!BBBBIHH", 1, 1, 6, 0, 0x6E30, 0, 0) + bytes(16) + self.mac.ljust(16, b"\0") + bytes(192)
        bootp += b"\x63\x82\x53\x63" + bytes([53, 1, 1, 255]) + bytes(60)
        udp = struct.pack("!HHHH", 68, 67, 8 + len(bootp), 0) + bootp
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 7, 0, 64, 17, 0) + bytes(4) + b"\xff" * 4
        total = sum(struct.unpack("!10H", head))
        total = (total & 0xFFFF) + (total >> 16)
        frame = b"\xff" * 6 + self.mac + b"\x08\x00" + head[:10] + struct.pack("!H", ~total & 0xFFFF) + head[12:] + udp

        def offer(heard):
            return (
                socket.inet_ntoa(heard[58:62])
                if heard[12:14] == b"\x08\x00" and heard[34:38] == b"\0\x43\0\x44"
                else None
            )

        return self.asks(frame, offer)


def attack(world):
    machine_with_a_lan(world)
    cloud = world.cloud(NOVA0_NETWORK_CARRIER="linux")
    guests = [Guest(cloud, boot_on(cloud, network(cloud, cidr))) for cidr in ("10.66.0.0/24", "10.66.0.0/25")]
    routes = [line for line in ip("route").splitlines() if line.startswith("10.66.")]
    gateways = [guest.gateway() for guest in guests]
    offers = [guest.offered() for guest in guests]
    held = (
        not routes and offers == [guest.address for guest in guests] and None not in gateways and len({*gateways}) == 2
    )
    return held, f"routes of the host for 10.66: {len(routes)}; gateways {gateways}; offered {offers}"
