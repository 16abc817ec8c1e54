"""What a file holds, as hashes of its blocks: so that each block can be proved alone, whoever it came from.

Everything here that reads or hashes blocks its thread: run it through `nova0.native`.
"""

from __future__ import annotations

import errno
import hashlib
import os
from functools import lru_cache

import msgspec

BLOCK = 1 << 20  # bytes; larger files double it until MOST_BLOCKS are enough
MOST_BLOCKS = 1 << 16
HASH_BYTES = 32  # SHA-256: most machines have instructions for it


class Contents(msgspec.Struct, frozen=True):
    """`hashes`: SHA-256 of each block of `block` bytes (the last may be shorter), one after the other."""

    size: int
    block: int
    hashes: bytes

    @property
    def digest(self) -> bytes:
        """Stands for the whole: who trusts it can check `hashes`, and by them every block."""
        head = b"nova0 file 1\0" + self.size.to_bytes(8, "big") + self.block.to_bytes(8, "big")
        return hashlib.sha256(head + self.hashes).digest()

    @property
    def blocks(self) -> int:
        return -(-self.size // self.block)

    def is_sound(self) -> bool:
        return self.block == block_for(self.size) and self.size >= 0 and len(self.hashes) == self.blocks * HASH_BYTES

    def length(self, index: int) -> int:
        return min(self.block, self.size - index * self.block)

    def hash(self, index: int) -> bytes:
        return self.hashes[index * HASH_BYTES : (index + 1) * HASH_BYTES]

    def is_zeros(self, index: int) -> bool:
        """Nothing but zeros: never sent, left as a hole."""
        return self.hash(index) == _hash_of_zeros(self.length(index))


def block_for(size: int) -> int:
    block = BLOCK
    while size > block * MOST_BLOCKS:
        block *= 2
    return block


def read_contents(descriptor: int, size: int) -> Contents:
    """Of an open file. Raises OSError where it is shorter than `size`. Holes are not read."""
    block = block_for(size)
    buffer = memoryview(bytearray(min(block, size)))
    hashes = bytearray()
    for start in range(0, size, block):
        length = min(block, size - start)
        if is_hole(descriptor, start, length):
            hashes += _hash_of_zeros(length)
        else:
            read_block(descriptor, start, buffer[:length])
            hashes += hashlib.sha256(buffer[:length]).digest()
    return Contents(size, block, bytes(hashes))


def read_block(descriptor: int, start: int, into: memoryview) -> None:
    """Fill `into` from byte `start`. Raises OSError (EIO) where the file ends before."""
    done = 0
    while done < len(into):
        got = os.preadv(descriptor, [into[done:]], start + done)
        if not got:
            raise OSError(errno.EIO, "the file is shorter than it was")
        done += got


def holds(descriptor: int, contents: Contents, index: int, buffer: memoryview) -> bool:
    """Is this block of an open file as it should be?"""
    start, length = index * contents.block, contents.length(index)
    if is_hole(descriptor, start, length):
        return contents.is_zeros(index)
    read_block(descriptor, start, buffer[:length])
    return hashlib.sha256(buffer[:length]).digest() == contents.hash(index)


def keep(descriptor: int, contents: Contents, index: int, body: memoryview) -> bool:
    """Write a block if it is what its hash says; False, and nothing written, if not. Raises OSError."""
    if hashlib.sha256(body).digest() != contents.hash(index):
        return False
    start = index * contents.block
    while body:
        written = os.pwrite(descriptor, body, start)
        start, body = start + written, body[written:]
    return True


def is_hole(descriptor: int, start: int, length: int) -> bool:
    try:
        return os.lseek(descriptor, start, os.SEEK_DATA) >= start + length
    except OSError as error:
        if error.errno == errno.ENXIO:  # no data from here to the end
            return True
        raise


@lru_cache(maxsize=8)
def _hash_of_zeros(length: int) -> bytes:
    return hashlib.sha256(bytes(length)).digest()
