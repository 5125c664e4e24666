"""Large objects go in parts: how many bytes each has, and which they are. Both ends import this module.

The limits are S3's (https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html): an object of at most
5 TiB, at most 10,000 parts, each but the last of 5 MiB to 5 GiB.
"""

from __future__ import annotations

import base64
import functools
import zlib
from typing import Iterable, Iterator, List, NamedTuple, Sequence, Tuple

from .protocol import Buffer

MOST = 10000
AT_A_TIME = 8


class Sizes(NamedTuple):
    """What goes in parts, and in which: in the SDKs' own, which are small enough to be hashed in passing.

    :ivar large: bytes from which an object goes in parts
    :ivar part: bytes of each part but the last, unless there would be too many
    """

    large: int = 32 << 20
    part: int = 8 << 20


SIZES = Sizes()


def part_size(total: int, least: int = SIZES.part) -> int:
    """Bytes of each part but the last: of an object of ``total`` bytes there are then not too many."""
    return max(least, -(-total // MOST))


def spans(start: int, total: int, size: int) -> Iterator[Tuple[int, int]]:
    """What lies from ``start`` to ``total``, in order, as ranges of ``size`` bytes: first, last + 1."""
    for begin in range(start, total, size):
        yield begin, min(begin + size, total)


def length(buffers: Sequence[Buffer]) -> int:
    """Bytes of all."""
    return sum(memoryview(buffer).nbytes for buffer in buffers)


def checksum(buffers: Sequence[Buffer]) -> str:
    """CRC32 of all, as S3 spells it."""
    crc32 = functools.reduce(lambda crc, buffer: zlib.crc32(buffer, crc), buffers, 0)
    return base64.b64encode(crc32.to_bytes(4, "big")).decode()


def split(buffers: Iterable[Buffer], size: int) -> Iterator[List[memoryview]]:
    """The bytes of the buffers, one after the other, in parts of ``size`` bytes: as views, uncopied."""
    part: List[memoryview] = []
    room = size
    for buffer in buffers:
        view = memoryview(buffer).cast("B")
        while view.nbytes:
            part.append(view[:room])
            view, room = view[room:], room - part[-1].nbytes
            if not room:
                yield part
                part, room = [], size
    if part:
        yield part
