"""CodeBuild: projects, builds and their phases, by real commands."""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError


@pytest.fixture
def codebuild(aws: Any) -> Any:
    return aws.client("codebuild")


@pytest.fixture
def project(aws: Any, codebuild: Any, request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """The members of a CreateProject request for a source of one file, ``hello``."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("hello", "from the source\n")
        file.writestr("spec.yml", "version: 0.2\nphases:\n  build:\n    commands: [cat hello]\n")
    key = f"{request.node.name}.zip"
    aws.client("s3").put_object(Bucket=aws.info["bucket"], Key=key, Body=archive.getvalue())
    name = f"project-{time.monotonic_ns()}"
    yield {
        "name": name,
        "source": {"type": "S3", "location": f"{aws.info['bucket']}/{key}"},
        "artifacts": {"type": "NO_ARTIFACTS"},
        "environment": {
            "type": "LINUX_CONTAINER",
            "image": "aws/codebuild/standard:7.0",
            "computeType": "BUILD_GENERAL1_SMALL",
        },
        "serviceRole": aws.info["role"],
    }
    codebuild.delete_project(name=name)


def spec(**phases: Any) -> str:
    """A buildspec, of a phase's commands or of all there is to a phase."""
    whole = {name: one if isinstance(one, dict) else {"commands": one} for name, one in phases.items()}
    return json.dumps({"version": 0.2, "phases": whole})


def start(codebuild: Any, project: dict[str, Any], buildspec: str | None = None, **changes: Any) -> Any:
    if buildspec:
        project["source"]["buildspec"] = buildspec
    codebuild.create_project(**project)
    return codebuild.start_build(projectName=project["name"], **changes)["build"]


def ended(codebuild: Any, build: Any) -> Any:
    deadline = time.monotonic() + 90
    while not build["buildComplete"]:
        assert time.monotonic() < deadline, build
        time.sleep(0.02)
        build = codebuild.batch_get_builds(ids=[build["id"]])["builds"][0]
    return build


def log(aws: Any, build: Any) -> list[str]:
    where = {"logGroupName": build["logs"]["groupName"], "logStreamName": build["logs"]["streamName"]}
    events = aws.client("logs").get_log_events(**where, startFromHead=True)["events"]
    return [event["message"] for event in events]


def phases(build: Any) -> dict[str, str]:
    return {phase["phaseType"]: phase.get("phaseStatus", "") for phase in build["phases"]}


def test_the_commands_run_where_the_source_is(aws: Any, codebuild: Any, project: Any) -> None:
    build = ended(codebuild, start(codebuild, project, spec(build=["cat hello"])))
    assert build["buildStatus"] == "SUCCEEDED"
    assert set(phases(build).values()) == {"SUCCEEDED", ""}
    assert [*phases(build)][-4:] == ["POST_BUILD", "UPLOAD_ARTIFACTS", "FINALIZING", "COMPLETED"]
    lines = log(aws, build)
    assert "from the source" in lines
    assert any(line.endswith(" Running command cat hello") for line in lines)
    assert build["logs"]["groupName"] == f"/aws/codebuild/{project['name']}"


def test_a_log_of_a_name_of_its_own(aws: Any, codebuild: Any, project: Any) -> None:
    wanted = {"status": "ENABLED", "groupName": "/all", "streamName": "one"}
    project["logsConfig"] = {"cloudWatchLogs": wanted}
    build = ended(codebuild, start(codebuild, project, spec(build=["cat hello"])))
    where = build["logs"]["groupName"], build["logs"]["streamName"]
    assert where == ("/all", f"one/{build['id'].partition(':')[2]}")
    assert "from the source" in log(aws, build)


def test_a_buildspec_may_be_a_file_of_the_source(aws: Any, codebuild: Any, project: Any) -> None:
    build = ended(codebuild, start(codebuild, project, "spec.yml"))
    assert "from the source" in log(aws, build)


def test_commands_share_variables_and_directory(aws: Any, codebuild: Any, project: Any) -> None:
    said = 'echo "$X/$(basename "$PWD")/$(sh -c "echo \\$Y")"'
    commands = ["mkdir d && cd d", "X='a  b'", "export Y=1", said]
    build = ended(codebuild, start(codebuild, project, spec(install=commands[:2], build=commands[2:])))
    assert "a  b/d/1" in log(aws, build)


def test_variables_of_the_project_and_of_the_build(aws: Any, codebuild: Any, project: Any) -> None:
    project["environment"]["environmentVariables"] = [{"name": "A", "value": "project"}]
    text = json.dumps(
        {
            "version": 0.2,
            "env": {"variables": {"A": "spec", "B": "spec", "C": "spec"}},
            "phases": {"build": {"commands": ['echo "$A $B $C $CODEBUILD_BUILD_NUMBER $AWS_REGION"']}},
        }
    )
    override = [{"name": "B", "value": "build"}]
    build = start(codebuild, project, text, environmentVariablesOverride=override)
    assert f"project build spec 1 {aws.info['region']}" in log(aws, ended(codebuild, build))


def test_the_first_command_that_fails_is_named(aws: Any, codebuild: Any, project: Any) -> None:
    text = spec(build={"commands": ["true", "sh -c 'exit 3'", "echo never"], "on-failure": "ABORT"})
    build = ended(codebuild, start(codebuild, project, text))
    assert build["buildStatus"] == "FAILED"
    assert phases(build)["BUILD"] == "FAILED"
    assert "POST_BUILD" not in phases(build)
    (failed,) = [phase for phase in build["phases"] if phase.get("phaseStatus") == "FAILED"]
    message = "Error while executing command: sh -c 'exit 3'. Reason: exit status 3"
    assert failed["contexts"] == [{"statusCode": "COMMAND_EXECUTION_ERROR", "message": message}]
    assert "never" not in log(aws, build)


def test_after_a_failed_build_comes_post_build(aws: Any, codebuild: Any, project: Any) -> None:
    failing = {"commands": ["false"], "finally": ["echo at the end"]}
    text = spec(build=failing, post_build=["echo all the same"])
    build = ended(codebuild, start(codebuild, project, text))
    assert build["buildStatus"] == "FAILED"
    assert {"at the end", "all the same"} <= set(log(aws, build))
    text = spec(pre_build=["exit 4"], build=["echo never"])
    project["name"] += "-2"
    build = ended(codebuild, start(codebuild, project, text))
    codebuild.delete_project(name=project["name"])
    assert "Reason: exit status 4" in str(build["phases"])
    assert "never" not in log(aws, build)


def test_a_build_can_be_stopped(aws: Any, codebuild: Any, project: Any) -> None:
    build = start(codebuild, project, spec(build=["echo up; sleep 1000"]))
    deadline = time.monotonic() + 90
    while build["currentPhase"] != "BUILD":
        assert time.monotonic() < deadline
        build = codebuild.batch_get_builds(ids=[build["id"]])["builds"][0]
    codebuild.stop_build(id=build["id"])
    build = ended(codebuild, build)
    assert build["buildStatus"] == "STOPPED"
    assert phases(build)["BUILD"] == "STOPPED"


def test_the_same_token_is_the_same_build(codebuild: Any, project: Any) -> None:
    build = start(codebuild, project, spec(build=["true"]), idempotencyToken="token" * 4)
    again = codebuild.start_build(projectName=project["name"], idempotencyToken="token" * 4)["build"]
    assert again["id"] == build["id"]
    assert codebuild.list_builds_for_project(projectName=project["name"])["ids"] == [build["id"]]


def test_docker_is_missed_clearly(aws: Any, codebuild: Any, project: Any) -> None:
    build = ended(codebuild, start(codebuild, project, spec(build=["docker build ."])))
    assert build["buildStatus"] == "FAILED"
    assert any("Cannot connect to the Docker daemon" in line for line in log(aws, build))


def test_the_password_of_the_registry(aws: Any, codebuild: Any, project: Any) -> None:
    commands = [f'test -n "$(aws ecr get-login-password --region {aws.info["region"]})"']
    assert ended(codebuild, start(codebuild, project, spec(build=commands)))["buildStatus"] == "SUCCEEDED"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version: 0.1\n", "version: 0.2"),
        ("no-such-file.yml", "there is no no-such-file.yml"),
        ("version: 0.2\nphases:\n  biuld: {}\n", "no phase biuld"),
        ("version: 0.2\nphases:\n  build:\n    commands: x\n", "list of texts"),
        ("version: 0.2\nphases:\n  build:\n    on-failure: STOP\n", "ABORT, CONTINUE"),
        ("version: 0.2\nphases: [\n", "cannot be parsed"),
    ],
)
def test_a_buildspec_that_is_none(codebuild: Any, project: Any, text: str, said: str) -> None:
    build = ended(codebuild, start(codebuild, project, text))
    (failed,) = [phase for phase in build["phases"] if phase.get("phaseStatus") == "FAILED"]
    assert failed["phaseType"] == "DOWNLOAD_SOURCE"
    assert said in failed["contexts"][0]["message"]


def test_a_source_that_is_not_there(codebuild: Any, project: Any) -> None:
    project["source"]["location"] += "-not"
    build = ended(codebuild, start(codebuild, project, spec(build=["true"])))
    assert phases(build)["DOWNLOAD_SOURCE"] == "FAILED"


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ({"serviceRole": "arn:aws:iam::123456789012:role/nobody"}, "InvalidInputException", "sts:AssumeRole"),
        ({"source": {"type": "GITHUB"}}, "InvalidInputException", "type S3 only"),
        ({"name": "a b"}, "ValidationException", "regular expression pattern"),
    ],
)
def test_projects_that_are_refused(
    codebuild: Any, project: Any, change: dict[str, Any], code: str, said: str
) -> None:
    with pytest.raises(ClientError, match=said) as error:
        codebuild.create_project(**{**project, **change})
    assert error.value.response["Error"]["Code"] == code


def test_projects_are_listed_and_deleted(codebuild: Any, project: Any) -> None:
    name = project["name"]
    codebuild.create_project(**project)
    with pytest.raises(codebuild.exceptions.ResourceAlreadyExistsException):
        codebuild.create_project(**project)
    assert name in codebuild.list_projects()["projects"]
    answer = codebuild.batch_get_projects(names=[name, "other"])
    assert [one["name"] for one in answer["projects"]] == [name]
    assert answer["projectsNotFound"] == ["other"]
    codebuild.delete_project(name=name)
    codebuild.delete_project(name=name)
    assert name not in codebuild.list_projects()["projects"]
    with pytest.raises(codebuild.exceptions.ResourceNotFoundException):
        codebuild.start_build(projectName=name)
    with pytest.raises(codebuild.exceptions.ResourceNotFoundException):
        codebuild.stop_build(id=f"{name}:1")


def test_what_is_not_there_is_said(codebuild: Any, project: Any) -> None:
    codebuild.create_project(**project)
    with pytest.raises(ClientError, match="computeTypeOverride"):
        codebuild.start_build(projectName=project["name"], computeTypeOverride="BUILD_GENERAL1_LARGE")
    with pytest.raises(ClientError, match="no ListReports"):
        codebuild.list_reports()
