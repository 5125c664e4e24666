"""What watching costs, counted: it depends on what is in flight and new, never on what is finished."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest

from smexec import SageMakerExecutor
from smexec.testing import LocalService

LISTS = {"s3.ListObjectsV2", "sagemaker.ListTrainingJobs"}


@pytest.mark.parametrize(("calls", "jobs"), [(1, 1), (60, 1), (60, 3)])
def test_a_quiet_tick_costs_the_same_whatever_is_in_flight(
    smexec_service: LocalService, tmp_path: Path, calls: int, jobs: int
) -> None:
    def wait_for_end(number: int) -> int:
        (tmp_path / f"begun-{number}").touch()
        while not (tmp_path / "end").exists():
            time.sleep(0.05)
        return number

    with SageMakerExecutor(max_workers=jobs, slots=1) as executor:
        results = executor.map(wait_for_end, range(calls))
        _until_begun(tmp_path, jobs)
        quiet = _quiet_requests(smexec_service, ticks=4)
        (tmp_path / "end").touch()
        assert list(results) == list(range(calls))
    assert quiet.keys() <= LISTS
    assert quiet["sagemaker.ListTrainingJobs"] <= 4


def _until_begun(folder: Path, jobs: int) -> None:
    deadline = time.monotonic() + 60
    while len(list(folder.glob("begun-*"))) < jobs:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _quiet_requests(service: LocalService, ticks: int) -> Counter[str]:
    """What is asked in that many ticks of one list each, once the news of the starts have been read."""
    while True:
        service.reset_requests()
        service.wait_for_requests(**{"s3.ListObjectsV2": ticks})
        counts = service.requests()
        # Others may have begun until the counts were read, if this thread had to wait.
        if counts["s3.ListObjectsV2"] == ticks and "s3.GetObject" not in counts:
            return counts


def test_a_whole_run_costs_a_little_for_each_job_and_next_to_nothing_for_each_call(
    smexec_service: LocalService,
) -> None:
    jobs, calls = 4, 8_000
    smexec_service.reset_requests()
    began = time.monotonic()
    with SageMakerExecutor(max_workers=jobs) as executor:
        assert sum(executor.map(abs, range(calls))) == sum(range(calls))
    seconds = time.monotonic() - began
    counts = smexec_service.requests()
    assert counts["sagemaker.CreateTrainingJob"] == jobs
    assert counts["sagemaker.DescribeTrainingJob"] == 0
    # While it lasts, which on a machine with other work it does: a list, and of each job an object a second.
    assert sum(counts.values()) <= 20 * jobs + calls / 100 + (2 * jobs + 4) * seconds


def test_what_is_finished_is_not_asked_about(smexec_service: LocalService) -> None:
    """However many jobs there were before: what each has written is read once."""
    with SageMakerExecutor(max_workers=1) as executor:
        for _ in range(3):
            assert list(executor.map(abs, range(200))) == list(range(200))
    prefix = f"smexec/runs/{executor.run_id}/events/"
    listed = smexec_service.client("s3").list_objects_v2(Bucket=smexec_service.bucket, Prefix=prefix)
    assert smexec_service.requests()["s3.GetObject"] == listed["KeyCount"]
