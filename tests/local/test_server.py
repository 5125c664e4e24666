"""The service as a whole: its beginning and its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from smexec.local import server
from smexec.local.config import ServiceConfig


def children(pid: int) -> dict[int, str]:
    """Pid and command line of the processes that any thread of a process has started."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended
            for child in (task / "children").read_text().split():
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                    found[int(child)] = Path(f"/proc/{child}/cmdline").read_text()
    return found


def wait_for_the_end_of(pids: Iterable[int]) -> None:
    """Wait, without asking again and again, until processes that are not ours have ended."""
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            assert select.select([descriptor], [], [], 60)[0], f"{pid} is still there"
        finally:
            os.close(descriptor)


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def start_job(service: Any, directory: Path, then: str = "sleep 60 & wait") -> None:
    """Returns once the job's command runs."""
    fifo = directory / "started"
    os.mkfifo(fifo)
    script = f"trap 'exit 0' TERM; echo > {fifo}; {then}"
    service.client("sagemaker").create_training_job(**service.job("sh", "-c", script))
    fifo.read_bytes()
    fifo.unlink()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_service_with_all_that_it_started(
    start_service: Any, scratch: Path, number: signal.Signals
) -> None:
    with start_service() as service:
        start_job(service, scratch)
        started = children(service.process.pid)
        assert len(started) >= 2  # moto and the job
        assert list(scratch.iterdir())
        service.process.send_signal(number)
        assert service.process.wait(60) == 0
        assert service.end() == ""
    wait_for_the_end_of(started)
    assert list(scratch.iterdir()) == []


def test_a_killed_service_leaves_nothing_either(start_service: Any, scratch: Path) -> None:
    with start_service() as service:
        start_job(service, scratch)
        started = children(service.process.pid)
        service.process.kill()
        service.process.wait(60)
    wait_for_the_end_of(started)
    assert list(scratch.iterdir()) == []


def test_nor_does_it_of_a_job_that_writes_until_it_is_killed(start_service: Any, scratch: Path) -> None:
    with start_service() as service:
        write = "while :; do true > $TMPDIR/$i; done 2> /dev/null"
        start_job(service, scratch, f"for i in 1 2 3 4; do {write} & done; wait")
        started = children(service.process.pid)
        processes = started | {pid: text for child in started for pid, text in children(child).items()}
        shims = [pid for pid, text in processes.items() if "shim.py" in text]
        (given,) = scratch.glob("**/resourceconfig.json")
        try:
            for pid in shims:  # which are to kill the job
                os.kill(pid, signal.SIGSTOP)
            service.process.kill()
            service.process.wait(60)
            while given.exists():
                time.sleep(0.01)
        finally:
            for pid in shims:
                os.kill(pid, signal.SIGCONT)
    wait_for_the_end_of(started)
    assert list(scratch.iterdir()) == []


def test_a_service_whose_moto_has_died_ends_and_says_why(start_service: Any) -> None:
    with start_service() as service:
        (moto,) = [pid for pid, command in children(service.process.pid).items() if "moto_server" in command]
        os.kill(moto, signal.SIGKILL)
        service.process.wait(60)
        assert "the moto server has died" in service.end()


def test_the_first_lease_is_not_waited_for_before_it_can_be_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_FIRST_LEASE_SECONDS", 0.0)

    async def begin() -> bool:
        async with server.running_service(ServiceConfig(lease_grace=0.0)) as service:
            return service.end.is_set()

    assert not asyncio.run(begin())


def test_a_port_that_is_taken_is_an_error(aws: Any, start_service: Any) -> None:
    port = aws.info["endpoint_url"].rpartition(":")[2]
    with pytest.raises(RuntimeError, match="Address already in use"):
        start_service(f"--port={port}")


def test_a_setting_that_cannot_be_is_an_error(start_service: Any) -> None:
    with pytest.raises(RuntimeError, match="rates takes numbers"):
        start_service("--rates=CreateTrainingJob=nan")


def test_another_region_and_account(start_service: Any) -> None:
    with start_service("--region=cn-north-1", "--account=210987654321") as service:
        assert service.info["bucket"] == "sagemaker-cn-north-1-210987654321"
        assert service.client("sts").get_caller_identity()["Account"] == "210987654321"
        arn = service.client("sagemaker").create_training_job(**service.job("true"))["TrainingJobArn"]
        assert arn.startswith("arn:aws-cn:sagemaker:cn-north-1:210987654321:training-job/job-")
        assert service.info["role"].startswith("arn:aws-cn:iam::")
