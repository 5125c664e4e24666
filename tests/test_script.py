"""Scripts over the real wire, run as the images of ``smexec image init`` run them."""

from __future__ import annotations

import io
import shutil
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import smexec.images
from smexec import Future, Processing, SageMakerExecutor, Script, TrainingResult, errors
from smexec.core.settings import Settings
from smexec.testing import LocalService

# No image is needed: the process engine runs what would be the image's entry point.
RUN = ["sh", str(Path(smexec.images.__file__).parent / "any" / "run.sh"), "train"]

TRAIN = """#!/bin/sh
set -eu
opt_ml=${SMEXEC_OPT_ML:-/opt/ml}
. ./library.sh
cp "$opt_ml/input/config/hyperparameters.json" "$opt_ml/model/"
learn "$opt_ml/input/data/train/"* > "$opt_ml/model/learnt"
echo "rmse=0.25"
"""
FAIL = """#!/bin/sh
echo "the last line"
echo "Error in lm(): no such column" > "${SMEXEC_OPT_ML:-/opt/ml}/output/failure"
exit 1
"""
SAVE_AND_END = """#!/bin/sh
save() {
    echo half > "${SMEXEC_OPT_ML:-/opt/ml}/model/half"
    exit 0
}
trap save TERM
touch "$BEGUN"
for _ in $(seq 600); do sleep 0.1; done
"""

R = """
learn <- function(rounds) if (rounds > 5) stop("too many rounds: ", rounds) else rounds
saveRDS(learn(hyperparameters$rounds), file.path(opt_ml, "model", "model.rds"))
"""
RUN_R = str(Path(smexec.images.__file__).parent / "r" / "run.sh")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    programs = {"train.sh": TRAIN, "fail.sh": FAIL, "save.sh": SAVE_AND_END}
    for name, text in programs.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "library.sh").write_text('learn() { wc -c < "$1"; }\n')
    (tmp_path / ".gitignore").write_text("*.csv\n")
    (tmp_path / "secret.csv").write_text("1\n")
    return tmp_path


@pytest.fixture
def executor(smexec_service: LocalService) -> Iterator[SageMakerExecutor]:
    with SageMakerExecutor(max_workers=3) as executor:
        yield executor


def put(service: LocalService, key: str, content: bytes) -> str:
    service.client("s3").put_object(Bucket=service.bucket, Key=key, Body=content)
    return f"s3://{service.bucket}/{key}"


def unpacked(service: LocalService, uri: str | None) -> dict[str, str]:
    assert uri is not None
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    archive = service.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        members = {entry.name: tar.extractfile(entry) for entry in tar}
        return {name: file.read().decode() for name, file in members.items() if file}


def saving(directory: Path) -> Script:
    """Goes on until it is stopped, and then saves what it has; there is a file when it has begun."""
    begun = {"BEGUN": str(directory / "begun")}
    return Script("save.sh", source_dir=directory, container_entry_point=RUN, environment_variables=begun)


def test_a_script_is_submitted_like_a_function(
    smexec_service: LocalService, executor: SageMakerExecutor, directory: Path
) -> None:
    data = put(smexec_service, "abalone/one.csv", b"1,2,3")
    train = Script("train.sh", source_dir=directory, inputs={"train": data}, container_entry_point=RUN)
    future = executor.submit(train, rounds=100, formula="rings ~ .")
    result = future.result(60)
    assert isinstance(result, TrainingResult)
    assert result.job_name == future.job_name
    assert result.hyperparameters == {"rounds": 100, "formula": "rings ~ ."}
    assert result.output is None
    model = unpacked(smexec_service, result.model)
    assert model["learnt"].strip() == "5"
    assert '"rounds": "100"' in model["hyperparameters.json"]


def test_a_grid_of_scripts_is_a_map(
    smexec_service: LocalService, executor: SageMakerExecutor, directory: Path
) -> None:
    data = put(smexec_service, "abalone/one.csv", b"1,2,3")
    root = f"s3://{smexec_service.bucket}/grid"
    train = Script(
        "train.sh",
        source_dir=directory,
        inputs={"train": data},
        container_entry_point=RUN,
        s3_root_uri=root,
    )
    smexec_service.fault("PutObject", "denied", match="/grid/", skip=1, times=None)  # that is the code
    results = list(executor.map(train, [{"rounds": n} for n in (10, 100, 1000)]))
    assert [result.hyperparameters["rounds"] for result in results] == [10, 100, 1000]
    assert len({result.model for result in results}) == 3
    s3 = smexec_service.client("s3")
    listed = s3.list_objects_v2(Bucket=smexec_service.bucket, Prefix="grid/layers/")
    assert [Path(item["Key"]).name for item in listed["Contents"]] == ["sourcedir.tar.gz"]


def test_what_a_script_says_of_its_failure_is_in_the_error(
    executor: SageMakerExecutor, directory: Path
) -> None:
    fail = Script("fail.sh", source_dir=directory, container_entry_point=RUN)
    error = executor.submit(fail).exception(60)
    assert type(error) is errors.JobFailed
    assert "Error in lm(): no such column" in str(error)
    assert error.log_tail == ("the last line",)
    assert error.model is None


def until_running(future: Future[Any]) -> None:
    while not (future.running() or future.done()):
        time.sleep(0.05)


def test_a_script_that_is_stopped_leaves_its_model(
    smexec_service: LocalService, executor: SageMakerExecutor, directory: Path
) -> None:
    future = executor.submit(saving(directory))
    until_running(future)
    while not (directory / "begun").exists():
        time.sleep(0.05)
    future.stop()
    error = future.exception(60)
    assert type(error) is errors.JobStopped
    assert unpacked(smexec_service, error.model) == {"half": "half\n"}


def test_a_script_runs_again_where_the_service_fails_it(
    smexec_service: LocalService, executor: SageMakerExecutor, directory: Path
) -> None:
    future = executor.submit(saving(directory))
    until_running(future)
    first = str(future.job_name)
    smexec_service.reset_requests()
    smexec_service.break_down(first)
    smexec_service.wait_for_requests(**{"sagemaker.CreateTrainingJob": 1})
    future.stop()
    error = future.exception(60)
    assert type(error) is errors.JobStopped
    assert error.job_name != first


def test_functions_and_scripts_share_an_executor(executor: SageMakerExecutor, directory: Path) -> None:
    fail = executor.submit(Script("fail.sh", source_dir=directory, container_entry_point=RUN))
    assert executor.submit(abs, -1).result(60) == 1
    assert isinstance(fail.exception(60), errors.JobFailed)


@pytest.mark.skipif(not shutil.which("Rscript"), reason="there is no R here")
def test_what_r_says_of_its_failure_is_in_the_error(executor: SageMakerExecutor, tmp_path: Path) -> None:
    (tmp_path / "train.R").write_text(R)
    train = Script("train.R", source_dir=tmp_path, container_entry_point=["sh", RUN_R, "train"])
    good, bad = executor.submit(train, rounds=3), executor.submit(train, rounds=9)
    assert good.result(60).model is not None
    error = bad.exception(60)
    assert type(error) is errors.JobFailed
    assert "Error: too many rounds: 9" in str(error)
    assert "learn(hyperparameters$rounds)" in str(error)


def test_a_script_that_has_not_started_can_be_cancelled(
    smexec_service: LocalService, executor: SageMakerExecutor, directory: Path
) -> None:
    smexec_service.configure(delays={"Starting": 600.0})
    future = executor.submit(saving(directory))
    assert future.cancel()
    assert future.cancelled()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"hyperparameters": {"x": object()}}, "cannot be written as JSON"),
        ({"hyperparameters": {"x": float("inf")}}, "x=inf cannot be written as JSON"),
        ({"hyperparameters": {"x": "a" * 2500}}, "2502 characters"),
        ({"hyperparameters": {"sagemaker_program": "x"}}, "smexec's own"),
        ({"hyperparameters": {f"x{n}": n for n in range(97)}}, "at most 96"),
        ({"inputs": {"code": "s3://bucket/key"}}, "the script's code"),
        ({"inputs": {"train": "abalone.csv"}}, "s3://bucket"),
        ({"inputs": {"my data": "s3://bucket/key"}}, "a channel's name"),
        ({"inputs": {f"i{n}": "s3://bucket/key" for n in range(20)}}, "20 input channels at most"),
        ({"metrics": {"": "x=(.*)"}}, "the name: it must be"),
        ({"metrics": {"x": "x" * 501}}, "the regular expression: it must be"),
        ({"metrics": {f"m{n}": "x=(.*)" for n in range(41)}}, "40 metrics at most"),
        ({"container_entry_point": "Rscript"}, "is to be a list"),
        ({"container_arguments": [None]}, "no argument of a command line"),
        ({"container_arguments": ["x" * 257]}, "256 characters"),
    ],
)
def test_what_a_script_cannot_have_is_said_where_it_is_given(given: dict[str, Any], said: str) -> None:
    with pytest.raises(errors.ScriptError, match=said):
        Script("train.sh", **given)


def test_a_setting_of_a_script_is_checked_where_it_is_given() -> None:
    with pytest.raises(errors.SettingsError, match="instance_type"):
        Script("train.sh", instance_typ="ml.m5.large")
    with pytest.raises(errors.SettingsError, match="session is nothing that a Training Job has"):
        Script("train.sh", session=object())
    with pytest.raises(errors.SettingsError, match="sagemaker_session is nothing that a Training Job has"):
        Script("train.sh", sagemaker_session=object())


def test_stock_images_run_no_scripts(directory: Path) -> None:
    with pytest.raises(errors.ScriptError, match="image_uri"):
        Script("train.sh", source_dir=directory).prepare(Settings())


def test_what_is_missing_is_said_by_submit(executor: SageMakerExecutor, directory: Path) -> None:
    with pytest.raises(errors.ScriptError, match="no none"):
        executor.submit(Script("none.sh", source_dir=directory, container_entry_point=RUN))
    with pytest.raises(TypeError, match="hyperparameters"):
        executor.submit(Script("train.sh", source_dir=directory, container_entry_point=RUN), 5)


def test_a_directory_is_an_image_for_the_embedded_service(directory: Path, tmp_path: Path) -> None:
    image = tmp_path / "an image"
    image.mkdir()
    (image / "image.json").write_text(
        '{"entrypoint": ["sh", "/opt/ml/run.sh"], "files": {"/opt/ml/run.sh": "run.sh"}}'
    )
    shutil.copy(RUN[1], image / "run.sh")
    (directory / "hello.sh").write_text("#!/bin/sh\necho hello\n")
    (directory / "hello.sh").chmod(0o755)
    with SageMakerExecutor(max_workers=1, instance_type="local") as executor:
        future = executor.submit(Script("hello.sh", source_dir=directory, image_uri=image))
        assert future.result(60).model is None
        assert future.logs() == ["hello"]
        report = Processing("hello.sh", source_dir=directory, image_uri=str(image), outputs={"out": None})
        assert executor.submit(report).result(60).outputs.keys() == {"out"}


def test_a_future_is_no_hyperparameter(executor: SageMakerExecutor, directory: Path) -> None:
    script = Script("train.sh", source_dir=directory, container_entry_point=RUN)
    rounds = executor.submit(abs, -3)
    with pytest.raises(errors.ScriptError, match=r"rounds.*a future: give its result\(\)"):
        executor.submit(script, rounds=rounds)
