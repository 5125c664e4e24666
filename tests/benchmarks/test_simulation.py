from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.setting import Setting
from benchmarks.simulation import PAGE, Flown, Scenario, fly, simulation

scenarios = st.builds(
    Scenario,
    calls=st.integers(1, 300),
    jobs=st.integers(1, 12),
    slots=st.integers(1, 8),
    seconds=st.floats(0.01, 5.0),
    creates=st.none() | st.floats(0.5, 10.0),
    lists=st.none() | st.floats(0.5, 5.0),
    instances=st.none() | st.integers(1, 5),
    cold_start=st.floats(0.0, 30.0),
    patience=st.floats(0.1, 5.0),
)


@given(scenarios)
@settings(max_examples=60, deadline=None)
def test_every_call_has_one_result(scenario: Scenario) -> None:
    flown = fly(scenario)
    assert flown.landed == flown.batches
    assert flown.landed.total() == scenario.calls


@given(scenarios)
@settings(max_examples=60, deadline=None)
def test_the_account_s_limits_are_kept(scenario: Scenario) -> None:
    flown = fly(scenario)
    assert flown.most <= min(scenario.jobs, scenario.instances or scenario.jobs)
    if scenario.creates:
        burst = max(1.0, scenario.creates)
        assert len(flown.batches) <= scenario.creates * flown.created + burst + 1


@given(scenarios)
@settings(max_examples=60, deadline=None)
def test_nothing_ends_before_it_can_or_lands_before_it_ended(scenario: Scenario) -> None:
    flown = fly(scenario)
    work = scenario.calls * scenario.seconds / (scenario.slots * flown.most)
    assert flown.ended >= work + scenario.cold_start - 1e-6
    assert flown.drained >= flown.ended
    assert all(latency > 0 for latency in flown.latencies)


def test_a_scenario_has_one_outcome() -> None:
    assert fly(Scenario(500, 7)) == fly(Scenario(500, 7))


def test_an_object_is_read_once() -> None:
    flown = fly(Scenario(2_000, 8))
    assert flown.requests["GetObject"] == flown.written


@pytest.mark.parametrize("jobs", [4, 40])
def test_a_quiet_minute_costs_the_same_for_few_and_for_many(jobs: int) -> None:
    """Calls that take longer, with nothing else to see: so many more looks, whatever is in flight."""
    shorter, longer = (fly(Scenario(jobs, jobs, slots=1, seconds=s, creates=None)) for s in (300.0, 900.0))
    assert per_minute(shorter, longer, "ListObjectsV2", 600) <= 61
    assert per_minute(shorter, longer, "ListTrainingJobs", 600) <= 7


def per_minute(shorter: Flown, longer: Flown, api: str, seconds: float) -> float:
    return (longer.requests[api] - shorter.requests[api]) / (seconds / 60)


def test_statuses_are_asked_for_no_faster_than_the_account_allows() -> None:
    flown = fly(Scenario(6_000, 300, creates=None, slots=2, seconds=2.0))
    assert flown.requests["ListTrainingJobs"] <= 2.0 * flown.drained + 2


@pytest.mark.parametrize("rate", [1.0, 3.0])
def test_jobs_are_created_at_the_rate_that_is_free(rate: float) -> None:
    flown = fly(Scenario(1_000, 100, creates=rate))
    assert flown.created <= 100 / rate / 0.92 + 2


@given(st.integers(100, 2_000), st.integers(1, 20), st.floats(0.1, 5.0))
@settings(max_examples=30, deadline=None)
def test_requests_follow_jobs_objects_and_time_not_calls(calls: int, jobs: int, seconds: float) -> None:
    flown = fly(Scenario(calls, jobs, slots=4, seconds=seconds, creates=None))
    flushes = sum(math.ceil(count * seconds / 4) + 4 for count in flown.batches.values())
    assert flown.requests["GetObject"] <= flushes
    pages = flown.listed / PAGE
    assert flown.requests["ListObjectsV2"] <= pages + flown.drained / 0.05 + 2


def test_a_client_that_cannot_keep_up_shows() -> None:
    """With jobs that write more objects a second than it can read."""
    eager = Scenario(40_000, 800, slots=16, seconds=5.0, creates=None, cold_start=0.0)
    patient = Scenario(40_000, 800, slots=16, seconds=5.0, creates=None, cold_start=0.0, patience=10.0)
    late, prompt = fly(eager), fly(patient)
    assert late.busiest > 0.9
    assert late.drained - late.ended > 2 * (prompt.drained - prompt.ended)


def test_the_benchmark_tells_of_every_scenario() -> None:
    result = simulation(Setting(quick=True, environments=Path()))
    tables = [table.markdown() for table in result.tables]
    assert all("100 jobs at once" in text for text in tables)
    assert [len(curve.points) for curve in result.plots[0].curves] == [2] * 5
