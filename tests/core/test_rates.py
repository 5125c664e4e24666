from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smexec.core.rates import Bucket

rates = st.floats(0.1, 1000)
gaps = st.floats(0, 10)
EPSILON = 1e-6


def burst(rate: float) -> float:
    return max(1.0, rate)


def uses(bucket: Bucket, waits: list[float]) -> list[float]:
    """When the requests are made that are asked for after these waits, each after the one before."""
    asked = used = 0.0
    times = []
    for wait in waits:
        asked += wait
        used = turn(bucket, max(asked, used))
        times.append(used)
    return times


def turn(bucket: Bucket, now: float) -> float:
    """When a token was there, for one who waits for it from now on."""
    while delay := bucket.take(now):
        now += delay
    return now


@given(rates, st.lists(gaps, min_size=1, max_size=50))
def test_no_more_than_the_rate_and_one_burst(rate: float, waits: list[float]) -> None:
    times = uses(Bucket(rate), waits)
    for start, end in itertools.combinations_with_replacement(range(len(times)), 2):
        span, count = times[end] - times[start], end - start + 1
        assert count <= rate * span + burst(rate) + EPSILON * rate + 1


@given(rates, st.lists(gaps, min_size=1, max_size=50))
def test_first_come_first_served(rate: float, waits: list[float]) -> None:
    times = uses(Bucket(rate), waits)
    assert all(later >= earlier - EPSILON for earlier, later in itertools.pairwise(times))


@given(rates, st.lists(gaps, min_size=1, max_size=50))
def test_nobody_waits_longer_than_need_be(rate: float, waits: list[float]) -> None:
    """As if they queued: a new bucket holds one token."""
    total = sum(waits)
    assert uses(Bucket(rate), waits)[-1] <= total + len(waits) / rate + EPSILON


def test_the_first_comes_at_once_and_the_next_when_its_turn_comes() -> None:
    bucket, now, times = Bucket(2.0), 100.0, []
    for _ in range(4):
        now = turn(bucket, now)
        times.append(now)
    assert times == pytest.approx([100.0, 100.5, 101.0, 101.5])
    assert bucket.take(102.0) == 0.0


def test_nobody_sleeps_long_by_an_old_rate() -> None:
    bucket = Bucket(0.1)
    bucket.take(0.0)
    assert 0 < bucket.take(0.0) <= 1.0  # of the ten seconds


@given(rates, st.lists(st.floats(0, 100), max_size=30))
def test_a_clock_that_goes_back_gives_no_more_than_one_that_stands(rate: float, times: list[float]) -> None:
    bucket, steady = Bucket(rate), Bucket(rate)
    latest = 0.0
    for time in times:
        latest = max(latest, time)
        bucket.take(time)
        steady.take(latest)
    assert bucket._tokens == steady._tokens


def test_a_clock_that_goes_back_and_forth_gives_nothing_either() -> None:
    bucket = Bucket(1.0)
    assert bucket.take(10.0) == 0.0
    assert bucket.take(5.0) > 0
    assert bucket.take(10.0) > 0


# -- learning ------------------------------------------------------------------------------------------------


@given(rates, st.lists(st.floats(0, 0.999), max_size=20))
def test_many_refusals_at_once_are_one_sign(rate: float, moments: list[float]) -> None:
    bucket = Bucket(rate)
    bucket.throttled(5.0)
    halved = bucket.rate
    for moment in sorted(moments):
        bucket.throttled(5.0 + moment)
    assert bucket.rate == halved == max(0.05, rate / 2)


@given(rates, st.lists(gaps, max_size=30))
def test_the_rate_halves_at_most_once_a_second(rate: float, waits: list[float]) -> None:
    bucket, now = Bucket(rate), 0.0
    for wait in waits:
        now += wait
        bucket.throttled(now)
    assert bucket.rate >= rate / 2 ** (math.floor(now) + 1) - EPSILON


def test_it_never_falls_to_nothing() -> None:
    bucket = Bucket(5.0)
    for second in range(100):
        bucket.throttled(float(second))
    assert bucket.rate == 0.05
    assert bucket.take(1000.0) == 0.0


def test_a_refusal_takes_what_was_saved_up() -> None:
    bucket = Bucket(10.0)
    bucket.take(0.0)
    bucket.throttled(100.0)
    assert bucket.take(100.0) > 0


@given(rates)
def test_it_recovers(rate: float) -> None:
    """Not at once, since the last refusal has shown where the limit is about."""
    bucket = Bucket(rate)
    bucket.throttled(0.0)
    assert used(bucket, max(15.0, 15 / rate)).rate >= rate


@given(st.floats(1, 100))
def test_it_doubles_in_a_second_until_it_is_refused(rate: float) -> None:
    bucket = Bucket(rate)
    assert 1.5 * rate <= used(bucket, 1.0).rate <= 3 * rate


def used(bucket: Bucket, seconds: float) -> Bucket:
    """The bucket after it was used for so long, at its own rate and with success."""
    now = 0.0
    while now < seconds:
        now += 1 / bucket.rate
        bucket.succeeded()
    return bucket


@given(rates, st.lists(st.booleans(), max_size=100))
def test_what_aws_has_published_is_never_passed(ceiling: float, answers: list[bool]) -> None:
    bucket = Bucket(min(ceiling, 5.0), ceiling)
    for second, good in enumerate(answers):
        if good:
            bucket.succeeded()
        else:
            bucket.throttled(float(second))
        assert bucket.rate <= max(ceiling, 0.05)


@pytest.mark.parametrize(("limit", "share"), [(0.5, 1.5), (1.0, 0.75), (2.0, 0.5), (7.0, 0.25), (50.0, 0.1)])
def test_it_settles_at_the_accounts_own_rate(limit: float, share: float) -> None:
    """A simulated service of this rate: most of it is used, and most requests go through."""
    passed, refused = shared(Bucket(5.0), Service(limit), until=300.0)
    assert passed > 0.92 * limit * 300
    assert refused < share * passed


@pytest.mark.parametrize(("before", "after"), [(1.0, 5.0), (5.0, 1.0), (2.0, 20.0)])
def test_it_follows_a_rate_that_changes(before: float, after: float) -> None:
    bucket = Bucket(5.0)
    shared(bucket, Service(before), until=100.0)
    service = Service(after, now=100.0)
    shared(bucket, service, until=200.0)
    passed, _ = shared(bucket, service, until=300.0, now=200.0)
    assert passed > 0.9 * after * 100


class Service:
    """Refuses what is too fast; what it refuses costs nothing."""

    def __init__(self, rate: float, now: float = 0.0) -> None:
        self.rate = rate
        self._tokens, self._at = max(1.0, rate), now

    def takes(self, now: float) -> bool:
        self._tokens = min(max(1.0, self.rate), self._tokens + self.rate * (now - self._at))
        self._at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


def shared(bucket: Bucket, service: Service, until: float, now: float | None = None) -> tuple[int, int]:
    """How many requests of one who always has another go through, and how many are refused."""
    now = service._at if now is None else now
    counts = [0, 0]
    while (now := turn(bucket, now)) < until:
        if taken := service.takes(now):
            bucket.succeeded()
        else:
            bucket.throttled(now)
        counts[not taken] += 1
    return counts[0], counts[1]
