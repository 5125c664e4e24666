"""Processing jobs, seen as any client of AWS sees them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.local.client import NUMBERS, Client

IN, OUT = "/opt/ml/processing/input", "/opt/ml/processing/output"
WAIT = "trap 'echo bye > /opt/ml/processing/output/end; exit 0' TERM; echo up; while :; do sleep 0.01; done"


class Processing(Client):
    """boto3 and the control API, in the words of these tests."""

    def request(self, *command: str, image: str = "image:tag", **changes: Any) -> dict[str, Any]:
        """The members of a valid request, under a new name; what is None is left out."""
        application = {"ImageUri": image, **({"ContainerEntrypoint": list(command)} if command else {})}
        cluster = {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1}
        members = {
            "ProcessingJobName": f"processing-{next(NUMBERS)}",
            "AppSpecification": application,
            "RoleArn": self.role,
            "ProcessingResources": {"ClusterConfig": cluster},
            **changes,
        }
        return {name: value for name, value in members.items() if value is not None}

    def create(self, script: str, **changes: Any) -> str:
        request = self.request("sh", "-c", script, **changes)
        self.sagemaker.create_processing_job(**request)
        name: str = request["ProcessingJobName"]
        return name

    def end(self, name: str) -> dict[str, Any]:
        self.service.wait(name)
        described: dict[str, Any] = self.sagemaker.describe_processing_job(ProcessingJobName=name)
        return described

    def run(self, script: str, **changes: Any) -> dict[str, Any]:
        return self.end(self.create(script, **changes))

    def refusal(self, request: dict[str, Any]) -> str:
        return str(self.refused(self.sagemaker.create_processing_job, **request))

    def output(self, mode: str = "EndOfJob") -> tuple[str, dict[str, Any]]:
        """A new prefix, and the members that make /opt/ml/processing/output go there."""
        uri = f"s3://{self.bucket}/processing-output-{next(NUMBERS)}/"
        in_s3 = {"S3Uri": uri, "LocalPath": OUT, "S3UploadMode": mode}
        return uri, {"ProcessingOutputConfig": {"Outputs": [{"OutputName": "out", "S3Output": in_s3}]}}

    def lines(self, name: str) -> list[str]:
        return self.logged("/aws/sagemaker/ProcessingJobs", f"{name}/algo-1-")


def an_input(uri: str, name: str = "data", path: str = IN, **changes: Any) -> dict[str, Any]:
    in_s3 = {"S3Uri": uri, "LocalPath": path, "S3DataType": "S3Prefix", "S3InputMode": "File", **changes}
    return {"InputName": name, "S3Input": in_s3}


@pytest.fixture
def client(aws: Any) -> Processing:
    return Processing(aws)


def test_a_whole_life(client: Processing) -> None:
    uri, output = client.output()
    data = client.put(a="1\n", b="2\n")
    job = client.run(
        f"cat {IN}/* > {OUT}/sum; echo done; printf 'three rows' > /opt/ml/output/message",
        ProcessingInputs=[an_input(data)],
        Tags=[{"Key": "team", "Value": "a"}],
        **output,
    )
    name = job["ProcessingJobName"]
    assert job["ProcessingJobStatus"] == "Completed"
    assert job["ProcessingJobArn"] == f"arn:aws:sagemaker:us-east-1:123456789012:processing-job/{name}"
    assert job["ExitMessage"] == "three rows"
    assert "FailureReason" not in job
    assert job["StoppingCondition"] == {"MaxRuntimeInSeconds": 86_400}
    assert job["CreationTime"] <= job["ProcessingStartTime"] <= job["ProcessingEndTime"]
    assert client.stored(uri) == {"sum": b"1\n2\n"}
    assert client.lines(name) == ["done"]
    tags = client.sagemaker.list_tags(ResourceArn=job["ProcessingJobArn"])["Tags"]
    assert tags == [{"Key": "team", "Value": "a"}]


def test_the_container_finds_its_configuration(client: Processing) -> None:
    job = client.run(
        "cat /opt/ml/config/resourceconfig.json; echo; cat /opt/ml/config/processingjobconfig.json; echo;"
        ' echo "$MINE $AWS_REGION"; ls /opt/ml',
        Environment={"MINE": "x"},
    )
    resources, config, environment, *directories = client.lines(job["ProcessingJobName"])
    assert json.loads(resources) == {"current_host": "algo-1", "hosts": ["algo-1"]}
    shown = json.loads(config)
    assert (shown["ProcessingJobArn"], shown["Environment"]) == (job["ProcessingJobArn"], {"MINE": "x"})
    assert environment == "x us-east-1"
    assert directories == ["config", "output", "processing"]


def test_arguments_follow_the_entry_point(client: Processing) -> None:
    request = client.request("echo", "a")
    request["AppSpecification"]["ContainerArguments"] = ["--year", "2025"]
    client.sagemaker.create_processing_job(**request)
    client.end(request["ProcessingJobName"])
    assert client.lines(request["ProcessingJobName"]) == ["a --year 2025"]


def test_an_image_gives_the_command_and_the_files(client: Processing, tmp_path: Path) -> None:
    manifest = {
        "entrypoint": ["sh", "/opt/ml/entry.sh"],
        "cmd": ["by", "itself"],
        "env": {"FROM_IMAGE": "yes", "MINE": "lost"},
        "files": {"/opt/ml/entry.sh": "entry.sh"},
    }
    (tmp_path / "image.json").write_text(json.dumps(manifest))
    (tmp_path / "entry.sh").write_text('echo "$FROM_IMAGE $MINE $*"')
    client.service.control("configure", {"image": {"shell:1": str(tmp_path)}})
    request = client.request(image="shell:1", Environment={"MINE": "kept"})
    client.sagemaker.create_processing_job(**request)
    client.end(request["ProcessingJobName"])
    assert client.lines(request["ProcessingJobName"]) == ["yes kept by itself"]


def test_a_failure_tells_what_the_container_told(client: Processing) -> None:
    uri, output = client.output()
    job = client.run(f"echo half > {OUT}/half; printf 'no rows' > /opt/ml/output/message; exit 3", **output)
    assert job["ProcessingJobStatus"] == "Failed"
    assert job["FailureReason"] == "AlgorithmError: no rows, exit code: 3"
    assert job["ExitMessage"] == "no rows"
    assert client.stored(uri) == {"half": b"half\n"}
    assert client.run("exit 1")["FailureReason"].startswith("AlgorithmError: See job logs")


def test_a_stop_is_a_sigterm_and_keeps_the_output(client: Processing) -> None:
    client.service.control("configure", {"stop_grace": 3600})
    uri, output = client.output("Continuous")
    name = client.create(WAIT, **output)
    client.service.wait(name, "Training")
    while "up" not in client.lines(name):
        pass
    client.sagemaker.stop_processing_job(ProcessingJobName=name)
    assert client.end(name)["ProcessingJobStatus"] == "Stopped"
    assert client.stored(uri) == {"end": b"bye\n"}
    with pytest.raises(ClientError, match="because the processing job is in status Stopped"):
        client.sagemaker.stop_processing_job(ProcessingJobName=name)


def test_time_runs_out(client: Processing) -> None:
    job = client.run("sleep 60", StoppingCondition={"MaxRuntimeInSeconds": 1})
    assert job["ProcessingJobStatus"] == "Stopped"


def test_outputs_of_several_hosts_meet(client: Processing) -> None:
    uri, output = client.output()
    cluster = {"InstanceType": "ml.m5.large", "InstanceCount": 2, "VolumeSizeInGB": 1}
    job = client.run(
        f"cp {IN}/* {OUT}",
        ProcessingInputs=[an_input(client.put(a="1", b="2"), S3DataDistributionType="ShardedByS3Key")],
        ProcessingResources={"ClusterConfig": cluster},
        **output,
    )
    assert job["ProcessingJobStatus"] == "Completed"
    assert client.stored(uri) == {"a": b"1", "b": b"2"}


def test_a_name_is_taken_and_listed(client: Processing) -> None:
    name = client.end(client.create("true"))["ProcessingJobName"]
    taken = client.refusal(client.request("true", ProcessingJobName=name))
    assert "ResourceInUse" in taken
    assert "Job name must be unique within an AWS account and region" in taken
    listed = client.sagemaker.list_processing_jobs(NameContains=name, StatusEquals="Completed")
    assert [one["ProcessingJobName"] for one in listed["ProcessingJobSummaries"]] == [name]


def test_an_unknown_name_is_a_validation_error(client: Processing) -> None:
    with pytest.raises(ClientError, match=r"ValidationException.*Could not find requested job with name: no"):
        client.sagemaker.describe_processing_job(ProcessingJobName="no")


def test_a_quota_of_its_own(client: Processing) -> None:
    client.service.control("configure", {"processing_quotas": {"ml.m5.large": 0}})
    refused = client.refusal(client.request("true"))
    assert "ResourceLimitExceeded" in refused
    assert "'ml.m5.large for processing job usage' is 0 Instances" in refused


@pytest.mark.parametrize(
    ("inputs", "problem"),
    [
        ([an_input("s3://b/x", path="/tmp/x")], "Input data must have a LocalPath that begins with"),
        ([an_input("s3://b/x", path=f"{IN}/../../x")], "leads out of its directory"),
        ([an_input("s3://b/x"), an_input("s3://b/x", path=f"{IN}/2")], "Duplicate input name 'data'"),
        ([an_input("s3://b/x"), an_input("s3://b/x", "more")], "Duplicate LocalPath of the inputs"),
        ([an_input("s3://no-such-bucket/x")], 'No S3 objects found under S3 URL "s3://no-such-bucket/x"'),
        ([{"InputName": "data"}], "Input data must be in S3"),
    ],
)
def test_inputs_are_checked(client: Processing, inputs: list[dict[str, Any]], problem: str) -> None:
    refused = client.refusal(client.request("true", ProcessingInputs=inputs))
    assert "ValidationException" in refused
    assert problem in refused
