"""The life of jobs, seen as any client of AWS sees it."""

from __future__ import annotations

import asyncio
import io
import json
import sys
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from smexec.local.config import ServiceConfig
from smexec.local.containers import Container, Spec
from smexec.local.host import HostRun, Surroundings
from smexec.local.limits import WarmPools
from smexec.local.run import CAPACITY_ERROR, INTERNAL_ERROR, Platform, Run, run_job
from smexec.local.training import TrainingJob, with_defaults
from smexec.local.training_run import TrainingRun
from smexec.local.transfer import Storage
from tests.local.client import Client

WAIT = "echo up; while :; do sleep 0.01; done"
SPOT = {
    "EnableManagedSpotTraining": True,
    "StoppingCondition": {"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 3600},
}


class Training(Client):
    """boto3 and the control API, in the words of these tests."""

    def create(self, script: str, **changes: Any) -> str:
        """Start a job whose command is a shell script; its name."""
        request = self.service.job("sh", "-c", script, **changes)
        self.sagemaker.create_training_job(**request)
        name: str = request["TrainingJobName"]
        return name

    def started(self, script: str, **changes: Any) -> str:
        """The same, once it has told the logs that it is up."""
        self.service.control("requests", method="DELETE")
        name = self.create(script, **changes)
        self.service.wait(name, "Training")
        while "up" not in self.lines(name):
            pass
        return name

    def run(self, script: str, **changes: Any) -> dict[str, Any]:
        """Describe a job that has ended."""
        return self.end(self.create(script, **changes))

    def end(self, name: str) -> dict[str, Any]:
        self.service.wait(name)
        described: dict[str, Any] = self.sagemaker.describe_training_job(TrainingJobName=name)
        return described

    def stop(self, name: str) -> dict[str, Any]:
        self.sagemaker.stop_training_job(TrainingJobName=name)
        return self.end(name)

    def interrupt(self, name: str, kind: str) -> None:
        self.service.control("interrupt", {"job": name, "kind": kind})

    def lines(self, name: str, host: str = "algo-1") -> list[str]:
        """What a host has written, over all attempts."""
        return self.logged("/aws/sagemaker/TrainingJobs", f"{name}/{host}-")

    def output(self, name: str) -> dict[str, bytes]:
        return self.stored(f"s3://{self.bucket}/output/{name}/output/")


@pytest.fixture
def client(aws: Any) -> Training:
    return Training(aws)


def statuses(job: dict[str, Any]) -> list[str]:
    return [transition["Status"] for transition in job["SecondaryStatusTransitions"]]


def channel(uri: str, name: str = "train", **changes: Any) -> dict[str, Any]:
    source = {"S3DataType": "S3Prefix", "S3Uri": uri, **changes.pop("source", {})}
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}, **changes}


def unpacked(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        files = {member.name: tar.extractfile(member) for member in tar if member.isfile()}
        return {name: file.read() for name, file in files.items() if file}


class TestALife:
    def test_its_statuses(self, client: Training) -> None:
        job = client.run("true")
        assert job["TrainingJobStatus"] == "Completed"
        assert statuses(job) == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
        assert "FailureReason" not in job

    def test_an_image_of_the_services_own_is_told_to_train(self, client: Training, tmp_path: Path) -> None:
        (tmp_path / "image.json").write_text('{"entrypoint": ["echo", "asked to"]}')
        client.service.control("configure", {"image": {"echo:1": str(tmp_path)}})
        request = client.service.job()
        request["AlgorithmSpecification"]["TrainingImage"] = "echo:1"
        client.sagemaker.create_training_job(**request)
        assert client.end(request["TrainingJobName"])["TrainingJobStatus"] == "Completed"
        assert client.lines(request["TrainingJobName"]) == ["asked to train"]

    def test_its_metrics(self, client: Training) -> None:
        request = client.service.job("sh", "-c", "echo 'loss=2;'; echo 'loss=0.5;'")
        request["AlgorithmSpecification"]["MetricDefinitions"] = [
            {"Name": "train:loss", "Regex": "loss=(.*?);"},
            {"Name": "rmse", "Regex": "rmse=(.*?);"},
        ]
        client.sagemaker.create_training_job(**request)
        job = client.end(request["TrainingJobName"])
        [metric] = job["FinalMetricDataList"]
        assert (metric["MetricName"], metric["Value"]) == ("train:loss", 0.5)
        assert job["CreationTime"] <= metric["Timestamp"] <= job["TrainingEndTime"]

    def test_its_output(self, client: Training) -> None:
        job = client.run(
            "echo m > /opt/ml/model/m; mkdir -p /opt/ml/output/data/x; echo d > /opt/ml/output/data/x/d"
        )
        output = client.output(job["TrainingJobName"])
        assert unpacked(output["model.tar.gz"]) == {"m": b"m\n"}
        assert unpacked(output["output.tar.gz"]) == {"x/d": b"d\n"}
        assert job["ModelArtifacts"]["S3ModelArtifacts"].endswith("/output/model.tar.gz")

    def test_its_output_uncompressed(self, client: Training) -> None:
        output = {"S3OutputPath": f"s3://{client.bucket}/output", "CompressionType": "NONE"}
        job = client.run("echo m > /opt/ml/model/m", OutputDataConfig=output)
        assert client.output(job["TrainingJobName"]) == {"model/m": b"m\n"}

    def test_its_channels(self, client: Training) -> None:
        uri = client.put(**{"a": "1", "deep/b": "2"})
        script = "cd /opt/ml/input/data; find . -type f | sort; cat one/a; cat ../config/inputdataconfig.json"
        job = client.run(script, InputDataConfig=[channel(uri), channel(uri + "a", "one")])
        *files, last = client.lines(job["TrainingJobName"])
        assert files == ["./one/a", "./train/a", "./train/deep/b"]
        assert last.startswith("1{")
        assert set(json.loads(last[1:])) == {"train", "one"}

    def test_its_logs_are_complete_when_its_end_is_seen(self, client: Training) -> None:
        job = client.run("i=0; while [ $i -lt 2000 ]; do echo $i; i=$((i+1)); done; printf end")
        lines = client.lines(job["TrainingJobName"])
        assert lines == [str(number) for number in range(2000)] + ["end"]

    def test_its_log_stream(self, client: Training) -> None:
        job = client.run("echo x")
        name = job["TrainingJobName"]
        streams = client.logs.describe_log_streams(
            logGroupName="/aws/sagemaker/TrainingJobs", logStreamNamePrefix=f"{name}/"
        )["logStreams"]
        assert len(streams) == 1
        milliseconds = int(streams[0]["logStreamName"].removeprefix(f"{name}/algo-1-"))
        created = job["CreationTime"].timestamp()
        assert created <= milliseconds / 1000 + 0.001 <= job["TrainingEndTime"].timestamp() + 0.001

    def test_its_environment_leads_to_the_service(self, client: Training) -> None:
        job = client.run(
            "env; curl -fs $AWS_CONTAINER_CREDENTIALS_FULL_URI || true", Environment={"MINE": "x y"}
        )
        lines = client.lines(job["TrainingJobName"])
        url = client.service.info["endpoint_url"]
        assert f"AWS_ENDPOINT_URL={url}" in lines
        assert f"AWS_CONTAINER_CREDENTIALS_FULL_URI={url}/_smexec/credentials" in lines
        assert f"TRAINING_JOB_ARN={job['TrainingJobArn']}" in lines
        assert "MINE=x y" in lines
        assert "AWS_SECRET_ACCESS_KEY" not in "".join(lines)

    def test_its_command_can_use_aws(self, client: Training) -> None:
        listed = "boto3.client('s3', region_name='us-east-1').list_buckets()['Buckets']"
        code = f"import boto3; [print(bucket['Name']) for bucket in {listed}]"
        request = client.service.job(sys.executable, "-c", code)
        client.sagemaker.create_training_job(**request)
        job = client.end(request["TrainingJobName"])
        assert job["TrainingJobStatus"] == "Completed", client.lines(request["TrainingJobName"])
        assert client.bucket in client.lines(request["TrainingJobName"])

    def test_arguments(self, client: Training) -> None:
        request = client.service.job("echo")
        request["AlgorithmSpecification"]["ContainerArguments"] = ["a b", "c"]
        client.sagemaker.create_training_job(**request)
        client.end(request["TrainingJobName"])
        assert client.lines(request["TrainingJobName"]) == ["a b c"]

    def test_nothing_of_it_stays_on_the_machine(self, client: Training) -> None:
        leave = "echo x > file; echo y > $TMPDIR/y; mkdir secret; echo z > secret/z; chmod 0 secret"
        job = client.run(f"{leave}; pwd")
        (place,) = client.lines(job["TrainingJobName"])
        (own,) = [path for path in Path(place).parents if path.parent.name.startswith("smexec-local-")]
        while own.exists():  # the status is seen before the last file is gone
            time.sleep(0.01)


class TestFailures:
    def test_with_a_reason(self, client: Training) -> None:
        script = "printf 'too cold' > /opt/ml/output/failure; echo d > /opt/ml/output/data/d; exit 3"
        job = client.run(script)
        assert job["TrainingJobStatus"] == job["SecondaryStatus"] == "Failed"
        assert job["FailureReason"] == "AlgorithmError: too cold, exit code: 3"
        assert statuses(job)[-2:] == ["Uploading", "Failed"]
        assert unpacked(client.output(job["TrainingJobName"])["output.tar.gz"]) == {"d": b"d\n"}

    def test_without_a_reason(self, client: Training) -> None:
        assert client.run("exit 1")["FailureReason"] == "AlgorithmError: , exit code: 1"

    def test_a_killed_command(self, client: Training) -> None:
        assert client.run("kill -9 $$")["FailureReason"] == "AlgorithmError: , exit code: 137"

    def test_a_killed_container(self, client: Training) -> None:
        name = client.started(WAIT)
        client.interrupt(name, "kill")
        assert client.end(name)["FailureReason"] == "AlgorithmError: , exit code: 137"

    def test_a_failure_file_of_a_job_that_succeeds_says_nothing(self, client: Training) -> None:
        job = client.run("echo no > /opt/ml/output/failure")
        assert job["TrainingJobStatus"] == "Completed"

    def test_no_such_program(self, client: Training) -> None:
        request = client.service.job("no-such-program")
        client.sagemaker.create_training_job(**request)
        assert client.end(request["TrainingJobName"])["FailureReason"].endswith("exit code: 127")

    def test_an_image_without_an_entry_point(self, client: Training) -> None:
        request = client.service.job()
        client.sagemaker.create_training_job(**request)
        job = client.end(request["TrainingJobName"])
        assert job["FailureReason"].startswith("ClientError: the process engine has no image image:tag")

    def test_input_that_has_gone_meanwhile(self, client: Training) -> None:
        client.service.control("configure", {"capacity_errors": {"ml.m5.large": -1}})
        uri = client.put(a="1")
        name = client.create("true", InputDataConfig=[channel(uri)], **SPOT)
        client.s3.delete_object(Bucket=client.bucket, Key=uri.split("/", 3)[3] + "a")
        client.service.control("configure", {"capacity_errors": {"ml.m5.large": None}})
        job = client.end(name)
        assert job["FailureReason"].startswith("ClientError: Data download failed")
        assert statuses(job) == ["Starting", "Downloading", "Failed"]

    def test_output_that_cannot_be_kept(self, client: Training) -> None:
        nowhere = {"S3OutputPath": "s3://no-such-bucket/output"}
        job = client.run("echo m > /opt/ml/model/m", OutputDataConfig=nowhere)
        assert job["FailureReason"].startswith("ClientError: Artifact upload failed")
        job = client.run("echo m > /opt/ml/model/m; exit 2", OutputDataConfig=nowhere)
        assert job["FailureReason"] == "AlgorithmError: , exit code: 2"

    def test_capacity(self, client: Training) -> None:
        client.service.control("configure", {"capacity_errors": {"ml.m5.large": 1}})
        job = client.run("true")
        assert job["FailureReason"] == CAPACITY_ERROR
        assert statuses(job) == ["Starting", "Failed"]
        assert "TrainingStartTime" not in job
        assert client.run("true")["TrainingJobStatus"] == "Completed"

    def test_the_platform(self, client: Training) -> None:
        name = client.started(WAIT)
        client.interrupt(name, "internal-error")
        assert client.end(name)["FailureReason"] == INTERNAL_ERROR


class TestStops:
    def test_a_command_that_listens(self, client: Training) -> None:
        client.service.control("configure", {"stop_grace": 3600.0})
        name = client.started(f"trap 'echo bye; echo m > /opt/ml/model/m; exit 1' TERM; {WAIT}")
        job = client.stop(name)
        assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "Stopped")
        assert statuses(job)[2:] == ["Training", "Stopping", "Uploading", "Stopped"]
        assert client.lines(name) == ["up", "bye"]
        assert unpacked(client.output(name)["model.tar.gz"]) == {"m": b"m\n"}

    def test_a_command_that_does_not(self, client: Training) -> None:
        client.service.control("configure", {"stop_grace": 0.1})
        name = client.started(f"trap '' TERM; {WAIT}")
        assert client.stop(name)["TrainingJobStatus"] == "Stopped"

    @pytest.mark.parametrize("phase", ["Starting", "Downloading", "Training"])
    def test_in_any_phase(self, client: Training, phase: str) -> None:
        client.service.control("configure", {"delays": {phase: 3600.0}})
        name = client.create("echo up")
        client.service.wait(name, phase)
        job = client.stop(name)
        phases = ["Starting", "Downloading", "Training"]
        uploading = ["Uploading"] if phase == "Training" else []
        assert statuses(job) == [*phases[: phases.index(phase) + 1], "Stopping", *uploading, "Stopped"]

    def test_max_runtime(self, client: Training) -> None:
        job = client.run(WAIT, StoppingCondition={"MaxRuntimeInSeconds": 1})
        assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")


class TestSpot:
    def test_an_interrupted_job_goes_on_with_its_checkpoints(self, client: Training) -> None:
        uri = client.put(state="0\n")
        script = (
            "cd /opt/ml/checkpoints; cat state; ls /opt/ml/model; echo m > /opt/ml/model/m; "
            f"grep -q 1 state && exit 0; echo 1 > state; {WAIT}"
        )
        name = client.started(script, CheckpointConfig={"S3Uri": uri}, **SPOT)
        client.interrupt(name, "interrupt")
        job = client.end(name)
        assert statuses(job) == [
            "Starting", "Downloading", "Training", "Interrupted",
            "Starting", "Downloading", "Training", "Uploading", "Completed",
        ]  # fmt: skip
        # A new machine: what was not a checkpoint is not there.
        assert client.lines(name) == ["0", "up", "1"]
        assert client.stored(uri) == {"state": b"1\n"}

    def test_it_waits_for_capacity(self, client: Training) -> None:
        client.service.control("configure", {"capacity_errors": {"ml.m5.large": 3}})
        assert client.run("true", **SPOT)["TrainingJobStatus"] == "Completed"

    def test_but_not_for_ever(self, client: Training) -> None:
        client.service.control("configure", {"capacity_errors": {"ml.m5.large": -1}})
        limits = {"MaxRuntimeInSeconds": 1, "MaxWaitTimeInSeconds": 1}
        job = client.run("true", **{**SPOT, "StoppingCondition": limits})
        assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxWaitTimeExceeded")


class TestRetries:
    def test_an_error_of_the_platform_is_tried_again(self, client: Training) -> None:
        name = client.started(f"mkdir /opt/ml/model/x; {WAIT}", RetryStrategy={"MaximumRetryAttempts": 1})
        client.interrupt(name, "internal-error")
        client.service.wait(name, "Restarting", "Training")
        client.service.wait(name, "Training")
        while client.lines(name) != ["up", "up"]:
            pass
        client.interrupt(name, "internal-error")
        job = client.end(name)
        assert statuses(job).count("Restarting") == 1
        assert job["FailureReason"] == INTERNAL_ERROR

    def test_an_error_of_the_command_is_not(self, client: Training) -> None:
        job = client.run("echo up; exit 1", RetryStrategy={"MaximumRetryAttempts": 3})
        assert client.lines(job["TrainingJobName"]) == ["up"]


def on(count: int) -> dict[str, Any]:
    return {"ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": count, "VolumeSizeInGB": 1}}


class TestSeveralHosts:
    def test_each_knows_itself_and_the_others(self, client: Training) -> None:
        script = (
            'grep -o \'"current_host": "[^"]*"\\|"hosts": [^]]*]\' /opt/ml/input/config/resourceconfig.json'
        )
        name = client.run(f"{script}; echo $HOSTNAME > /opt/ml/model/$HOSTNAME", **on(2))["TrainingJobName"]
        for host in ("algo-1", "algo-2"):
            assert client.lines(name, host)[0] == f'"current_host": "{host}"'
        assert set(unpacked(client.output(name)["model.tar.gz"])) == {"algo-1", "algo-2"}

    def test_they_end_together(self, client: Training) -> None:
        name = client.create(f"if [ $HOSTNAME = algo-2 ]; then exit 4; fi; {WAIT}", **on(3))
        assert client.end(name)["FailureReason"] == "AlgorithmError: , exit code: 4"

    def test_they_are_stopped_together(self, client: Training) -> None:
        name = client.started(WAIT, **on(2))
        assert client.stop(name)["TrainingJobStatus"] == "Stopped"

    def test_shards(self, client: Training) -> None:
        uri = client.put(**{name: name for name in "abcde"})
        sharded = channel(uri, source={"S3DataDistributionType": "ShardedByS3Key"})
        name = client.run("ls /opt/ml/input/data/train", InputDataConfig=[sharded], **on(2))[
            "TrainingJobName"
        ]
        assert client.lines(name, "algo-1") == ["a", "c", "e"]
        assert client.lines(name, "algo-2") == ["b", "d"]

    def test_groups(self, client: Training) -> None:
        groups = [
            {"InstanceGroupName": name, "InstanceType": "ml.m5.large", "InstanceCount": 1}
            for name in ("a", "b")
        ]
        uri = client.put(x="1")
        only = channel(uri, source={"InstanceGroupNames": ["b"]})
        resources = {"InstanceGroups": groups, "VolumeSizeInGB": 1}
        name = client.run("ls /opt/ml/input/data", InputDataConfig=[only], ResourceConfig=resources)[
            "TrainingJobName"
        ]
        assert client.lines(name, "algo-1") == []
        assert client.lines(name, "algo-2") == ["train"]


class TestInputModes:
    def test_fast_file(self, client: Training) -> None:
        uri = client.put(a="1")
        job = client.run(
            "cat /opt/ml/input/data/train/a", InputDataConfig=[channel(uri, InputMode="FastFile")]
        )
        assert client.lines(job["TrainingJobName"]) == ["1"]

    def test_pipe(self, client: Training) -> None:
        uri = client.put(a="1\n", b="2\n")
        script = "cd /opt/ml/input/data; cat train_0; cat train_1"
        job = client.run(script, InputDataConfig=[channel(uri, InputMode="Pipe")])
        assert client.lines(job["TrainingJobName"]) == ["1", "2", "1", "2"]

    def test_a_pipe_that_nobody_reads(self, client: Training) -> None:
        uri = client.put(a="1")
        assert (
            client.run("true", InputDataConfig=[channel(uri, InputMode="Pipe")])["TrainingJobStatus"]
            == "Completed"
        )

    def test_a_pipe_that_breaks(self, client: Training, tmp_path: Path) -> None:
        uri = client.put(a="1")
        read = f"until [ -e {tmp_path}/go ]; do sleep 0.01; done; cat /opt/ml/input/data/train_0"
        name = client.started(f"echo up; {read}; {WAIT}", InputDataConfig=[channel(uri, InputMode="Pipe")])
        client.s3.delete_object(Bucket=client.bucket, Key=uri.split("/", 3)[3] + "a")
        (tmp_path / "go").touch()
        # Less than all of the data must not look like all of it.
        assert client.end(name)["FailureReason"].startswith("ClientError: Data download failed")


class TestIsolation:
    def test_no_endpoint_and_no_credentials_but_input_and_output(self, client: Training) -> None:
        uri = client.put(a="1\n")
        script = "cat /opt/ml/input/data/train/a; env; echo m > /opt/ml/model/m"
        job = client.run(script, EnableNetworkIsolation=True, InputDataConfig=[channel(uri)])
        lines = client.lines(job["TrainingJobName"])
        assert lines[0] == "1"
        assert not [line for line in lines if line.startswith(("AWS_ENDPOINT", "AWS_CONTAINER"))]
        assert "model.tar.gz" in client.output(job["TrainingJobName"])


class TestWarmPools:
    def test_a_warm_start_does_not_wait_for_a_machine(self, client: Training) -> None:
        resources = {**on(1)["ResourceConfig"], "KeepAlivePeriodInSeconds": 600, "VolumeSizeInGB": 7}
        first = client.run("true", ResourceConfig=resources)
        assert first["WarmPoolStatus"]["Status"] == "Available"
        client.service.control("configure", {"cold_start": 3600.0, "capacity_errors": {"ml.m5.large": -1}})
        second = client.run("true", ResourceConfig=resources)
        assert second["TrainingJobStatus"] == "Completed"
        reused = client.sagemaker.describe_training_job(TrainingJobName=first["TrainingJobName"])
        assert reused["WarmPoolStatus"]["ReusedByJob"] == second["TrainingJobName"]


class BrokenEngine:
    """An engine with a defect."""

    def prepare(self) -> None:
        """Nothing."""

    async def gives_networks(self) -> bool:
        return False

    async def start(self, spec: Spec) -> Container:
        raise ZeroDivisionError(spec.name)


class Held(HostRun):
    """A host that runs until it is told to end."""

    def __init__(self) -> None:
        self.runs, self.ends = asyncio.Event(), asyncio.Event()

    async def prepare(self) -> None:
        """Nothing."""

    async def run(self) -> int:
        self.runs.set()
        await self.ends.wait()
        return 0

    def terminate(self) -> None:
        self.ends.set()

    def kill(self) -> None:
        self.ends.set()

    def failure_reason(self, code: int) -> str:
        raise AssertionError(code)


class HeldRun(Run[TrainingJob]):
    """A job of one such host."""

    def __init__(self, job: TrainingJob, platform: Platform) -> None:
        super().__init__(job, platform)
        self.host = Held()
        self.uploads, self.uploaded = asyncio.Event(), asyncio.Event()

    def hosts(self, directory: Path) -> list[HostRun]:
        return [self.host]

    async def keep(self, hosts: Sequence[Any], directory: Path) -> None:
        self.uploads.set()
        await self.uploaded.wait()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
class TestTime:
    @pytest.fixture
    def run(self, aws: Any, tmp_path: Path) -> HeldRun:
        config = ServiceConfig()
        around = Surroundings(BrokenEngine(), Storage(None), None, "us-east-1", "http://127.0.0.1:1", Path())
        job = TrainingJob(with_defaults(aws.job("true")), "arn")
        return HeldRun(job, Platform(config, tmp_path, WarmPools(config), around))

    async def leap(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An hour ahead, which is the MaxRuntime of the job; all that waits for that happens."""
        loop = asyncio.get_running_loop()
        now = loop.time
        monkeypatch.setattr(loop, "time", lambda: now() + 3600)
        await asyncio.sleep(0.01)

    async def test_training_ends_when_it_is_over(self, run: HeldRun, monkeypatch: pytest.MonkeyPatch) -> None:
        running = asyncio.create_task(run_job(run))
        await run.host.runs.wait()
        assert not run.host.ends.is_set()
        await self.leap(monkeypatch)
        assert run.host.ends.is_set()
        run.uploaded.set()
        await running
        assert run.job.secondary_status == "MaxRuntimeExceeded"

    async def test_uploading_takes_the_time_it_takes(
        self, run: HeldRun, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        running = asyncio.create_task(run_job(run))
        run.host.ends.set()
        await run.uploads.wait()
        await self.leap(monkeypatch)
        run.uploaded.set()
        await running
        assert run.job.secondary_status == "Completed"


@pytest.mark.anyio
class TestADefectOfOurs:
    async def test_ends_the_job_as_the_services_own_do(
        self, tmp_path: Path, aws: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        job = TrainingJob(with_defaults(aws.job("true")), "arn")
        config = ServiceConfig()
        around = Surroundings(BrokenEngine(), Storage(None), None, "us-east-1", "http://127.0.0.1:1", Path())
        await run_job(TrainingRun(job, Platform(config, tmp_path, WarmPools(config), around)))
        assert job.failure_reason == INTERNAL_ERROR
        assert "ZeroDivisionError" in caplog.text
        assert list(tmp_path.iterdir()) == []
