"""``instance_count``: the calls of a job on several instances, over the real wire."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from smexec import SageMakerExecutor, errors
from smexec.testing import LocalService

pytestmark = pytest.mark.usefixtures("unhurried")  # what is submitted together is one job


def host() -> str:
    """Which of the job's hosts this is."""
    folder = Path(os.environ.get("SMEXEC_OPT_ML", "/opt/ml"))
    current: str = json.loads((folder / "input/config/resourceconfig.json").read_text())["current_host"]
    return current


def where(_: Any) -> str:
    return host()


def test_instances_divide_the_calls(smexec_service: LocalService) -> None:
    with SageMakerExecutor(max_workers=1, instance_count=3) as executor:
        assert list(executor.map(where, range(7))) == [f"algo-{1 + call % 3}" for call in range(7)]


def fail_on_two(seconds: float) -> str:
    if host() == "algo-2":
        raise ValueError("on the second")
    time.sleep(seconds)
    return host()


def test_a_call_that_raises_costs_other_instances_nothing(smexec_service: LocalService) -> None:
    with SageMakerExecutor(max_workers=1, instance_count=2) as executor:
        futures = list(executor.map(fail_on_two, [1.0] * 4, return_exceptions=True))
        (job,) = jobs(smexec_service, executor)
    assert [str(one) for one in futures] == ["algo-1", "on the second"] * 2
    summary = smexec_service.wait(job)
    assert summary["TrainingJobStatus"] == "Failed"


def jobs(service: LocalService, executor: SageMakerExecutor) -> list[str]:
    listed = service.client("sagemaker").list_training_jobs(NameContains=executor.run_id)
    return [job["TrainingJobName"] for job in listed["TrainingJobSummaries"]]


def test_a_call_that_takes_too_long_costs_other_instances_nothing(smexec_service: LocalService) -> None:
    with SageMakerExecutor(max_workers=1, instance_count=2, timeout_per_call=10) as executor:
        ended = list(executor.map(hang_on_two, range(4), return_exceptions=True))
    assert ended[::2] == ["algo-1"] * 2
    assert all(isinstance(one, errors.CallTimedOut) for one in ended[1::2])


def hang_on_two(_: int) -> str:
    if host() == "algo-2":
        time.sleep(600)
    return host()


@pytest.mark.parametrize("compressed", [True, False])
def test_under_isolation_the_outcomes_of_all_instances_come(
    smexec_service: LocalService, compressed: bool
) -> None:
    settings: dict[str, Any] = {
        "enable_network_isolation": True,
        "disable_output_compression": not compressed,
    }
    with SageMakerExecutor(max_workers=1, instance_count=3, **settings) as executor:
        ended = list(executor.map(fail_on_two, [0.0, 0.0, 1.0] * 2, return_exceptions=True))
    assert [str(one) for one in ended] == ["algo-1", "on the second", "algo-3"] * 2


def test_cancelling_all_stops_all(smexec_service: LocalService) -> None:
    smexec_service.configure(delays={"Downloading": 30.0})
    with SageMakerExecutor(max_workers=1, instance_count=2, calls_per_job=4) as executor:
        futures = [executor.submit(abs, number) for number in range(4)]
        while not jobs(smexec_service, executor):
            time.sleep(0.01)
        assert [future.cancel() for future in futures] == [True] * 4
    assert smexec_service.wait(str(futures[0].job_name))["TrainingJobStatus"] == "Stopped"


def done_or_waiting(number: int) -> int:
    if number:
        time.sleep(600)
    return number


def test_a_stop_reaches_all_and_loses_no_outcome(smexec_service: LocalService) -> None:
    with SageMakerExecutor(max_workers=1, instance_count=2, calls_per_job=4, slots=4) as executor:
        futures = [executor.submit(done_or_waiting, number) for number in (0, 0, 1, 1)]
        assert [future.result(60) for future in futures[:2]] == [0, 0]
        for future in futures[2:]:
            while not future.running():
                time.sleep(0.01)
            future.stop()
        assert {type(future.exception(60)) for future in futures[2:]} == {errors.JobStopped}
    assert smexec_service.wait(str(futures[0].job_name))["TrainingJobStatus"] == "Stopped"


def test_killed_hosts_cost_what_has_no_outcome_and_only_that(smexec_service: LocalService) -> None:
    with SageMakerExecutor(max_workers=1, instance_count=2, calls_per_job=4, slots=4) as executor:
        futures = [executor.submit(done_or_waiting, number) for number in (0, 0, 1, 1)]
        assert [future.result(60) for future in futures[:2]] == [0, 0]
        smexec_service.kill(str(futures[0].job_name))
        assert {type(future.exception(60)) for future in futures[2:]} == {errors.CallKilled}


def test_an_instance_that_dies_ends_the_job_and_costs_only_what_has_no_outcome(
    smexec_service: LocalService, gate: Path
) -> None:
    with SageMakerExecutor(max_workers=1, instance_count=2, calls_per_job=4, slots=4) as executor:
        futures = [executor.submit(die_or_wait, number, gate) for number in range(4)]
        assert futures[0].result(60) == 0
        gate.write_text("")
        assert all(isinstance(future.exception(60), errors.SmexecError) for future in futures[1:])


def die_or_wait(number: int, gate: Path) -> int:
    """On the second host: end its worker, which is the parent of the nursery, the parent of this process."""
    if number == 0:
        return 0
    if host() == "algo-2":
        gate.read_text()
        nursery = Path(f"/proc/{os.getppid()}/stat").read_text()
        os.kill(int(nursery.rpartition(")")[2].split()[1]), signal.SIGKILL)
    time.sleep(600)
    return number
