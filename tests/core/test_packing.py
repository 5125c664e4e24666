from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from smexec.core import packing
from smexec.core.packing import BATCH_BYTES, Kind, Packer, share

kinds = st.builds(
    Kind,
    st.sampled_from("ab"),
    st.none() | st.integers(1, 4),
    st.sampled_from([0.0, 0.5, 2.0]),
    st.none() | st.sampled_from([0.0, 1.0, 5.0]),
)
# What happens: a call comes, a job is free, or time passes.
calls = st.tuples(kinds, st.integers(0, BATCH_BYTES // 2))
histories = st.lists(calls | st.just("free") | st.floats(0.0, 1.0), max_size=40)

Item = tuple[int, Kind, int, float]  # number, kind, size, when it came


def wanted(item: Item) -> bool:
    return True


def replay(history: list[object]) -> tuple[list[Item], list[tuple[float, list[Item]]]]:
    """What came, and each batch with when it was taken; at the end everything is flushed."""
    packer: Packer[Item] = Packer()
    came: list[Item] = []
    batches: list[tuple[float, list[Item]]] = []
    now = 0.0
    for event in history:
        if isinstance(event, float):
            now += event
        elif event == "free":
            batches.append((now, packer.take(now, flush=False, wanted=wanted)))
        else:
            assert isinstance(event, tuple)
            kind, size = event
            came.append((len(came), kind, size, now))
            packer.add(came[-1], kind, size, now)
    while packer:
        batches.append((now, packer.take(now, flush=True, wanted=wanted)))
    return came, [(when, batch) for when, batch in batches if batch]


@given(histories)
def test_no_call_is_lost_and_none_packed_twice(history: list[object]) -> None:
    came, batches = replay(history)
    assert sorted(item for _, batch in batches for item in batch) == came


@given(histories)
def test_calls_of_a_kind_keep_their_order(history: list[object]) -> None:
    came, batches = replay(history)
    for kind in {item[1] for item in came}:
        packed = [item for _, batch in batches for item in batch if item[1] == kind]
        assert packed == sorted(packed)


@given(histories)
def test_limits_are_kept_and_kinds_are_not_mixed(history: list[object]) -> None:
    for _, batch in replay(history)[1]:
        (kind,) = {item[1] for item in batch}
        assert kind.limit is None or len(batch) <= kind.limit
        assert len(batch) == 1 or sum(item[2] for item in batch) <= BATCH_BYTES


@given(histories, st.floats(0, 10))
def test_nothing_waits_beyond_its_patience_while_a_job_is_free(history: list[object], later: float) -> None:
    packer: Packer[Item] = Packer()
    latest = 0.0
    for number, event in enumerate(event for event in history if isinstance(event, tuple)):
        kind, size = event
        packer.add((number, kind, size, 0.0), kind, size, 0.0)
        latest = max(latest, kind.linger if kind.patience is None else min(kind.linger, kind.patience))
    now = latest + later
    while packer.take(now, flush=False, wanted=wanted):
        pass
    assert not packer


@given(st.lists(st.floats(0, 0.9), min_size=1, max_size=50))
def test_calls_that_keep_coming_are_waited_for_but_not_for_ever(pauses: list[float]) -> None:
    packer: Packer[float] = Packer()
    kind = Kind("map", limit=None, linger=1.0, patience=5.0)
    now = 0.0
    for pause in pauses:
        now += pause
        due = packer.next_due()
        batch = packer.take(now, flush=False, wanted=lambda _: True)
        assert bool(batch) == (due is not None and due <= now)
        assert not batch or now - batch[0] >= 5.0  # they came less than a second apart
        packer.add(now, kind, 1, now)


@given(st.integers(1, 200), st.integers(1, 20))
def test_without_a_limit_each_job_gets_its_part(calls: int, jobs: int) -> None:
    packer: Packer[int] = Packer()
    for number in range(calls):
        packer.add(number, Kind("map", limit=None), 1, now=0.0)
    part = share(calls, jobs)
    sizes = []
    while packer:
        sizes.append(len(packer.take(0.0, part=part, flush=False, wanted=lambda _: True)))
    assert len(sizes) <= jobs
    assert set(sizes[:-1]) <= {part}


def test_a_call_waits_for_company_only_as_long_as_it_may() -> None:
    packer: Packer[str] = Packer()
    kind = Kind("map", limit=3, linger=0.5)
    packer.add("a", kind, 1, now=10.0)
    assert packer.take(10.4, flush=False, wanted=bool) == []
    assert packer.next_due() == 10.5
    assert packer.take(10.5, flush=False, wanted=bool) == ["a"]
    assert packer.next_due() is None


def test_a_full_batch_goes_at_once_and_the_rest_waits_on() -> None:
    packer: Packer[str] = Packer()
    kind = Kind("map", limit=2, linger=9.0)
    for name in "abc":
        packer.add(name, kind, 1, now=0.0)
    assert packer.take(0.0, flush=False, wanted=bool) == ["a", "b"]
    assert packer.take(0.0, flush=False, wanted=bool) == []
    assert packer.take(0.0, flush=True, wanted=bool) == ["c"]


def test_what_one_job_runs_at_a_time_is_not_divided() -> None:
    packer: Packer[str] = Packer()
    kind = Kind("joblib", limit=None, slots=4)
    for name in "abcdef":
        packer.add(name, kind, 1, now=0.0)
    batches = [packer.take(0.0, part=2, flush=False, wanted=bool) for _ in range(2)]
    assert batches == [["a", "b", "c", "d"], ["e", "f"]]


def test_who_has_waited_longest_goes_first() -> None:
    packer: Packer[str] = Packer()
    packer.add("later", Kind("b"), 1, now=2.0)
    packer.add("first", Kind("a"), 1, now=1.0)
    assert packer.take(3.0, flush=False, wanted=bool) == ["first"]


def test_what_is_not_wanted_any_more_is_dropped() -> None:
    packer: Packer[str] = Packer()
    kind = Kind("map", limit=4)
    for name in "abcd":
        packer.add(name, kind, 1, now=0.0)
    assert packer.take(0.0, flush=False, wanted=lambda name: name in "bd") == ["b", "d"]
    packer.add("e", kind, 1, now=0.0)
    assert packer.take(0.0, flush=False, wanted=lambda _: False) == []
    assert not packer


def test_a_batch_has_an_end_whatever_the_limit_says() -> None:
    packer: Packer[int] = Packer()
    for number in range(packing.BATCH_CALLS + 1):
        packer.add(number, Kind("map", limit=10**9), 0, now=0.0)
    assert len(packer.take(0.0, flush=True, wanted=lambda _: True)) == packing.BATCH_CALLS


@given(st.integers(0, 10**6), st.integers(1, 1000))
def test_shares_suffice_and_none_could_be_smaller(number: int, jobs: int) -> None:
    size = share(number, jobs)
    assert size * jobs >= number
    assert size == 1 or (size - 1) * jobs < number


def test_when_no_more_are_on_their_way_nobody_waits() -> None:
    packer: Packer[str] = Packer()
    kind = Kind("map", limit=3, linger=9.0)
    packer.flush(kind)  # of nothing
    packer.add("a", kind, 1, now=0.0)
    assert packer.take(0.0, flush=False, wanted=bool) == []
    packer.flush(kind)
    assert packer.next_due() == 0.0
    assert packer.take(0.0, flush=False, wanted=bool) == ["a"]
    packer.add("b", kind, 1, now=1.0)  # one that waited for others, say
    assert packer.take(1.0, flush=False, wanted=bool) == []
    assert packer.next_due() == 10.0
