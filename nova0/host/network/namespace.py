"""Network namespaces: made, entered, kept. What a network's guests take for their gateway lives in one.

A namespace has no name on disk. The agent holds it by a descriptor; while no agent runs, the network's
dnsmasq, a process inside, keeps it, and by that process it is found again.
"""

from __future__ import annotations

import _socket
import ctypes
import os
from collections.abc import Callable
from typing import TypeVar

from gevent import socket

from nova0.native import apart

T = TypeVar("T")
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """`path` is good for `nsenter --net=` and `ip link add ... netns` while this object is open."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.identity = os.fstat(descriptor).st_ino  # no other namespace has it while this one lives

    @classmethod
    def made(cls) -> Namespace:
        """A new one, empty. It lives while a descriptor or a process holds it. Raises OSError."""

        def make() -> int:
            if _libc.unshare(_CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "making a network namespace")
            return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

        return cls(apart(make))

    @classmethod
    def of_process(cls, pid: int) -> Namespace | None:
        """The one this process is in; None when the process is gone or shares the host's own."""
        try:
            found = cls(os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC))
        except OSError:
            return None
        if found.identity == os.stat("/proc/thread-self/ns/net").st_ino:
            found.close()
            return None
        return found

    @property
    def path(self) -> str:
        return f"/proc/{os.getpid()}/fd/{self._descriptor}"

    def run(self, function: Callable[[], T]) -> T:
        """What `function` returns when it runs inside, on a thread; it touches nothing of gevent."""

        def inside() -> T:
            if _libc.setns(self._descriptor, _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "entering a network namespace")
            return function()

        return apart(inside)

    def socket(self) -> socket.socket:
        """A TCP socket that sees this namespace's network for as long as it is open. Raises OSError."""
        number = self.run(lambda: _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM).detach())
        return socket.socket(socket.AF_INET, socket.SOCK_STREAM, fileno=number)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
