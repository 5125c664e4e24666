"""Where jobs are started."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path

import pytest

from smexec import SageMakerExecutor, errors
from smexec.engine import place
from smexec.local import lease
from smexec.testing import local_service


def test_the_local_service_is_another_account_than_the_settings_speak_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SMEXEC_ROLE", "arn:aws:iam::999999999999:role/of-a-real-account")
    with SageMakerExecutor(instance_type="local", s3_root_uri="s3://of-a-real-account/x") as executor:
        assert executor.submit(pow, 2, 3).result(100) == 8


def test_what_the_local_service_needs_is_asked_for_by_the_line_that_asks_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lease, "NEEDS", (*lease.NEEDS, "no_such_module"))
    missing = r"local service needs no_such_module: pip install 'smexec\[local\]'"
    with pytest.raises(errors.SettingsError, match=missing):
        SageMakerExecutor(instance_type="local")
    with pytest.raises(lease.ServiceUnavailable, match=missing), local_service():
        pass


def test_a_place_that_cannot_be_had_is_the_calls_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(lease, "_runtime_directory", lambda: tmp_path / "file")
    with SageMakerExecutor(instance_type="local") as executor:
        error = executor.submit(abs, -1).exception(60)
        assert isinstance(error, errors.ServiceUnavailable)
        assert f"{tmp_path}/file" in str(error)
        with pytest.raises(RuntimeError, match=r"cannot schedule new futures after .*no place"):
            executor.submit(abs, -2)


@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_calls_end_with_the_local_service(gate: Path, how: str) -> None:
    with SageMakerExecutor(instance_type="local") as executor:
        future = executor.submit(gate.read_text)
        with gate.open("w"):  # the call has begun
            service = lease.running(lease.Place())
            assert service is not None
            if how == "killed":
                os.kill(service["pid"], signal.SIGKILL)
            else:
                lease.control(service["endpoint_url"], "POST", "shutdown")
            with pytest.raises(errors.ServiceUnavailable, match="the local service has ended"):
                future.result(100)
        with pytest.raises(RuntimeError, match="the local service has ended"):
            executor.submit(abs, -1)
    with SageMakerExecutor(instance_type="local") as another:
        assert another.submit(abs, -1).result(100) == 1


def test_who_holds_the_local_service_holds_the_same_until_the_last_lets_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lease, "LEASE_GRACE", 0.0)
    first = place.hold(True)
    second = place.hold(True)
    assert first is second is not None
    service = lease.running(lease.Place())
    assert service is not None
    with os.fdopen(os.pidfd_open(service["pid"])) as process:
        del first
        assert lease.running(lease.Place()) == service
        del second
        assert select.select([process], [], [], 60)[0]


def test_aws_need_not_be_held() -> None:
    assert place.hold(False) is None
