from __future__ import annotations

import pickle
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smexec.worker import protocol
from smexec.worker.protocol import (
    ALIGNMENT,
    BadSignature,
    Buffer,
    Envelope,
    Event,
    Opening,
    batch_purpose,
    decode_body,
    encode_body,
    events_purpose,
    seal,
    unseal,
)

KEY = b"k" * 32
PURPOSE = batch_purpose("job")

keys = st.binary(min_size=1, max_size=64).filter(lambda key: key.rstrip(b"\0") != b"")
sections = st.lists(st.binary(max_size=100), max_size=4)
headers = st.dictionaries(
    st.text().filter(lambda name: name != "sizes"),
    st.none() | st.booleans() | st.integers() | st.text(),
    max_size=4,
)
job_names = st.from_regex(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", fullmatch=True)


def envelope(
    header: protocol.Header, parts: Sequence[Buffer], key: bytes = KEY, purpose: str = PURPOSE
) -> bytearray:
    return bytearray(b"".join(seal(key, purpose, encode_body(header, parts))))


@given(headers, sections, keys, st.text())
def test_what_was_sealed_comes_out(
    header: protocol.Header, parts: list[bytes], key: bytes, purpose: str
) -> None:
    try:
        purpose.encode()
    except UnicodeEncodeError:
        purpose = PURPOSE
    opened, views = unseal(key, purpose, envelope(header, parts, key, purpose))
    assert {name: value for name, value in opened.items() if name != "sizes"} == header
    assert [bytes(view) for view in views] == parts


@given(sections, st.data())
def test_an_envelope_is_checked_as_it_comes(parts: list[bytes], data: st.DataObject) -> None:
    whole = envelope({}, parts)
    opening = Opening(KEY, PURPOSE)
    for stop in sorted(data.draw(st.lists(st.integers(0, len(whole) + 1)))):
        opening.follow(whole, stop)
    _, views = opening.open(whole)
    assert [bytes(view) for view in views] == parts


@pytest.mark.parametrize("stop", [0, 100, 10**6])
def test_what_came_before_is_checked_too(stop: int) -> None:
    whole = envelope({}, [bytes(1000)])
    changed = bytearray(whole)
    changed[50] ^= 1
    opening = Opening(KEY, PURPOSE)
    opening.follow(changed, stop)
    with pytest.raises(BadSignature):
        opening.open(whole if stop else changed)


def test_an_envelope_is_signed_as_it_is_taken() -> None:
    """What is large is not gone through before its first bytes can be sent."""
    section = bytearray(10 << 20)
    sealed = Envelope(KEY, PURPOSE, encode_body({}, [section]))
    taken = bytearray()
    for piece in sealed:
        taken += piece
        section[-1] += 1  # while the last of it has not been taken
        assert len(piece) <= 1 << 20
    assert sealed.size == len(taken)
    _, (view,) = unseal(KEY, PURPOSE, taken)
    assert view[-1] > 0


@given(headers, sections, st.data())
def test_no_byte_can_be_changed(header: protocol.Header, parts: list[bytes], data: st.DataObject) -> None:
    forged = envelope(header, parts)
    forged[data.draw(st.integers(0, len(forged) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(BadSignature):
        unseal(KEY, PURPOSE, forged)


@given(headers, sections, st.data())
def test_nothing_can_be_cut_off_or_added(
    header: protocol.Header, parts: list[bytes], data: st.DataObject
) -> None:
    whole = envelope(header, parts)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    for forged in (cut, whole + data.draw(st.binary(min_size=1, max_size=20))):
        with pytest.raises(BadSignature):
            unseal(KEY, PURPOSE, forged)


@given(keys, keys)
def test_another_key_does_not_open_it(one: bytes, other: bytes) -> None:
    # HMAC pads keys with zeros: keys of one run have one length.
    if one.ljust(64, b"\0") == other.ljust(64, b"\0"):
        return
    with pytest.raises(BadSignature):
        unseal(other, PURPOSE, envelope({}, [], one))


@given(job_names, job_names, st.integers(0, 99), st.integers(0, 99))
def test_an_envelope_has_one_purpose(job: str, other: str, number: int, later: int) -> None:
    purposes = {batch_purpose(job), batch_purpose(other)}
    purposes |= {events_purpose(*at) for at in ((job, number), (job, later), (other, number))}
    assert len(purposes) == len({job, other}) + len({(job, number), (job, later), (other, number)})
    for purpose in purposes:
        for wrong in purposes - {purpose}:
            with pytest.raises(BadSignature, match="does not hold for"):
                unseal(KEY, wrong, envelope({}, [], purpose=purpose))


def test_the_purpose_cannot_be_continued_in_the_body() -> None:
    """Else the signature of ("batch a", "b...") would be that of ("batch ab", "...")."""
    signed = [protocol.sign(KEY, "batch a", [b"b"]), protocol.sign(KEY, "batch ab", [b""])]
    assert signed[0] != signed[1]


def test_the_signature_does_not_depend_on_how_the_body_is_cut() -> None:
    assert protocol.sign(KEY, PURPOSE, [b"ab", b"c"]) == protocol.sign(KEY, PURPOSE, [b"", b"abc"])


@pytest.mark.parametrize("junk", [b"", b"x", protocol.MAGIC, bytes(100)])
def test_what_is_no_envelope(junk: bytes) -> None:
    with pytest.raises(BadSignature):
        unseal(KEY, PURPOSE, junk)


@given(headers, sections, st.data())
def test_a_body_that_was_cut_short_is_none(
    header: protocol.Header, parts: list[bytes], data: st.DataObject
) -> None:
    body = b"".join(encode_body(header, parts))
    with pytest.raises(ValueError):  # noqa: PT011  # of one kind or another: JSON, length
        decode_body(body[: data.draw(st.integers(0, len(body) - 1))])


@given(headers, sections)
def test_sections_are_aligned(header: protocol.Header, parts: list[bytes]) -> None:
    whole = envelope(header, parts)
    start = np.frombuffer(whole, dtype="u1").ctypes.data
    _, views = unseal(KEY, PURPOSE, whole)
    offsets = [np.frombuffer(view, dtype="u1").ctypes.data - start for view in views if view.nbytes]
    assert all(offset % ALIGNMENT == 0 for offset in offsets)


def test_sections_are_not_copied() -> None:
    array: Any = np.arange(10.0)
    parts = encode_body({}, [memoryview(array)])
    assert any(np.shares_memory(array, np.frombuffer(part, dtype="u1")) for part in parts if len(part))
    whole = bytearray(b"".join(seal(KEY, PURPOSE, parts)))
    _, (section,) = unseal(KEY, PURPOSE, whole)
    section[:8] = bytes(np.float64(42).tobytes())
    assert np.float64(42).tobytes() in whole


@pytest.mark.parametrize("shape", [(0,), (3, 0), (2, 3), ()])
def test_arrays_of_every_shape(shape: tuple[int, ...]) -> None:
    array: Any = np.ones(shape)
    _, (view,) = unseal(KEY, PURPOSE, envelope({}, [pickle.PickleBuffer(array).raw()]))
    assert bytes(view) == array.tobytes()


# -- events --------------------------------------------------------------------------------------------------


numbers = st.integers(0, 10**9)


@given(st.integers(0, 10**13 - 1), job_names, numbers)
def test_events_come_out_of_their_names(milliseconds: int, job: str, number: int) -> None:
    event = Event(milliseconds, job, number)
    assert Event.parse(event.name) == event


@given(st.lists(st.tuples(st.integers(0, 10**13 - 1), job_names, numbers), min_size=1))
def test_names_sort_by_time(given: list[tuple[int, str, int]]) -> None:
    names = sorted(Event(*event).name for event in given)
    times = [event.milliseconds for event in map(Event.parse, names) if event]
    assert times == sorted(milliseconds for milliseconds, _, _ in given)


@pytest.mark.parametrize(
    "name",
    ["", "readme.txt", "1_job_2", "x234567890123_job_2", "1234567890123_job", "1234567890123_job_outcome",
     "1234567890123_job_2_2", "²234567890123_job_2", "1234567890123_job_²", "1234567890123_job_-1"],
)  # fmt: skip
def test_what_others_put_there_is_no_event(name: str) -> None:
    assert Event.parse(name) is None


@given(st.text())
def test_no_name_is_an_error(name: str) -> None:
    event = Event.parse(name)
    assert event is None or Event.parse(event.name) == event


def test_the_version_that_both_ends_must_share() -> None:
    assert protocol.python_version((3, 8, 18)) == "3.8"
    assert protocol.python_version(sys.version_info) == "{}.{}".format(*sys.version_info)
