from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smexec.core.cadence import (
    DYING_LATEST,
    EVENTS_LATEST,
    EVENTS_SOONEST,
    EVENTS_SOONEST_OF_MANY,
    OVERLAP,
    PROBE_LATEST,
    PROBE_LATEST_ALONE,
    PROBE_SOONEST,
    SKEW,
    STATUS_LATEST,
    STATUS_SOONEST,
    Tail,
    events_delay,
    late_after,
    probe_delay,
    status_delay,
)
from smexec.worker.protocol import Event

quiet_times = st.floats(0, 1e7)
events = st.builds(
    Event,
    st.integers(0, 5 * OVERLAP),
    st.sampled_from(["job-1", "job-2"]),
    st.integers(0, 3),
)


# -- when ----------------------------------------------------------------------------------------------------


@given(quiet_times, quiet_times)
def test_the_longer_it_is_quiet_the_less_is_asked(one: float, other: float) -> None:
    earlier, later = sorted([one, other])
    for calls, soonest in ((1, EVENTS_SOONEST), (1000, EVENTS_SOONEST_OF_MANY)):
        assert soonest <= events_delay(earlier, calls) <= events_delay(later, calls) <= EVENTS_LATEST
    for dying in (False, True):
        assert STATUS_SOONEST <= status_delay(earlier, dying) <= status_delay(later, dying) <= STATUS_LATEST


@given(quiet_times)
def test_a_death_that_is_near_is_looked_for_sooner(quiet: float) -> None:
    assert status_delay(quiet, dying=True) <= min(DYING_LATEST, status_delay(quiet, dying=False))


@given(quiet_times)
def test_the_rate_of_list_training_jobs_is_left_to_others_as_well(quiet: float) -> None:
    """2 requests a second for the whole account."""
    assert 1 / status_delay(quiet, dying=True) <= 1.0


# -- what ----------------------------------------------------------------------------------------------------


class Everybody(frozenset[str]):
    """All jobs are ours."""

    def __contains__(self, _: object) -> bool:
        return True


LATER = 1e10  # whatever an event's time is, it has come by then


def take(tail: Tail, names: Iterable[str]) -> list[Event]:
    return tail.take(names, Everybody(), LATER)


def listing(store: set[str], tail: Tail) -> list[str]:
    """What S3 lists: what sorts after StartAfter."""
    return sorted(name for name in store if name > tail.start_after)


@given(st.lists(st.lists(events, max_size=5), max_size=10))
def test_no_event_is_given_twice(rounds: list[list[Event]]) -> None:
    tail, store, given_out = Tail(), set[str](), list[str]()
    for written in rounds:
        store |= {event.name for event in written}
        given_out += [event.name for event in take(tail, listing(store, tail))]
    assert len(given_out) == len(set(given_out))


late = st.integers(0, OVERLAP - 1)


@given(st.lists(st.tuples(st.lists(late, max_size=5), st.integers(0, OVERLAP)), max_size=10))
def test_no_event_is_missed_that_comes_within_the_overlap(rounds: list[tuple[list[int], int]]) -> None:
    """Whatever the order: each event's time is at most an overlap behind the latest that was seen."""
    tail, store, given_out, now = Tail(), set[str](), set[str](), 10 * OVERLAP
    for number, (delays, step) in enumerate(rounds):
        now += step
        store |= {Event(now - delay, f"job-{number}", 1).name for delay in delays}
        given_out |= {event.name for event in take(tail, listing(store, tail))}
    assert given_out == store


@given(st.integers(0, 10**6), st.booleans())
def test_an_instance_is_asked_for_less_and_less(refusals: int, alone: bool) -> None:
    latest = PROBE_LATEST_ALONE if alone else PROBE_LATEST
    assert probe_delay(0, alone=alone) == PROBE_SOONEST
    assert probe_delay(refusals, alone=alone) <= probe_delay(refusals + 1, alone=alone) <= latest
    assert probe_delay(refusals, alone=True) <= probe_delay(refusals, alone=False)
    assert probe_delay(30, alone=alone) == latest


@given(st.lists(st.integers(0, OVERLAP), min_size=50, max_size=50))
def test_what_is_remembered_does_not_grow(steps: list[int]) -> None:
    tail, now = Tail(), 0
    for number, step in enumerate(steps):
        now += step
        take(tail, [Event(now, f"job-{number}", 1).name])
        in_overlap = sum(now - sum(steps[: place + 1]) <= OVERLAP for place in range(number + 1))
        assert len(tail._read) <= in_overlap


@given(st.lists(events, max_size=20))
def test_events_come_in_the_order_of_their_times(given_events: list[Event]) -> None:
    taken = take(Tail(), [event.name for event in given_events])
    assert taken == sorted(set(given_events), key=lambda event: event.name)
    assert [event.milliseconds for event in taken] == sorted(event.milliseconds for event in taken)


@given(st.lists(events, min_size=1, max_size=10))
def test_pages_of_one_listing_are_taken_one_after_the_other(given_events: list[Event]) -> None:
    """S3 goes on where the page before ended, whatever has been read meanwhile."""
    names = sorted({event.name for event in given_events})
    tail = Tail()
    taken = [event.name for name in names for event in take(tail, [name])]
    assert taken == names


def test_the_next_listing_begins_an_overlap_before_the_newest() -> None:
    tail = Tail()
    assert tail.start_after == "0000000000000"
    take(tail, [Event(1_700_000_000_000, "job", 0).name])
    assert tail.start_after == f"{1_700_000_000_000 - OVERLAP:013d}"
    take(tail, [Event(5, "job", 0).name])  # late, but no reason to go back
    assert tail.start_after == f"{1_700_000_000_000 - OVERLAP:013d}"


@pytest.mark.parametrize("name", ["", "readme.txt", "a_b_c", "0000000000001_job"])
def test_what_others_put_there_does_not_stop_the_watch(name: str) -> None:
    event = Event(1, "job", 1)
    assert take(Tail(), [name, event.name]) == [event]


NOW = 1_700_000_000.0  # seconds


@given(st.lists(st.tuples(st.integers(0, 10**13 - 1), st.booleans()), max_size=20))
def test_no_strange_name_hides_what_our_jobs_write(strange: list[tuple[int, bool]]) -> None:
    """Of a job of others, or of ours with a time that no clock can show."""
    far = int((NOW + SKEW) * 1000) + 1
    names = [
        Event(max(far, time), "ours", 7).name if ours else Event(time, "x", 1).name for time, ours in strange
    ]
    tail = Tail()
    tail.take(names, {"ours"}, NOW)
    written = Event(int(NOW * 1000), "ours", 1)
    assert tail.start_after < written.name
    assert tail.take([written.name], {"ours"}, NOW) == [written]


@given(st.floats(-SKEW + 1, SKEW))
def test_a_clock_may_be_as_wrong_as_the_service_allows(wrong: float) -> None:
    tail, event = Tail(), Event(int((NOW + wrong) * 1000), "ours", 1)
    assert tail.take([event.name], {"ours"}, NOW) == [event]
    assert tail.newest == event.milliseconds
    assert event.name > late_after(begin=NOW)


def test_an_event_is_given_when_its_job_is_known() -> None:
    """It may have been written before the answer that there is such a job has come."""
    tail, event = Tail(), Event(int(NOW * 1000), "ours", 1)
    assert tail.take([event.name], set(), NOW) == []
    assert tail.take([event.name], {"ours"}, NOW) == [event]


def test_what_came_late_is_looked_for_from_the_beginning_of_its_job() -> None:
    assert late_after(begin=20_000.0) == f"{20_000_000 - 900_000:013d}"
    assert late_after(begin=0.0) == "0000000000000"
