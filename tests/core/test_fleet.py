from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smexec.core.fleet import Fleet, vcpus

fleets = st.builds(Fleet, st.integers(1, 100), st.integers(1, 200), st.booleans())


@pytest.mark.parametrize(
    ("instance_type", "expected"),
    [
        ("ml.t3.medium", 2),
        ("ml.m5.large", 2),
        ("ml.m5.xlarge", 4),
        ("ml.c5.9xlarge", 36),
        ("ml.m5.24xlarge", 96),
        ("ml.g4dn.xlarge", 4),
        ("ml.p4d.24xlarge", 96),
        ("ml.trn1.32xlarge", 128),
    ],
)
def test_the_size_of_a_machine_tells_its_vcpus(instance_type: str, expected: int) -> None:
    assert vcpus(instance_type) == expected


@pytest.mark.parametrize(
    ("n_jobs", "grows", "expected"),
    [
        pytest.param(-1, False, 64, id="all there is"),
        pytest.param(None, False, 64, id="not said: the same"),
        pytest.param(-2, False, 63, id="all but one"),
        pytest.param(-1000, False, 1, id="never none"),
        pytest.param(5, False, 5, id="as many"),
        pytest.param(1000, False, 64, id="no more than there is"),
        pytest.param(1000, True, 1000, id="more jobs"),
    ],
)
def test_n_jobs_are_calls_at_a_time(n_jobs: int | None, grows: bool, expected: int) -> None:
    assert Fleet(jobs=4, slots=16, grows=grows).at_a_time(n_jobs) == expected


def test_no_calls_at_all_are_refused() -> None:
    with pytest.raises(ValueError, match="n_jobs == 0"):
        Fleet(4, 16).at_a_time(0)


@given(fleets, st.integers(1, 10_000))
def test_a_part_suffices_and_has_no_job_too_many(fleet: Fleet, n_jobs: int) -> None:
    calls = fleet.at_a_time(n_jobs)
    part = fleet.part(calls)
    assert part.width >= calls
    assert part.slots <= fleet.slots
    assert (part.jobs - 1) * fleet.slots < calls
    assert fleet.grows or part.jobs <= fleet.jobs


@given(fleets)
def test_all_there_is_is_the_fleet(fleet: Fleet) -> None:
    part = fleet.part(fleet.at_a_time(-1))
    assert (part.jobs, part.slots) == (fleet.jobs, fleet.slots)
