"""Where jobs are started."""

from __future__ import annotations

import os
import select

import pytest

from smexec import SageMakerExecutor
from smexec.engine import place
from smexec.local import lease


def test_the_local_service_is_another_account_than_the_settings_speak_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SMEXEC_ROLE", "arn:aws:iam::999999999999:role/of-a-real-account")
    with SageMakerExecutor(instance_type="local", s3_root_uri="s3://of-a-real-account/x") as executor:
        assert executor.submit(pow, 2, 3).result(100) == 8


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
