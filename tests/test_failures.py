"""Every way that a call can fail reaches its own future as itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from smexec import Future, SageMakerExecutor, errors
from smexec.testing import LocalService, local_service


@pytest.fixture(scope="module")
def executor(smexec_session: LocalService) -> Iterator[SageMakerExecutor]:
    with smexec_session.environ(), SageMakerExecutor(max_workers=4) as executor:
        yield executor


class Overdrawn(Exception):
    def __init__(self, missing: int) -> None:
        super().__init__(f"{missing} missing")
        self.missing = missing

    def __reduce__(self) -> Any:
        return type(self), (self.missing,)


class Awkward(Exception):
    """Pickles, but does not unpickle: its constructor wants more than its args."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__("awkward")


def fail_with(error: BaseException) -> None:
    raise error


def count_down() -> Iterator[int]:
    yield 1


def kill_myself(number: int, gate: Path | None = None) -> None:
    print("about to end", flush=True)
    if gate:
        gate.read_text()
    os.kill(os.getpid(), number)


def test_the_users_exception_comes_as_itself_with_the_remote_traceback(executor: SageMakerExecutor) -> None:
    def withdraw(amount: int) -> None:
        raise Overdrawn(amount)

    future = executor.submit(withdraw, 3)
    error = future.exception(60)
    assert type(error) is Overdrawn
    assert error.missing == 3
    assert isinstance(error.__cause__, errors.RemoteTraceback)
    assert "raise Overdrawn(amount)" in str(error.__cause__)  # the source line, which only we have
    assert error.__cause__.job_name == future.job_name
    assert future.status == "failed"


def test_a_call_that_raises_marks_its_job_failed(
    executor: SageMakerExecutor, smexec_service: LocalService
) -> None:
    future = executor.submit(fail_with, ValueError("bad input"))
    assert isinstance(future.exception(60), ValueError)
    description = _ended(smexec_service, future)
    assert description["TrainingJobStatus"] == "Failed"
    assert "ValueError: bad input" in description["FailureReason"]


@pytest.mark.parametrize(
    ("function", "args", "kind", "text"),
    [
        (sys.exit, (3,), errors.CallExited, r"sys.exit\(3\)"),
        (sys.exit, (0,), errors.CallExited, r"sys.exit\(0\)"),
        (sys.exit, ("no data",), errors.CallExited, r"sys.exit\('no data'\)"),
        (fail_with, (KeyboardInterrupt(),), errors.CallInterrupted, "KeyboardInterrupt"),
        (os._exit, (7,), errors.CallDied, "exit code 7"),
        (os._exit, (0,), errors.CallDied, "exit code 0"),
        (kill_myself, (signal.SIGKILL,), errors.CallKilled, "SIGKILL"),
        (kill_myself, (signal.SIGSEGV,), errors.CallKilled, "SIGSEGV"),
        (count_down, (), errors.ResultNotPicklable, "generator"),
        (Awkward, (1, 2), errors.ResultNotReadable, "unpickled here"),
        (fail_with, (Awkward(1, 2),), errors.ExceptionNotPicklable, "Awkward: awkward"),
    ],
)
def test_other_ends_have_their_own_exceptions(
    executor: SageMakerExecutor,
    smexec_service: LocalService,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kind: type[errors.SmexecError],
    text: str,
) -> None:
    if function is fail_with and isinstance(args[0], Awkward):
        # The exception itself would not survive the way there either.
        function, args = _raise_awkward, ()
    future = executor.submit(function, *args)
    error = future.exception(60)
    assert type(error) is kind
    assert error.job_name == future.job_name
    with pytest.raises(kind, match=text):
        future.result()
    if kind is not errors.ResultNotReadable:  # which only this end can know
        assert _ended(smexec_service, future)["TrainingJobStatus"] == "Failed"


def _raise_awkward() -> None:
    raise Awkward(1, 2)


def test_a_death_shows_the_last_lines_of_the_log(executor: SageMakerExecutor, gate: Path) -> None:
    future = executor.submit(kill_myself, signal.SIGKILL, gate)
    while not future.logs():
        time.sleep(0.05)
    gate.write_text("")
    error = future.exception(60)
    assert isinstance(error, errors.CallKilled)
    assert "about to end" in error.log_tail
    assert "about to end" in str(error)


def test_the_log_is_asked_for_once_for_many_deaths(smexec_service: LocalService) -> None:
    """It was asked for once for each of them, one after the other, and waited for as it was empty."""
    with SageMakerExecutor(max_workers=1) as executor:
        smexec_service.reset_requests()
        ends = list(executor.map(sys.exit, range(60), return_exceptions=True))
        assert {type(end) for end in ends} == {errors.CallExited}
        s3 = smexec_service.client("s3")
        prefix = f"smexec/runs/{executor.run_id}/events/"
        written = s3.list_objects_v2(Bucket=smexec_service.bucket, Prefix=prefix)["KeyCount"]
    assert smexec_service.requests()["logs.GetLogEvents"] <= written + 2


def test_what_needs_no_log_does_not_wait_for_it(smexec_service: LocalService, tmp_path: Path) -> None:
    smexec_service.fault("DescribeLogStreams", "delay", seconds=600, times=None)
    smexec_service.fault(
        "PutObject", "delay", seconds=1, match="/events/"
    )  # what follows comes in one object
    with SageMakerExecutor(calls_per_job=3, slots=1) as executor:
        death = executor.submit(sys.exit, 1)
        others = [executor.submit(abs, -1), executor.submit(abs, -2)]
        assert [other.result(60) for other in others] == [1, 2]
        assert not death.done()
        smexec_service.clear_faults()


def test_an_exception_that_cannot_be_pickled_still_tells_what_it_was(executor: SageMakerExecutor) -> None:
    def fail() -> None:
        error = RuntimeError("with a lock")
        error.lock = __import__("threading").Lock()  # type: ignore[attr-defined]
        raise error

    error = executor.submit(fail).exception(60)
    assert type(error) is errors.ExceptionNotPicklable
    assert "RuntimeError: with a lock" in str(error)
    assert "raise error" in str(error.__cause__)


def test_a_result_that_cannot_be_loaded_here_is_no_success(executor: SageMakerExecutor) -> None:
    class Grenade:
        def __reduce__(self) -> Any:
            return (fail_with, (ValueError("boom"),))

    error = executor.submit(Grenade).exception(60)
    assert type(error) is errors.ResultNotReadable
    assert "ValueError: boom" in str(error)


def test_a_missing_module_is_named(executor: SageMakerExecutor, tmp_path: Path) -> None:
    # Installed here, as far as anybody can tell, and not in the container.
    package = tmp_path / "site-packages"
    package.mkdir()
    (package / "only_here.py").write_text("def work():\n    return 1\n")
    sys.path.insert(0, str(package))
    try:
        import only_here  # type: ignore[import-not-found]

        error = executor.submit(only_here.work).exception(60)
    finally:
        sys.path.remove(str(package))
    assert type(error) is errors.MissingModule
    assert error.name == "only_here"
    assert isinstance(error, ImportError)
    assert "image_uri" in str(error)


def test_running_out_of_memory_is_told_from_being_killed(tmp_path: Path) -> None:
    group = Path("/sys/fs/cgroup/memory") / f"smexec-{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(600 << 20))
    except OSError:
        pytest.skip("memory cgroups are not ours to make here")
    program = (
        "import os, sys; open(sys.argv[1], 'w').write(str(os.getpid()))\n"
        "from smexec import SageMakerExecutor\n"
        "from smexec.testing import local_service\n"
        "def eat():\n"
        "    eaten = []\n"
        "    while True: eaten.append(bytearray(1 << 24))\n"
        "with local_service() as service, service.environ(), SageMakerExecutor() as executor:\n"
        "    print(type(executor.submit(eat).exception(60)).__name__, flush=True)\n"
        "    print(executor.submit(pow, 2, 3).result(60))\n"
    )
    try:
        done = subprocess.run(
            [sys.executable, "-c", program, str(group / "cgroup.procs")],
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.stdout.split() == ["OutOfMemory", "8"], done.stderr
    finally:
        while True:
            try:
                group.rmdir()
                break
            except OSError:  # the kernel lets go of the last process a moment after it ended
                time.sleep(0.05)


def test_a_python_mismatch_names_both(tmp_path: Path) -> None:
    other = _another_python()
    (tmp_path / "python").symlink_to(other)
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{tmp_path}{os.pathsep}{before}"
    try:
        with local_service() as service, service.environ(), SageMakerExecutor() as executor:
            error = executor.submit(pow, 2, 3).exception(60)
    finally:
        os.environ["PATH"] = before
    assert type(error) is errors.PythonMismatch
    assert "{}.{}".format(*sys.version_info[:2]) in str(error)
    assert "image_uri" in str(error)


def test_max_runtime(smexec_service: LocalService) -> None:
    with SageMakerExecutor(max_runtime_in_seconds=1) as executor:
        error = executor.submit(time.sleep, 30).exception(60)
    assert type(error) is errors.MaxRuntimeExceeded
    assert isinstance(error, TimeoutError)
    assert error.secondary_status == "MaxRuntimeExceeded"


def test_a_job_stopped_by_somebody_else(executor: SageMakerExecutor, smexec_service: LocalService) -> None:
    future = executor.submit(time.sleep, 60)
    while not future.running():
        time.sleep(0.01)
    smexec_service.client("sagemaker").stop_training_job(TrainingJobName=future.job_name)
    error = future.exception(60)
    assert type(error) is errors.JobStopped
    assert error.status == "Stopped"


def test_a_container_killed_from_outside(executor: SageMakerExecutor, smexec_service: LocalService) -> None:
    future = executor.submit(time.sleep, 60)
    while not future.running():
        time.sleep(0.01)
    smexec_service.kill(str(future.job_name))
    error = future.exception(60)
    assert type(error) is errors.CallKilled
    assert error.failure_reason is not None


def test_no_capacity(executor: SageMakerExecutor, smexec_service: LocalService) -> None:
    smexec_service.configure(capacity_errors={"ml.m5.large": 1})
    error = executor.submit(pow, 2, 3).exception(60)
    assert type(error) is errors.CapacityError
    assert error.failure_reason is not None
    assert "CapacityError: Unable to provision requested ML compute capacity" in error.failure_reason


def test_no_quota_at_all(smexec_service: LocalService) -> None:
    smexec_service.configure(quotas={"ml.m5.xlarge": 0})
    with SageMakerExecutor(instance_type="ml.m5.xlarge") as executor:
        error = executor.submit(pow, 2, 3).exception(60)
    assert type(error) is errors.QuotaExceeded
    assert error.code == "ResourceLimitExceeded"


def test_a_quota_in_use_is_waited_for(smexec_service: LocalService) -> None:
    smexec_service.configure(quotas={"ml.m5.2xlarge": 1})
    with SageMakerExecutor(instance_type="ml.m5.2xlarge") as executor:
        assert list(executor.map(abs, [-1, -2])) == [1, 2]


@pytest.mark.parametrize(
    ("settings", "kind", "text"),
    [
        ({"s3_root_uri": "s3://no-such-bucket-here/x"}, errors.BucketNotFound, "bucket does not exist"),
        ({"role": "arn:aws:iam::123456789012:role/nobody"}, errors.RoleError, "Could not assume role"),
    ],
)
def test_what_is_not_there(
    smexec_service: LocalService, settings: dict[str, Any], kind: type[errors.SmexecError], text: str
) -> None:
    with SageMakerExecutor(**settings) as executor, pytest.raises(kind, match=text) as caught:
        executor.submit(pow, 2, 3).result(60)
    assert isinstance(caught.value, errors.ServiceError)
    assert caught.value.code


def test_an_instance_type_that_does_not_exist(smexec_service: LocalService) -> None:
    with SageMakerExecutor(instance_type="ml.m5.16xlarge") as executor:
        error = executor.submit(pow, 2, 3).exception(60)
    assert type(error) is errors.InvalidRequest
    assert "ml.m5.12xlarge" in str(error)  # which is near
    assert len(str(error)) < 500


@pytest.mark.parametrize(
    ("operation", "fault", "kind"),
    [
        ("CreateTrainingJob", "denied", errors.AccessDenied),
        ("CreateTrainingJob", "expired", errors.CredentialsError),
        ("PutObject", "denied", errors.AccessDenied),
        ("PutObject", "expired", errors.CredentialsError),
    ],
)
def test_what_aws_refuses(
    smexec_service: LocalService, operation: str, fault: str, kind: type[errors.ServiceError]
) -> None:
    smexec_service.fault(operation, fault)
    with SageMakerExecutor() as executor:
        error = executor.submit(pow, 2, 3).exception(60)
        assert type(error) is kind
        assert error.operation == operation
        assert executor.submit(pow, 2, 3).result(60) == 8  # the next one fares better


def test_no_credentials_at_all(smexec_service: LocalService, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with SageMakerExecutor() as executor, pytest.raises(errors.CredentialsError, match="Log in"):
        executor.submit(pow, 2, 3).result(60)


def test_a_forged_outcome_is_never_unpickled(
    smexec_service: LocalService, tmp_path: Path, executor: SageMakerExecutor
) -> None:
    import pickle

    from smexec.worker import protocol

    class Attack:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "owned",))

    future = executor.submit(time.sleep, 60)
    while not future.running():
        time.sleep(0.01)
    events = [{"call": 0, "outcome": {"outcome": "value"}, "sections": 1}]
    body = protocol.encode_body({"events": events}, [pickle.dumps(Attack())])
    purpose = protocol.events_purpose(str(future.job_name), 7)
    envelope = b"".join(protocol.seal(b"another key", purpose, body))
    s3 = smexec_service.client("s3")
    prefix = f"smexec/runs/{executor.run_id}/events/"
    event = protocol.Event(int(time.time() * 1000), str(future.job_name), 7)
    s3.put_object(Bucket=smexec_service.bucket, Key=prefix + event.name, Body=envelope)
    error = future.exception(60)
    assert type(error) is errors.SignatureError
    assert not (tmp_path / "owned").exists()


def test_a_worker_that_was_changed_in_the_bucket_is_not_run(smexec_service: LocalService) -> None:
    from smexec.capture.layers import worker_layer
    from smexec.worker.protocol import WORKER_FILE

    root = f"s3://{smexec_service.bucket}/changed"
    digest = worker_layer(WORKER_FILE).sha256
    smexec_service.client("s3").put_object(
        Bucket=smexec_service.bucket, Key=f"changed/layers/{digest}/{WORKER_FILE}", Body=b"print('owned')"
    )
    with SageMakerExecutor(s3_root_uri=root) as executor:
        error = executor.submit(pow, 2, 3).exception(60)
    assert type(error) is errors.JobFailed
    assert "the worker was changed" in str(error)
    assert "owned" not in error.log_tail


def _ended(service: LocalService, future: Future[Any]) -> dict[str, Any]:
    assert future.job_name is not None
    service.wait(future.job_name)
    description: dict[str, Any] = service.client("sagemaker").describe_training_job(
        TrainingJobName=future.job_name
    )
    return description


def _another_python() -> Path:
    """An interpreter of another version that the worker can start on."""
    import shutil

    for minor in (8, 9, 10, 11, 12, 13, 14):
        if minor == sys.version_info.minor:
            continue
        folders = sorted(Path("~/.pyenv/versions").expanduser().glob(f"3.{minor}.*/bin/python"))
        found = shutil.which(f"python3.{minor}")
        for candidate in [*folders, *([Path(found)] if found else [])]:
            if subprocess.run([candidate, "-c", ""], check=False, capture_output=True).returncode == 0:
                return candidate
    pytest.skip("there is no other Python on this machine")
