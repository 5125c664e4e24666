from __future__ import annotations

import pytest
from typer.testing import CliRunner

from smexec.cli import app
from smexec.testing import LocalService


@pytest.fixture
def service(smexec_service: LocalService) -> LocalService:
    # moto has no quotas of SageMaker's, and takes its time to say so.
    smexec_service.fault("ListServiceQuotas", "denied", times=None)
    return smexec_service


def run(*arguments: str, **environment: str) -> tuple[int, str]:
    result = CliRunner(env={"COLUMNS": "200", **environment}).invoke(app, ["doctor", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_all_is_well(service: LocalService) -> None:
    code, output = run(**service.environment)
    assert code == 0, output
    assert "✗" not in output
    assert service.role in output


def test_something_is_missing(service: LocalService) -> None:
    code, output = run(
        "--s3-root-uri", "s3://no-such-bucket", "--instance-type", "ml.g5.xlarge", **service.environment
    )
    assert code == 1
    assert "✗" in output
    assert "aws s3 mb s3://no-such-bucket" in output
    assert "For jobs on ml.g5.xlarge" in output


def test_nothing_is_configured() -> None:
    code, output = run()
    assert code == 1
    assert "AWS_REGION" in output
    assert "Traceback" not in output


def test_no_credentials() -> None:
    code, output = run(AWS_REGION="eu-west-1")
    assert code == 1
    assert "✓ │ region" in output
    assert "✗ │ credentials" in output
    assert "aws configure" in output
    assert "Traceback" not in output


def test_a_profile_that_does_not_exist() -> None:
    code, output = run(AWS_PROFILE="nobody")
    assert code == 1
    assert "nobody" in output
    assert "Traceback" not in output
