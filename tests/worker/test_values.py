from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smexec.core.work import Stored
from smexec.worker import batch, protocol
from smexec.worker.batch import PackedCall
from smexec.worker.call import dump, load_object
from smexec.worker.protocol import BadSignature, Event
from smexec.worker.values import Values

KEY = b"k" * 32
EVENT = Event(1, "smexec-f-abcdefgh-00001", 3)
VALUE = {"outcome": protocol.VALUE}


def write(
    folder: Path, events: list[tuple[int, Any, list[Any]]], key: bytes = KEY, event: Event = EVENT
) -> None:
    """As a job's worker writes news: call, outcome, sections."""
    told = [{"call": call, "outcome": outcome, "sections": len(some)} for call, outcome, some in events]
    body = protocol.encode_body({"events": told}, [section for *_, some in events for section in some])
    purpose = protocol.events_purpose(event.job, event.number)
    (folder / event.name).write_bytes(b"".join(protocol.seal(key, purpose, body)))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.binary(max_size=40), max_size=4), min_size=1, max_size=5))
def test_each_value_is_found_among_the_others(tmp_path: Path, values: list[list[bytes]]) -> None:
    write(tmp_path, [(call, VALUE, sections) for call, sections in enumerate(values)])
    found = Values(tmp_path, KEY)
    for call, sections in enumerate(values):
        assert [bytes(extent.mapped()) for extent in found.of(EVENT.name, call)] == sections


def test_only_values_are_values(tmp_path: Path) -> None:
    write(tmp_path, [(0, None, []), (1, {"outcome": protocol.RAISED}, [b"error"]), (2, VALUE, [b"value"])])
    found = Values(tmp_path, KEY)
    assert [bytes(extent.mapped()) for extent in found.of(EVENT.name, 2)] == [b"value"]
    for call in (0, 1, 3):
        with pytest.raises(BadSignature, match=f"no value of call {call}"):
            found.of(EVENT.name, call)


@pytest.mark.parametrize(
    ("key", "event"),
    [(b"x" * 32, EVENT), (KEY, EVENT._replace(number=4)), (KEY, EVENT._replace(job="another"))],
    ids=["another's", "another object", "another job"],
)
def test_what_another_wrote_is_refused(tmp_path: Path, key: bytes, event: Event) -> None:
    write(tmp_path, [(0, VALUE, [b"value"])], key, event)
    if event != EVENT:
        (tmp_path / event.name).rename(tmp_path / EVENT.name)
    with pytest.raises(BadSignature):
        Values(tmp_path, KEY).of(EVENT.name, 0)


def test_a_name_that_is_no_events_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadSignature):
        Values(tmp_path, KEY).of("../batch", 0)


def test_a_value_is_an_object_of_the_batch_that_each_call_may_change(tmp_path: Path) -> None:
    array = np.arange(1000.0)
    write(tmp_path, [(6, None, []), (7, VALUE, dump({"array": array}))])
    calls = [PackedCall(0, [0], [1]), PackedCall(0, [0], [1])]
    body = batch.encode({}, calls, [[0], Stored(EVENT.name, 7)._asdict()], [b"f"], {})
    made = batch.decode(*protocol.decode_body(b"".join(body)), tmp_path, Values(tmp_path, KEY))
    assert made.common == [0, 1]
    for _ in range(2):
        loaded = load_object(made, 1)["array"]
        np.testing.assert_array_equal(loaded, array)
        assert loaded.flags.aligned
        loaded += 1
