from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smexec.core.market import SCARCE, Machine, Market, Trail, machines
from smexec.core.settings import Settings, make
from smexec.errors import (
    CapacityError,
    InternalServerError,
    JobStopped,
    OutcomeMissing,
    QuotaExceeded,
    SmexecError,
)

TYPES = [f"ml.c{number}.large" for number in range(5)]
choices = st.lists(st.sampled_from(TYPES), min_size=1, unique=True).map(
    lambda names: machines(make({"instance_type": names}, {}))
)
refusals = st.sampled_from([CapacityError("none there"), QuotaExceeded("0 Instances")])
#: What others have learnt before, and when.
learnt = st.lists(st.tuples(st.sampled_from(TYPES), refusals, st.floats(0, 1000)), max_size=10)


def market_with(said: list[tuple[str, SmexecError, float]]) -> Market:
    market = Market()
    for name, error, when in said:
        market.refused(Machine(name, spot=False, instances=1), error, when)
    return market


def fly(trail: Trail, market: Market, errors: list[SmexecError], now: float) -> list[Machine]:
    """The machines of all jobs of a flight that end so; the last error is said of all that follow."""
    tried: list[Machine] = []
    following: Trail | None = trail
    while following is not None:
        tried.append(market.best(following.left, now))
        error = errors[min(len(tried), len(errors)) - 1]
        market.refused(tried[-1], error, now)
        following = following.after(tried[-1], error)
    return tried


# -- laws ----------------------------------------------------------------------------------------------------


@given(choices, learnt, st.lists(refusals, min_size=1), st.floats(0, 2000))
def test_a_flight_that_is_refused_tries_every_machine_once(
    choice: tuple[Machine, ...],
    said: list[tuple[str, SmexecError, float]],
    errors: list[SmexecError],
    now: float,
) -> None:
    tried = fly(Trail(choice, repeats=1), market_with(said), errors, now)
    assert sorted(tried) == sorted(choice)


@given(choices, learnt, st.floats(0, 2000))
def test_machines_that_are_equally_good_are_tried_in_the_users_order(
    choice: tuple[Machine, ...], said: list[tuple[str, SmexecError, float]], now: float
) -> None:
    market = market_with(said)
    tried = fly(Trail(choice, repeats=0), copy.deepcopy(market), [CapacityError("none there")], now)
    assert tried == sorted(choice, key=lambda machine: (market._rank(machine, now), choice.index(machine)))


@given(choices, st.lists(refusals | st.just(InternalServerError("broken")), min_size=1, max_size=9))
def test_a_flight_takes_off_once_for_each_machine_and_once_more(
    choice: tuple[Machine, ...], errors: list[SmexecError]
) -> None:
    assert len(fly(Trail(choice, repeats=1), Market(), errors, 0.0)) <= len(choice) + 1


# -- what is known of machines -------------------------------------------------------------------------------

FIRST, SECOND = machines(make({"instance_type": TYPES[:2]}, {}))


def test_a_machine_without_capacity_is_avoided_for_a_while() -> None:
    market = Market()
    market.refused(FIRST, CapacityError("none there"), 100.0)
    assert market.best([FIRST, SECOND], 100.0 + SCARCE / 2) == SECOND
    assert market.best([FIRST, SECOND], 100.0 + SCARCE) == FIRST


def test_a_machine_without_quota_is_avoided_for_good() -> None:
    market = Market()
    market.refused(FIRST, QuotaExceeded("0 Instances"), 100.0)
    assert market.best([FIRST, SECOND], 10.0**9) == SECOND
    market.refused(SECOND, CapacityError("none there"), 10.0**9)
    assert market.best([FIRST, SECOND], 10.0**9) == SECOND  # which may be there by now
    assert market.best([FIRST], 10.0**9) == FIRST


def test_what_is_no_fault_of_the_machines_is_not_held_against_it() -> None:
    market = Market()
    market.refused(FIRST, InternalServerError("broken"), 0.0)
    assert market.best([FIRST, SECOND], 0.0) == FIRST


def test_spot_is_another_machine() -> None:
    (spot,) = machines(make({"instance_type": TYPES[0], "use_spot_instances": True}, {}))
    market = Market()
    market.refused(FIRST, QuotaExceeded("0 Instances"), 0.0)
    assert market.best([spot, SECOND], 0.0) == spot


# -- what follows a job --------------------------------------------------------------------------------------


def test_what_the_service_broke_is_repeated_once() -> None:
    trail = Trail.begin(Settings())
    again = trail.after(trail.left[0], InternalServerError("broken"))
    assert again is not None
    assert again.left == trail.left
    assert again.after(trail.left[0], InternalServerError("broken")) is None


def test_what_the_service_repeats_is_not_repeated() -> None:
    trail = Trail.begin(make({"max_retry_attempts": 1}, {}))
    assert trail.after(trail.left[0], InternalServerError("broken")) is None


@pytest.mark.parametrize("error", [JobStopped("by somebody"), OutcomeMissing("none"), CapacityError("none")])
def test_other_ends_are_final(error: SmexecError) -> None:
    trail = Trail.begin(Settings())
    assert trail.after(trail.left[0], error) is None
    assert trail.verdict(trail.left[0], error) is error


def test_the_last_error_tells_of_all_machines() -> None:
    trail = Trail((FIRST, SECOND), repeats=1).after(FIRST, QuotaExceeded("0 Instances"))
    assert trail is not None
    last = CapacityError("none there")
    last.locate("job-2", "CapacityError: none there")
    last.__cause__ = ValueError("the cause")
    verdict = trail.verdict(SECOND, last)
    assert type(verdict) is CapacityError
    assert verdict.job_name == "job-2"
    assert verdict.__cause__ is last.__cause__
    lines = [f"{FIRST.instance_type}: 0 Instances", f"{SECOND.instance_type}: none there"]
    assert verdict.args == ("\n  ".join(["none of the instance types can be had:", *lines]),)
