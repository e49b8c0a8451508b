"""Data of canaries: made from a seed, so that it need not be kept, and read back from a QCOW2."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator

from saltern.canary.types import UNKNOWN, CanaryError

#: Bytes at the begin that are a text: no program takes the rest for a format that it knows.
HEAD = 4096

_MAGIC = b"QFI\xfb"
#: Features of a QCOW2 that change how data is found: external data file, another compression,
#: extended entries. Nothing that is read here has them.
_STRANGE = 0b11100
_OFFSET = 0x00FFFFFFFFFFFE00
_COMPRESSED, _ZERO = 1 << 62, 1


def made(seed: str, kind: str, size: int) -> bytes:
    """Return the data of a canary: always the same for the same seed and kind.

    :param seed: of the flock
    :param kind: name of the kind
    :param size: bytes, more than :data:`HEAD`
    """
    text = f"A canary of Saltern: {kind}, {seed}. Nobody may change this.\n"
    blocks = [text.encode().ljust(HEAD, b"\n")]
    number = 0
    while HEAD + number * 64 < size:
        blocks.append(hashlib.sha512(f"{seed} {kind} {number}".encode()).digest())
        number += 1
    return b"".join(blocks)[:size]


def same_disk(image: bytes, wanted: bytes) -> str:
    """Compare a volume that was uploaded as QCOW2 with what was written to it.

    :param image: the QCOW2
    :param wanted: the first bytes of the volume; what follows must be zeros
    :returns: empty when it is the same, else where it differs
    :raises CanaryError: it is no QCOW2 that can be read
    """
    seen = 0
    for offset, data in clusters(image):
        here = wanted[offset : offset + len(data)]
        seen += len(here)
        if data[: len(here)] != here or data[len(here) :].strip(b"\0"):
            return f"differs within {len(data)} bytes from byte {offset} on"
    # what is not in the image is zeros, and no whole cluster of what is wanted is
    return "" if seen == len(wanted) else f"has {seen} of {len(wanted)} bytes, the rest is empty"


def clusters(image: bytes) -> Iterator[tuple[int, bytes]]:
    """Give what a QCOW2 holds: byte of the disk, data; what is left out is zeros.

    Source: QEMU, ``docs/interop/qcow2.txt``.

    :raises CanaryError: it is none, is cut off, or needs something else to be read
    """
    try:
        yield from _clusters(image)
    except (struct.error, zlib.error) as err:
        raise CanaryError(UNKNOWN, f"what was uploaded of the volume is damaged: {err}") from None


def _clusters(image: bytes) -> Iterator[tuple[int, bytes]]:
    magic, version, backing = struct.unpack_from(">4sIQ", image, 0)
    (bits,) = struct.unpack_from(">I", image, 20)
    (encrypted, entries, table) = struct.unpack_from(">IIQ", image, 32)
    (features,) = struct.unpack_from(">Q", image, 72) if version >= 3 else (0,)
    if magic != _MAGIC or backing or encrypted or features & _STRANGE or not 9 <= bits <= 21:
        raise CanaryError(UNKNOWN, "what was uploaded of the volume is no plain QCOW2")
    size = 1 << bits
    per_table = size // 8
    for first, second in enumerate(struct.unpack_from(f">{entries}Q", image, table)):
        if not second & _OFFSET:
            continue
        found = struct.unpack_from(f">{per_table}Q", image, second & _OFFSET)
        for number, entry in enumerate(found):
            data = _cluster(image, entry, bits)
            if data:
                yield (first * per_table + number) * size, data


def _cluster(image: bytes, entry: int, bits: int) -> bytes:
    """The data of one entry; empty for zeros."""
    if entry & _COMPRESSED:
        split = 62 - (bits - 8)
        offset = entry & ((1 << split) - 1)
        sectors = (entry >> split) & ((1 << (62 - split)) - 1)
        packed = image[offset : offset + (sectors + 1) * 512 - (offset & 511)]
        data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, 1 << bits)
    elif entry & _ZERO or not entry & _OFFSET:
        return b""
    else:
        # what is after the end of the file reads as zeros
        data = image[entry & _OFFSET : (entry & _OFFSET) + (1 << bits)].ljust(1 << bits, b"\0")
    if len(data) != 1 << bits:
        raise struct.error(f"a cluster has {len(data)} bytes")
    return data
