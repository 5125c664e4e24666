"""The R image with this machine's R: its scripts run as the local service's processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from smexec import Future, SageMakerExecutor, Script, errors
from smexec.capture.sources import pack

pytestmark = pytest.mark.skipif(not shutil.which("Rscript"), reason="there is no R here")

ROWS = "length,sex,rings\n0.5,M,9\n0.4,F,7\n0.6,M,11\n0.3,I,5\n0.35,I,6\n0.7,F,14\n"

LETTERS = "sex,alive,rings\nF,T,14\nM,T,9\nF,F,7\nI,F,3\n"

TYPES = """
kinds <- lapply(hyperparameters, function(value) list(class = class(value)[1], length = length(value)))
jsonlite::write_json(list(kinds = kinds, values = hyperparameters), file.path(model_dir, "found.json"),
                     auto_unbox = TRUE, null = "null")
"""
FAIL = """
learn <- function(rounds) {
  if (rounds > 5) stop("too many rounds: ", rounds)
}
warning("careful")
tryCatch(stop("caught"), error = function(condition) NULL)
sapply(hyperparameters$rounds, learn)
"""
HALF = """
tryCatch({
  writeLines("up", hyperparameters$up)
  repeat Sys.sleep(0.1)
}, interrupt = function(condition) saveRDS("half", file.path(model_dir, "half.rds")))
Sys.sleep(0.3) # saving takes its time
writeLines("whole", file.path(model_dir, "end.txt"))
"""
CARELESS = """
rm(list = ls())
writeLines("up", Sys.getenv("UP"))
repeat Sys.sleep(0.1)
"""
HELPED = """
source("lib/helper.R")
1 + 1
writeLines(helped(), file.path(model_dir, "helped.txt"))
"""
QUIT = """
writeLines("x", file.path(model_dir, "model.txt"))
quit(save = "no", status = hyperparameters$status)
"""
OWN_SERVER = """
library(plumber)
server <- pr_get(pr(), "/ping", function() "")
server <- pr_post(server, "/invocations", function(res) { res$body <- "my own"; res })
pr_run(server, host = "0.0.0.0", port = port, docs = FALSE, quiet = TRUE)
"""
REPORT = """
arguments <- commandArgs(trailingOnly = TRUE)
writeLines(arguments, file.path(opt_ml, "processing", "output", "out", "arguments.txt"))
if ("--fail" %in% arguments) stop("no such year")
"""


@pytest.fixture(scope="module")
def language() -> str:
    return "r"


def in_the_middle(future: Future[Any], up: Path) -> None:
    """Once the script says that it is up, and the client knows."""
    assert up.read_text() == "up\n"
    while not future.running():
        threading.Event().wait(0.05)


def script(directory: Path, text: str, **settings: Any) -> Script:
    (directory / "program.R").write_text(text)
    return Script("program.R", source_dir=directory, **settings)


@pytest.fixture
def example(directory: Path, bench: Any) -> Script:
    """train.R, as init wrote it."""
    return Script("train.R", source_dir=directory / "code", inputs={"train": bench.put("rings/a.csv", ROWS)})


def test_a_grid_of_trainings_is_a_map(bench: Any, executor: SageMakerExecutor, example: Script) -> None:
    results = list(executor.map(example, [{"rounds": n} for n in (1, 10, 100)]))
    assert [result.hyperparameters["rounds"] for result in results] == [1, 10, 100]
    models = [bench.unpacked(result.model) for result in results]
    assert len({model["model.rds"] for model in models}) == 3
    # The model, and the code that serves it; nothing of the image's.
    assert set(models[0]) == {"model.rds", "code/train.R", "code/deploy.R", "code/process.R"}


def test_a_model_is_served(executor: SageMakerExecutor, example: Script, serve: Callable[[str], Any]) -> None:
    endpoint = serve(str(executor.submit(example, rounds=500).result(60).model))
    answer = endpoint.predict('{"length": 0.5, "sex": "M"}')
    assert answer.startswith('{"output":')
    assert json.loads(answer)["output"] == pytest.approx(9, abs=1)  # and no array of one
    columns = endpoint.predict('{"length": [0.5, 0.3], "sex": ["M", "I"]}')
    rows = '[{"length": 0.5, "sex": "M"}, {"length": 0.3, "sex": "I"}]'
    assert endpoint.predict(rows) == columns
    first, second = json.loads(columns)["output"]
    assert first > second
    assert json.loads(endpoint.predict("sex,length\nM,0.5\n", "text/csv"))["output"] == pytest.approx(first)
    as_csv = endpoint.predict("0.5,M\n0.3,I\n", "text/csv", "text/csv").splitlines()
    assert [float(line) for line in as_csv] == pytest.approx([first, second])
    assert json.loads(endpoint.predict('{"length": null, "sex": "M"}')) == {"output": None}
    assert json.loads(endpoint.predict('[[0.5, "M"], [null, "I"]]')) == {"output": [first, None]}


def test_f_and_t_in_csv_are_texts_unless_the_model_has_logicals(
    bench: Any, executor: SageMakerExecutor, directory: Path, serve: Callable[[str], Any]
) -> None:
    data = bench.put("letters/a.csv", LETTERS)
    train = Script("train.R", source_dir=directory / "code", inputs={"train": data})
    endpoint = serve(str(executor.submit(train, rounds=50).result(60).model))
    as_json = json.loads(endpoint.predict('[{"sex": "F", "alive": true}, {"sex": "F", "alive": false}]'))
    assert as_json["output"][0] > as_json["output"][1]
    assert json.loads(endpoint.predict("F,T\nF,F\n", "text/csv; header=absent")) == as_json
    assert json.loads(endpoint.predict("sex,alive\nF,TRUE\nF,FALSE\n", "text/csv")) == as_json


@pytest.mark.parametrize(
    ("body", "kind", "status", "said"),
    [
        ('{"size": 1}', "application/json", 500, "rows must have the columns length, sex"),
        ('{"length":', "application/json", 400, "premature EOF"),
        ("<a/>", "text/xml", 415, "takes application/json and text/csv, not text/xml"),
        ("\0", "application/x-npy", 415, "takes application/json and text/csv, not application/x-npy"),
    ],
)
def test_what_is_wrong_with_a_request_is_in_its_error(
    executor: SageMakerExecutor,
    example: Script,
    serve: Callable[[str], Any],
    body: str,
    kind: str,
    status: int,
    said: str,
) -> None:
    endpoint = serve(str(executor.submit(example, rounds=1).result(60).model))
    with pytest.raises(ClientError) as caught:
        endpoint.predict(body, kind)
    answer: Any = caught.value.response
    assert answer["OriginalStatusCode"] == status
    assert said in answer["OriginalMessage"]


def test_deploy_may_run_a_server_of_its_own(
    executor: SageMakerExecutor, tmp_path: Path, serve: Callable[[str], Any]
) -> None:
    (tmp_path / "deploy.R").write_text(OWN_SERVER)
    train = script(tmp_path, 'writeLines("x", file.path(model_dir, "model.txt"))')
    assert serve(str(executor.submit(train).result(60).model)).predict("{}") == "my own"


def test_code_goes_with_the_model_of_a_script_that_quits(
    bench: Any, executor: SageMakerExecutor, tmp_path: Path
) -> None:
    (tmp_path / "deploy.R").write_text("predict_fn <- function(data, model) data\n")
    quitting = script(tmp_path, QUIT)
    result = executor.submit(quitting, status=0).result(60)
    assert set(bench.unpacked(result.model)) == {"model.txt", "code/program.R", "code/deploy.R"}
    error = executor.submit(quitting, status=3).exception(60)
    assert type(error) is errors.JobFailed
    assert "exit code: 3" in str(error.failure_reason)


def test_hyperparameters_are_typed(bench: Any, executor: SageMakerExecutor, tmp_path: Path) -> None:
    values = {
        "rounds": 100,
        "rate": 0.25,
        "fast": True,
        "nothing": None,
        "formula": 'rings ~ "a b" + \\n',
        "line": "a\nb — é",
        "file": "program.R",
        "address": "https://example.com/x.json",
        "number": "100",
        "grid": [1, 2, 3],
        "names": ["a", "b"],
        "holes": [1, None],
        "nested": {"deep": [1.5]},
    }
    result = executor.submit(script(tmp_path, TYPES), values).result(60)
    found = json.loads(bench.unpacked(result.model)["found.json"])
    kinds = {name: (kind["class"], kind["length"]) for name, kind in found["kinds"].items()}
    assert kinds == {
        "rounds": ("integer", 1),
        "rate": ("numeric", 1),
        "fast": ("logical", 1),
        "nothing": ("NULL", 0),
        "formula": ("character", 1),
        "line": ("character", 1),
        "file": ("character", 1),
        "address": ("character", 1),
        "number": ("character", 1),
        "grid": ("integer", 3),
        "names": ("character", 2),
        "holes": ("integer", 2),
        "nested": ("list", 1),
    }
    texts = [name for name, (kind, _) in kinds.items() if kind == "character"]
    assert {name: found["values"][name] for name in texts} == {name: values[name] for name in texts}


def test_an_error_of_r_is_told_with_its_calls(executor: SageMakerExecutor, tmp_path: Path) -> None:
    error = executor.submit(script(tmp_path, FAIL), rounds=9).exception(60)
    assert type(error) is errors.JobFailed
    assert str(error.failure_reason).splitlines()[:3] == [
        "AlgorithmError: Error: too many rounds: 9",
        "  program.R:7: sapply(hyperparameters$rounds, learn)",
        "  lapply(X = X, FUN = FUN, ...)",
    ]
    assert "exit code: 1" in str(error.failure_reason)
    assert any("careful" in line for line in error.log_tail)


def test_an_error_that_leaves_no_room_is_told_too(executor: SageMakerExecutor, tmp_path: Path) -> None:
    error = executor.submit(script(tmp_path, "f <- function(n) f(n + 1)\nf(1)")).exception(60)
    assert type(error) is errors.JobFailed
    assert "Error: " in str(error.failure_reason)


def test_a_script_that_cannot_be_parsed_is_told_by_its_line(
    executor: SageMakerExecutor, tmp_path: Path
) -> None:
    error = executor.submit(script(tmp_path, "x <- 1\ny <- (2 +")).exception(60)
    assert type(error) is errors.JobFailed
    assert "program.R:3:0: unexpected end of input" in str(error.failure_reason)


def test_a_training_that_is_stopped_keeps_its_model(
    bench: Any, executor: SageMakerExecutor, tmp_path: Path
) -> None:
    up = tmp_path / "up"
    os.mkfifo(up)
    future = executor.submit(script(tmp_path, HALF), up=str(up))
    in_the_middle(future, up)
    future.stop()
    error = future.exception(60)
    assert type(error) is errors.JobStopped
    assert set(bench.unpacked(error.model)) == {"half.rds", "end.txt"}


def test_a_script_that_does_not_care_ends_when_it_is_stopped(
    executor: SageMakerExecutor, tmp_path: Path
) -> None:
    up = tmp_path / "up"
    os.mkfifo(up)
    future = executor.submit(script(tmp_path, CARELESS, environment_variables={"UP": str(up)}))
    in_the_middle(future, up)
    future.stop()
    error = future.exception(60)
    assert type(error) is errors.JobStopped
    assert error.log_tail[-1] == "stopped"
    assert error.model is None


def test_a_stop_that_comes_before_r_can_hear_it_is_not_lost(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "program.R").write_text('cat("it ran")')
    (tmp_path / "stopped").touch()  # by run.sh
    variables = {"SMEXEC_COMMAND": str(tmp_path / "program.R"), "SMEXEC_STOPPED": str(tmp_path / "stopped")}
    command = ["Rscript", str(directory / "entrypoint.R")]
    run = subprocess.run(
        command, env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout) == (143, "")
    (tmp_path / "stopped").unlink()
    run = subprocess.run(
        command, env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout) == (0, "it ran")


def test_a_script_finds_its_own_files(bench: Any, executor: SageMakerExecutor, tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "helper.R").write_text('helped <- function() "yes"\n')
    result = executor.submit(script(tmp_path, HELPED)).result(60)
    assert bench.unpacked(result.model) == {"helped.txt": b"yes\n"}  # and no code: there is no deploy.R


def test_code_is_fetched_where_it_comes_by_no_channel(bench: Any, directory: Path) -> None:
    """The SageMaker SDK starts jobs so."""
    source = pack("train.R", directory / "code").content
    bench.s3.put_object(Bucket=bench.service.bucket, Key="a=b/c d/sourcedir.tar.gz", Body=source)
    data = bench.put("fetched/rings.csv", ROWS)
    uri = f"s3://{bench.service.bucket}/a=b/c d/sourcedir.tar.gz"
    job = bench.train(data, {"sagemaker_submit_directory": uri, "sagemaker_program": "train.R", "rounds": 3})
    assert job["TrainingJobStatus"] == "Completed"
    assert "model.rds" in bench.unpacked(job["ModelArtifacts"]["S3ModelArtifacts"])


def test_code_that_is_nowhere_is_said(bench: Any) -> None:
    data = bench.put("fetched/rings.csv", ROWS)
    uri = f"s3://{bench.service.bucket}/none/sourcedir.tar.gz"
    job = bench.train(data, {"sagemaker_submit_directory": uri, "sagemaker_program": "train.R"})
    assert f"Error: cannot fetch {uri}" in job["FailureReason"]
    job = bench.train(data, {"sagemaker_program": "train.R"})
    assert "neither a channel code nor sagemaker_submit_directory" in job["FailureReason"]


@pytest.mark.parametrize("entrypoint", [[], ["Rscript", "/opt/ml/processing/input/code/report.R"]])
def test_a_script_is_processed_with_its_arguments(bench: Any, entrypoint: list[str]) -> None:
    code = bench.put("report/report.R", REPORT.replace("opt_ml,", '"/opt/ml",') if entrypoint else REPORT)
    arguments = ["--year", "2025", "-e", 'a "b"']
    application: dict[str, Any] = {"ContainerArguments": arguments}
    if entrypoint:
        application["ContainerEntrypoint"] = entrypoint
    else:
        application["ContainerArguments"] = ["report.R", *arguments]
    job, out = bench.process(application, code)
    assert job["ProcessingJobStatus"] == "Completed"
    assert bench.text(f"{out}/arguments.txt").splitlines() == arguments


def test_the_only_script_needs_no_name(bench: Any, directory: Path) -> None:
    code = bench.put("means/process.R", (directory / "code" / "process.R").read_text())
    job, out = bench.process({}, code, rings=ROWS)
    assert job["ProcessingJobStatus"] == "Completed"
    assert bench.text(f"{out}/rings.csv").splitlines()[1] == '"length",0.475'


def test_the_error_of_a_processing_is_its_exit_message(bench: Any) -> None:
    code = bench.put("failing/report.R", REPORT)
    job, _ = bench.process({"ContainerArguments": ["report.R", "--fail"]}, code)
    assert job["ProcessingJobStatus"] == "Failed"
    assert job["ExitMessage"].startswith("Error: no such year")
    job, _ = bench.process({"ContainerArguments": ["other.R"]}, code)
    assert "neither train nor serve, nor a script here" in job["ExitMessage"]
