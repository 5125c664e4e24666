"""Processings over the real wire."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from smexec import Processing, ProcessingResult, SageMakerExecutor, errors
from smexec.core.settings import Settings
from smexec.core.settings import make as settings_of
from smexec.testing import LocalService

REPORT = """
opt_ml=${SMEXEC_OPT_ML:-/opt/ml}
. ./library.sh
total "$opt_ml/processing/input/sales/"* > "$opt_ml/processing/output/out/total"
echo "$*" > "$opt_ml/processing/output/out/arguments"
printf 'all summed up' > "$opt_ml/output/message"
"""
FAIL = """
echo "the last line"
printf 'no rows' > "${SMEXEC_OPT_ML:-/opt/ml}/output/message"
exit 3
"""
ALONE = 'echo "$0" > "${SMEXEC_OPT_ML:-/opt/ml}/processing/output/out/name"\n'
R = """
total <- function(rows) if (nrow(rows) == 0) stop("no rows in ", commandArgs(TRUE)) else nrow(rows)
message(total(data.frame()))
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "lib").mkdir()
    for name, text in {"report.sh": REPORT, "fail.sh": FAIL, "alone.sh": ALONE, "fail.R": R}.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "library.sh").write_text(". ./lib/sum.sh\n")
    (tmp_path / "lib" / "sum.sh").write_text('total() { cat "$@" | wc -l; }\n')
    return tmp_path


@pytest.fixture
def executor(smexec_service: LocalService) -> Iterator[SageMakerExecutor]:
    with SageMakerExecutor(max_workers=3, image_uri="none:1") as executor:
        yield executor


def put(service: LocalService, key: str, content: bytes) -> str:
    service.client("s3").put_object(Bucket=service.bucket, Key=key, Body=content)
    return f"s3://{service.bucket}/{key}"


def got(service: LocalService, uri: str) -> str:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    content: bytes = service.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    return content.decode().strip()


def a_report(service: LocalService, directory: Path, **given: Any) -> Processing:
    sales = put(service, "sales/one.csv", b"1\n2\n3\n").removesuffix("one.csv")
    given = {"inputs": {"sales": sales}, "outputs": {"out": None}, **given}
    return Processing("report.sh", source_dir=directory, **given)


def test_a_processing_is_submitted_like_a_function(
    smexec_service: LocalService, executor: SageMakerExecutor, directory: Path
) -> None:
    future = executor.submit(a_report(smexec_service, directory, arguments=["--year"]), 2025, ["-v", "a b"])
    result = future.result(60)
    assert isinstance(result, ProcessingResult)
    assert result.job_name == future.job_name
    assert result.exit_message == "all summed up"
    assert got(smexec_service, f"{result.outputs['out']}/total") == "3"
    assert got(smexec_service, f"{result.outputs['out']}/arguments") == "--year 2025 -v a b"


def test_a_map_of_processings_uploads_the_code_once(
    smexec_service: LocalService, executor: SageMakerExecutor, directory: Path
) -> None:
    report = a_report(smexec_service, directory, s3_root_uri=f"s3://{smexec_service.bucket}/map")
    files = [path.name for path in directory.rglob("*.*")]
    smexec_service.fault("PutObject", "denied", match="/map/", skip=len(files), times=None)
    results = list(executor.map(report, [["--year", 2024], ["--year", 2025]]))
    outputs = [result.outputs["out"] for result in results]
    assert [got(smexec_service, f"{uri}/arguments") for uri in outputs] == ["--year 2024", "--year 2025"]
    s3 = smexec_service.client("s3")
    listed = s3.list_objects_v2(Bucket=smexec_service.bucket, Prefix="map/layers/")
    assert sorted(Path(item["Key"]).name for item in listed["Contents"]) == sorted(files)


def test_outputs_go_where_they_are_wanted(
    smexec_service: LocalService, executor: SageMakerExecutor, directory: Path
) -> None:
    wanted = f"s3://{smexec_service.bucket}/reports"
    report = Processing(directory / "alone.sh", outputs={"out": wanted})
    assert executor.submit(report).result(60).outputs == {"out": wanted}
    assert got(smexec_service, f"{wanted}/name").endswith("/processing/input/code/alone.sh")


def test_what_a_program_says_of_its_failure_is_in_the_error(
    executor: SageMakerExecutor, directory: Path
) -> None:
    error = executor.submit(Processing("fail.sh", source_dir=directory)).exception(60)
    assert type(error) is errors.JobFailed
    assert error.exit_message == "no rows"
    assert error.log_tail == ("the last line",)
    assert "no rows, exit code: 3" in str(error)


@pytest.mark.skipif(not shutil.which("Rscript"), reason="there is no R here")
def test_what_r_says_of_its_failure_is_in_the_error(executor: SageMakerExecutor, directory: Path) -> None:
    error = executor.submit(Processing("fail.R", source_dir=directory), "2025").exception(60)
    assert type(error) is errors.JobFailed
    assert "no rows in 2025" in str(error)


def test_the_images_entry_point_gets_the_script(
    smexec_service: LocalService, executor: SageMakerExecutor, directory: Path, tmp_path: Path
) -> None:
    image = tmp_path / "image"
    image.mkdir()
    manifest = {"entrypoint": ["sh", "/opt/ml/run.sh"], "files": {"/opt/ml/run.sh": "run.sh"}}
    (image / "image.json").write_text(json.dumps(manifest))
    (image / "run.sh").write_text('echo "started with $*"; exec sh "$@"\n')
    smexec_service.configure(image={"none:1": str(image)})
    future = executor.submit(Processing("fail.sh", source_dir=directory, command=()), "x")
    error = future.exception(60)
    assert isinstance(error, errors.JobFailed)
    first, *_ = error.log_tail
    assert first.endswith("/processing/input/code/fail.sh x")


def test_an_image_processes_by_itself(
    smexec_service: LocalService, executor: SageMakerExecutor, tmp_path: Path
) -> None:
    (tmp_path / "image.json").write_text(json.dumps({"entrypoint": ["echo"], "cmd": ["by", "itself"]}))
    smexec_service.configure(image={"none:1": str(tmp_path)})
    future = executor.submit(Processing())
    assert future.result(60).outputs == {}
    assert future.logs() == ["by itself"]
    future = executor.submit(Processing(), "as", "told")
    future.result(60)
    assert future.logs() == ["as told"]


def until_listed(service: LocalService) -> None:
    """Only what has been created is asked about."""
    service.wait_for_requests(**{"sagemaker.ListProcessingJobs": 1})


def test_a_processing_that_is_stopped_is_cancelled(
    smexec_service: LocalService, executor: SageMakerExecutor, directory: Path
) -> None:
    (directory / "sleep.sh").write_text("sleep 600")
    future = executor.submit(Processing("sleep.sh", source_dir=directory))
    until_listed(smexec_service)
    future.stop()
    assert future.cancelled()
    assert future.job_name
    assert smexec_service.wait(future.job_name)["ProcessingJobStatus"] == "Stopped"


def test_time_that_runs_out_is_an_error_of_its_own(executor: SageMakerExecutor, directory: Path) -> None:
    (directory / "sleep.sh").write_text("exec sleep 600")
    report = Processing("sleep.sh", source_dir=directory, max_runtime_in_seconds=1)
    assert type(executor.submit(report).exception(60)) is errors.MaxRuntimeExceeded


def test_a_job_that_the_service_fails_runs_again(
    smexec_service: LocalService, executor: SageMakerExecutor, directory: Path
) -> None:
    (directory / "wait.sh").write_text('until [ -e "$1" ]; do sleep 0.1; done')
    future = executor.submit(Processing("wait.sh", source_dir=directory), directory / "go")
    until_listed(smexec_service)
    first = str(future.job_name)
    smexec_service.break_down(first)
    smexec_service.wait_for_requests(**{"sagemaker.CreateProcessingJob": 2})
    (directory / "go").touch()
    assert future.result(60).job_name != first


def test_settings_of_functions_are_passed_over(smexec_service: LocalService, directory: Path) -> None:
    smexec_service.configure(max_runtime_quota=777_600)
    given = {"use_spot_instances": True, "max_retry_attempts": 3, "max_runtime_in_seconds": 2_000_000}
    with SageMakerExecutor(max_workers=1, **given) as executor:
        result = executor.submit(Processing(directory / "alone.sh", outputs={"out": None})).result(60)
    job = smexec_service.client("sagemaker").describe_processing_job(ProcessingJobName=result.job_name)
    assert job["StoppingCondition"] == {"MaxRuntimeInSeconds": 777_600}


@pytest.mark.parametrize(
    "given",
    [{"slots": 4}, {"use_spot_instances": True}, {"session": object()}, {"sagemaker_session": object()}],
)
def test_settings_that_a_processing_cannot_have_are_refused_where_they_are_given(
    given: dict[str, Any],
) -> None:
    with pytest.raises(errors.SettingsError, match=f"{min(given)} is nothing that a Processing Job has"):
        Processing("report.R", **given)


def test_a_setting_beyond_what_a_processing_may_have_is_refused_where_it_is_given() -> None:
    with pytest.raises(errors.SettingsError, match="777600 seconds, nine days"):
        Processing("report.R", max_runtime_in_seconds=2_000_000)
    base = settings_of({"environment_variables": {"A": "x" * 257}, "image_uri": "r:1"}, {})
    with pytest.raises(errors.SettingsError, match="A and its value may have 256 characters"):
        Processing("report.R").prepare(base)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"inputs": {"code": "s3://bucket/key"}}, "the program's code"),
        ({"inputs": {"sales": "sales.csv"}}, "s3://bucket"),
        ({"inputs": {"../x": "s3://bucket/key"}}, "directory"),
        ({"inputs": {f"i{n}": "s3://bucket/key" for n in range(10)}}, "10 inputs at most"),
        ({"outputs": {"..": None}}, "directory"),
        ({"outputs": {f"o{n}": None for n in range(11)}}, "and outputs"),
        ({"arguments": "--year 2025"}, "is to be a list"),
        ({"arguments": ["a\nb"]}, "no line breaks"),
        ({"arguments": ["x" * 257]}, "256 characters"),
        ({"arguments": [None]}, "no argument"),
        ({"command": "Rscript"}, "is to be a list"),
        ({"command": ["sh", "-c", "x" * 257]}, "256 characters"),
        ({"program": None, "source_dir": "r"}, "goes with a program"),
    ],
)
def test_what_a_processing_cannot_have_is_said_where_it_is_given(given: dict[str, Any], said: str) -> None:
    with pytest.raises(errors.ScriptError, match=said):
        Processing(**{"program": "report.R", **given})


def test_the_stock_images_run_python_and_shell_scripts(directory: Path) -> None:
    settings = Settings()
    (directory / "report.py").touch()
    for name in ("report.py", "report.sh"):
        Processing(name, source_dir=directory).prepare(settings)
    with pytest.raises(errors.ScriptError, match="image_uri"):
        Processing("fail.R", source_dir=directory).prepare(settings)
    for program, command in ((None, None), ("report.py", ())):
        with pytest.raises(errors.ScriptError, match="image_uri"):
            Processing(program, source_dir=program and directory, command=command).prepare(settings)
    Processing("fail.R", source_dir=directory).prepare(settings_of({"image_uri": "r:1"}, {}))


def test_what_is_missing_or_wrong_is_said_by_submit(executor: SageMakerExecutor, directory: Path) -> None:
    with pytest.raises(errors.ScriptError, match="no none"):
        executor.submit(Processing("none.sh", source_dir=directory))
    with pytest.raises(TypeError, match="no keywords: year="):
        executor.submit(Processing("report.sh", source_dir=directory), year=2025)
    with pytest.raises(errors.ScriptError, match="100 arguments"):
        executor.submit(Processing("report.sh", source_dir=directory), ["x"] * 101)
