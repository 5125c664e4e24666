"""How machines that we do not have would be divided."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smexec.worker import plan

counts = st.integers(1, 300)
some = st.integers(0, 16)


@pytest.mark.parametrize(
    ("calls", "slots", "cpus", "expected", "threads"),
    [
        pytest.param(1000, None, 16, 16, "1", id="one for each CPU"),
        pytest.param(1000, 4, 16, 4, "4", id="as told; libraries share the rest"),
        pytest.param(1000, 6, 16, 6, "2", id="rounded down, not to oversubscribe"),
        pytest.param(1000, 32, 16, 32, "1", id="more than CPUs, as told"),
        pytest.param(3, None, 16, 3, "5", id="no more than calls"),
        pytest.param(1, None, 96, 1, "96", id="a single call has the machine"),
    ],
)
def test_slots_and_threads(calls: int, slots: int | None, cpus: int, expected: int, threads: str) -> None:
    made = plan.make(calls, slots, 0, cpus, 0)
    assert made.slots == expected
    assert {made.common[name] for name in plan._THREADS} == {threads}
    assert made.of(0) == {}
    assert made.preload


def test_joblib_in_a_call_uses_what_its_libraries_may() -> None:
    assert plan.make(1000, 4, 0, 16, 0).common["LOKY_MAX_CPU_COUNT"] == "4"


@pytest.mark.parametrize(
    ("slots", "each", "gpus", "expected"),
    [
        pytest.param(None, 1, 4, ["0", "1", "2", "3"], id="one each"),
        pytest.param(None, 2, 8, ["0,1", "2,3", "4,5", "6,7"], id="two each"),
        pytest.param(None, 3, 8, ["0,1,2", "3,4,5"], id="what is left over is used by nobody"),
        pytest.param(2, 1, 4, ["0", "1"], id="fewer slots, as told"),
        pytest.param(16, 1, 4, ["0", "1", "2", "3"], id="no more than there are GPUs for"),
        pytest.param(None, 2, 1, ["0,1"], id="too few: one call at a time"),
        pytest.param(4, 1, 0, ["0"], id="none"),
    ],
)
def test_gpus(slots: int | None, each: int, gpus: int, expected: list[str]) -> None:
    made = plan.make(1000, slots, each, 96, gpus)
    assert [made.of(slot) for slot in range(made.slots)] == [
        {"CUDA_VISIBLE_DEVICES": devices} for devices in expected
    ]
    assert not made.preload  # modules look at the GPUs when they are imported


def test_without_gpus_per_call_all_see_all() -> None:
    made = plan.make(1000, None, 0, 8, 4)
    assert made.of(0) == {}
    assert made.common["PYTORCH_NVML_BASED_CUDA_CHECK"] == "1"


@given(counts, st.none() | counts, some, counts, some)
def test_laws(calls: int, slots: int | None, each: int, cpus: int, gpus: int) -> None:
    made = plan.make(calls, slots, each, cpus, gpus)
    assert 1 <= made.slots <= calls
    assert made.slots <= (slots or max(cpus, gpus))
    threads = int(made.common["OMP_NUM_THREADS"])
    assert threads >= 1
    assert threads == 1 or threads * made.slots <= cpus
    devices = [made.of(slot).get("CUDA_VISIBLE_DEVICES", "").split(",") for slot in range(made.slots)]
    given_out = [device for share in devices for device in share if device]
    assert len(given_out) == len(set(given_out)) == made.slots * each
    assert all(int(device) < max(gpus, each) for device in given_out)


def test_this_machine() -> None:
    made = plan.make(10**6, None, 0)
    assert made.slots == plan._cpus() >= 1
