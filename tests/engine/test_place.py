"""Where jobs are started."""

from __future__ import annotations

import pytest

from smexec import SageMakerExecutor


def test_the_local_service_is_another_account_than_the_settings_speak_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SMEXEC_ROLE", "arn:aws:iam::999999999999:role/of-a-real-account")
    with SageMakerExecutor(instance_type="local", s3_root_uri="s3://of-a-real-account/x") as executor:
        assert executor.submit(pow, 2, 3).result(100) == 8
