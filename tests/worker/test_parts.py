from __future__ import annotations

import base64
import itertools
import zlib

from hypothesis import given
from hypothesis import strategies as st

from smexec.worker import parts

MIB, GIB, TIB = 1 << 20, 1 << 30, 1 << 40


@given(total=st.integers(1, 5 * TIB), least=st.integers(5 * MIB, 64 * MIB))
def test_parts_are_what_s3_takes(total: int, least: int) -> None:
    size = parts.part_size(total, least)
    assert 5 * MIB <= size <= 5 * GIB
    assert -(-total // size) <= parts.MOST
    assert size == least or -(-total // (size - 1)) > parts.MOST  # no larger than it has to be


@given(st.integers(0, 300), st.integers(0, 300), st.integers(1, 100))
def test_spans_cover_everything_once_and_in_order(start: int, total: int, size: int) -> None:
    covered = [list(range(*span)) for span in parts.spans(start, total, size)]
    assert list(itertools.chain(*covered)) == list(range(start, total))
    assert all(len(span) == size for span in covered[:-1])
    assert all(covered)


@given(st.lists(st.binary(max_size=30)), st.integers(1, 50))
def test_what_is_split_is_all_there_in_order(buffers: list[bytes], size: int) -> None:
    split = [b"".join(part) for part in parts.split(buffers, size)]
    assert b"".join(split) == b"".join(buffers)
    assert all(len(part) == size for part in split[:-1])
    assert all(split)
    assert parts.length(buffers) == sum(map(len, split))


def test_what_is_split_is_not_copied() -> None:
    content = bytearray(10)
    for part in parts.split([memoryview(content).cast("h"), content], 4):
        for view in part:
            view[0] = 1
    assert content == bytes([1, 0, 1, 0, 1, 0, 1, 0, 1, 0])


def test_the_checksum_is_of_all_buffers() -> None:
    checksum = base64.b64decode(parts.checksum([b"ab", bytearray(b""), memoryview(b"c")]))
    assert checksum == zlib.crc32(b"abc").to_bytes(4, "big")
