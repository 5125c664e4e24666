"""Models in service, over the real wire."""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
import logging.handlers
import pickle
import queue
import signal
import subprocess
import sys
import tarfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import boto3
import numpy as np
import pytest

import smexec
from smexec import Deployment, Endpoint, SageMakerExecutor, Script, TrainingResult, errors
from smexec.aws import endpoints, jobs
from smexec.local import lease
from smexec.testing import LocalService

IMAGE = "server:1"
RUN = ["sh", str(Path(str(smexec.__file__)).parent / "images" / "any" / "run.sh"), "train"]
NUMBERS = itertools.count()
LISTS = {"list_endpoints": "Endpoints", "list_endpoint_configs": "EndpointConfigs", "list_models": "Models"}

Put = Callable[..., str]


@pytest.fixture
def service(smexec_service: LocalService) -> Iterator[LocalService]:
    """With an image that serves; nothing of a test's is left in it."""
    smexec_service.configure(image={IMAGE: str(Path(__file__).with_name("image"))})
    yield smexec_service
    assert left(smexec_service) == []


@pytest.fixture
def put(service: LocalService) -> Put:
    """Makes models that say a word; some of them do more."""

    def put_model(word: str = "iris") -> str:
        packed, content = io.BytesIO(), word.encode()
        with tarfile.open(fileobj=packed, mode="w:gz") as tar:
            member = tarfile.TarInfo("model.txt")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        key = f"models/{next(NUMBERS)}/model.tar.gz"
        service.client("s3").put_object(Bucket=service.bucket, Key=key, Body=packed.getvalue())
        return f"s3://{service.bucket}/{key}"

    return put_model


def left(service: LocalService) -> list[str]:
    """Names of all endpoints, configurations and models that there are."""
    client = service.client("sagemaker")
    answers = {member: getattr(client, operation)()[member] for operation, member in LISTS.items()}
    return sorted(entry[f"{member[:-1]}Name"] for member, entries in answers.items() for entry in entries)


def until_logged(endpoint: Endpoint, line: str) -> list[str]:
    """What it has written, once that line has come."""
    while line not in (lines := endpoint.logs()):
        time.sleep(0.05)
    return lines


def config_of(service: LocalService, endpoint: Endpoint) -> dict[str, Any]:
    client = service.client("sagemaker")
    name = client.describe_endpoint(EndpointName=endpoint.name)["EndpointConfigName"]
    config: dict[str, Any] = client.describe_endpoint_config(EndpointConfigName=name)
    return config


def test_a_model_is_deployed_asked_and_deleted(service: LocalService, put: Put) -> None:
    with smexec.deploy(put(), image_uri=IMAGE, tags={"team": "risk"}) as endpoint:
        assert endpoint.status == "InService"
        assert endpoint.predict("model") == "iris"
        assert endpoint.predict({"length": 0.5}) == {"length": 0.5}
        assert endpoint.predict([[1, 2.5, "a"]], content_type="csv") == [[1.0, 2.5, "a"]]
        assert np.array_equal(endpoint.predict(np.eye(2)), np.eye(2))
        assert endpoint.predict(b"\0\1") == b"\0\1"
        assert endpoint.predict(b"x,1", content_type="text/csv", accept="text/plain") == "x,1"
        assert until_logged(endpoint, "iris started as serve") == ["iris started as serve"]
        assert left(service) == [endpoint.name] * 3
    assert left(service) == []
    endpoint.delete()
    with pytest.raises(RuntimeError, match="was deleted"):
        endpoint.predict(1)


def test_what_the_container_says_of_its_failure_is_in_the_error(put: Put) -> None:
    with smexec.deploy(put(), image_uri=IMAGE) as endpoint:
        with pytest.raises(errors.ModelError):
            endpoint.predict("fail")
        until_logged(endpoint, "Error in predict(): no such column")  # that of the next may come later
        with pytest.raises(errors.ModelError) as caught:
            endpoint.predict("fail")
    error = caught.value
    assert (error.status, error.code, error.job_name) == (500, "ModelError", endpoint.name)
    assert "the model's container answered 500: no such column" in str(error)
    assert error.log_tail[-1] == "Error in predict(): no such column"


def test_lines_of_a_former_endpoint_of_its_name_are_not_its_own(service: LocalService, put: Put) -> None:
    for word in ("roses", "iris"):
        with smexec.deploy(put(word), image_uri=IMAGE, name="lines") as endpoint:
            while not (lines := endpoint.logs()):  # they come a moment after they are written
                pass
            assert lines == [f"{word} started as serve"]


def test_too_much_is_refused_before_it_is_sent(service: LocalService, put: Put) -> None:
    with smexec.deploy(put(), image_uri=IMAGE) as endpoint:
        service.reset_requests()
        with pytest.raises(errors.FormatError, match="Batch Transform"):
            endpoint.predict(bytes(6_291_457))
        assert service.requests()["sagemaker-runtime.InvokeEndpoint"] == 0
        assert len(endpoint.predict(bytes(6_291_456))) == 6_291_456


def test_predictions_that_are_put_off_are_asked_again(service: LocalService, put: Put) -> None:
    not_ready = {"code": "ModelNotReadyException", "message": "later", "status": 429}
    with smexec.deploy(put(), image_uri=IMAGE) as endpoint:
        service.fault("InvokeEndpoint", "throttle")
        service.fault("InvokeEndpoint", "error", **not_ready)
        service.fault("InvokeEndpoint", "drop")
        assert endpoint.predict([1]) == [1]
        assert service.requests()["sagemaker-runtime.InvokeEndpoint"] == 4


def test_an_endpoint_that_is_not_there_is_said_to_be_not_there(service: LocalService) -> None:
    endpoint = Endpoint.attach("abalone")
    with pytest.raises(errors.InvalidRequest, match=r"Endpoint abalone of account \d+ not found"):
        endpoint.predict(1)
    endpoint.delete()


def test_one_that_is_never_healthy_is_an_error_and_leaves_nothing(service: LocalService, put: Put) -> None:
    with pytest.raises(errors.EndpointFailed, match="did not pass the ping health check") as caught:
        smexec.deploy(put("crash"), image_uri=IMAGE)
    assert caught.value.log_tail[-1] == "Error: there is no package called plumber"
    assert str(caught.value.job_name).startswith("smexec-endpoint-")
    assert left(service) == []


def test_the_block_deletes_after_an_error_too(service: LocalService, put: Put) -> None:
    with pytest.raises(KeyboardInterrupt), smexec.deploy(put(), image_uri=IMAGE):
        raise KeyboardInterrupt
    assert left(service) == []


def use_up(service: LocalService, instance_type: str) -> None:
    """One more instance of that type is one too many."""
    service.fault(
        "CreateEndpoint",
        "error",
        code="ResourceLimitExceeded",
        message=f"The account-level service limit '{instance_type} for endpoint usage' is 2 Instances, with "
        "current utilization of 2 Instances and a request delta of 1 Instances.",
        status=400,
    )


def test_where_a_type_cannot_be_had_the_next_is_tried(service: LocalService, put: Put) -> None:
    use_up(service, "ml.c5.large")
    types = ["ml.c5.large", "ml.m5.large"]
    with smexec.deploy(put(), image_uri=IMAGE, instance_type=types, name="abalone") as endpoint:
        (variant,) = config_of(service, endpoint)["ProductionVariants"]
        assert (endpoint.name, variant["InstanceType"]) == ("abalone", "ml.m5.large")


def test_a_quota_that_is_used_up_is_not_waited_for(service: LocalService, put: Put) -> None:
    use_up(service, "ml.m5.large")
    with pytest.raises(errors.QuotaExceeded, match=r"quota for ml\.m5\.large is used up"):
        smexec.deploy(put(), image_uri=IMAGE)
    assert left(service) == []


@pytest.mark.parametrize("fault", ["drop", "drop-before", "internal", "throttle"])
def test_lost_answers_make_nothing_twice(
    service: LocalService, put: Put, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr(jobs, "_SOONEST", 0.0)
    for operation in (
        "CreateModel",
        "CreateEndpointConfig",
        "CreateEndpoint",
        "DeleteEndpoint",
        "DeleteModel",
    ):
        service.fault(operation, fault)
    with smexec.deploy(put(), image_uri=IMAGE) as endpoint:
        assert left(service) == [endpoint.name] * 3


def test_a_name_that_is_taken_is_an_error_and_its_endpoint_stays(service: LocalService, put: Put) -> None:
    with smexec.deploy(put(), image_uri=IMAGE, name="abalone") as endpoint:
        before = left(service)
        with pytest.raises(errors.InvalidRequest, match="already existing endpoint"):
            smexec.deploy(put("roses"), image_uri=IMAGE, name="abalone")
        assert left(service) == before
        assert endpoint.predict("model") == "iris"


def test_a_deployment_is_submitted_like_a_function(service: LocalService, put: Put) -> None:
    with SageMakerExecutor() as executor:
        future = executor.submit(Deployment(put(), image_uri=IMAGE))
        with future.result(60) as endpoint:
            assert endpoint.name == future.job_name
            assert endpoint.predict("model") == "iris"


def test_a_deployment_that_is_submitted_has_the_session_of_its_executor(put: Put) -> None:
    own, other = boto3.Session(region_name="us-east-1"), boto3.Session(region_name="eu-west-1")
    with SageMakerExecutor(session=own) as executor:
        with pytest.raises(errors.SettingsError, match="session is for a whole executor"):
            executor.submit(Deployment(put(), image_uri=IMAGE, session=other))
        with executor.submit(Deployment(put(), image_uri=IMAGE, session=own)).result(60) as endpoint:
            assert endpoint.predict("model") == "iris"
    with smexec.deploy(put(), image_uri=IMAGE, session=own) as endpoint:
        assert endpoint.predict("model") == "iris"


def test_a_deployment_that_is_cancelled_leaves_nothing(
    service: LocalService, put: Put, tmp_path: Path
) -> None:
    gate = {"GATE": str(tmp_path / "gate")}
    with SageMakerExecutor() as executor:
        slow = Deployment(put("slow"), image_uri=IMAGE, environment_variables=gate)
        future = executor.submit(slow)
        service.wait_for_requests(**{"sagemaker.CreateEndpoint": 1})
        assert future.cancel()
        service.wait_for_requests(**{"sagemaker.DeleteEndpoint": 1})
        (tmp_path / "gate").touch()  # one that is being created cannot be deleted
    assert future.cancelled()
    assert left(service) == []


TRAIN = """#!/bin/sh
printf trained > "${SMEXEC_OPT_ML:-/opt/ml}/model/model.txt"
"""


@pytest.fixture
def train(tmp_path: Path) -> Script:
    (tmp_path / "train.sh").write_text(TRAIN)
    (tmp_path / "train.sh").chmod(0o755)
    return Script("train.sh", source_dir=tmp_path, image_uri=IMAGE, container_entry_point=RUN)


def test_what_a_script_has_trained_is_deployed(service: LocalService, train: Script) -> None:
    with SageMakerExecutor(tags={"team": "risk"}) as executor:
        result = executor.submit(train).result(60)
    assert isinstance(result, TrainingResult)
    again = pickle.loads(pickle.dumps(result))
    assert again == result
    with again.deploy(instance_type="ml.t2.medium") as endpoint:
        assert endpoint.predict("model") == "trained"
        config = config_of(service, endpoint)
        assert config["ProductionVariants"][0]["InstanceType"] == "ml.t2.medium"


def test_what_a_script_has_trained_is_asked_by_batch_transform(service: LocalService, train: Script) -> None:
    service.client("s3").put_object(Bucket=service.bucket, Key="rows/1.csv", Body=b"1,2")
    with SageMakerExecutor() as executor:
        result = executor.submit(train).result(60)
    output = result.transform(f"s3://{service.bucket}/rows/", content_type="text/csv").output
    bucket, _, key = output.removeprefix("s3://").partition("/")
    answer = service.client("s3").get_object(Bucket=bucket, Key=f"{key.rstrip('/')}/1.csv.out")
    assert answer["Body"].read() == b"1,2"
    assert result.model is not None


def test_an_update_interrupts_nothing(service: LocalService, put: Put) -> None:
    with smexec.deploy(put(), image_uri=IMAGE) as endpoint:
        said, stop = [], threading.Event()

        def ask() -> None:
            while not stop.is_set():
                said.append(endpoint.predict("model"))

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            endpoint.update(put("roses"), instance_count=2)
        finally:
            stop.set()
            asking.join()
        assert set(said) <= {"iris", "roses"}
        assert endpoint.predict("model") == "roses"
        (variant,) = config_of(service, endpoint)["ProductionVariants"]
        assert variant["InitialInstanceCount"] == 2
        assert len(left(service)) == 3


def test_models_in_folders_are_served(service: LocalService, put: Put) -> None:
    for word in ("roses", "tulips"):
        key = f"folders/{word}/model.txt"
        service.client("s3").put_object(Bucket=service.bucket, Key=key, Body=word.encode())
    folders = f"s3://{service.bucket}/folders"
    with smexec.deploy(f"{folders}/roses/", image_uri=IMAGE) as endpoint:
        assert endpoint.predict("model") == "roses"
        endpoint.update(put())
        assert endpoint.predict("model") == "iris"
        endpoint.update(f"{folders}/tulips/")
        assert endpoint.predict("model") == "tulips"


def test_an_update_that_fails_leaves_all_as_it_was(service: LocalService, put: Put) -> None:
    service.configure(image={"sick:1": "/no/such/image"})
    with smexec.deploy(put(), image_uri=IMAGE) as endpoint:
        before = left(service)
        with pytest.raises(errors.EndpointFailed, match=r"serves as before: .*the image sick:1"):
            endpoint.update(image_uri="sick:1")
        assert endpoint.predict("model") == "iris"
        assert left(service) == before


def test_an_endpoint_is_found_by_its_name(service: LocalService, put: Put) -> None:
    name = smexec.deploy(put(), image_uri=IMAGE).name
    endpoint = Endpoint.attach(name)
    endpoint.update(instance_type="ml.c5.xlarge")
    assert config_of(service, endpoint)["ProductionVariants"][0]["InstanceType"] == "ml.c5.xlarge"
    assert endpoint.predict("model") == "iris"
    endpoint.delete()
    assert left(service) == []


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_hundred_predictions_at_once(put: Put, backend: str) -> None:
    async def main() -> None:
        answers: dict[int, Any] = {}

        async def ask(number: int) -> None:
            answers[number] = await endpoint.apredict({"number": number})

        async with await smexec.adeploy(put(), image_uri=IMAGE) as endpoint:
            async with anyio.create_task_group() as tasks:
                for number in range(100):
                    tasks.start_soon(ask, number)
            assert answers == {number: {"number": number} for number in range(100)}
            await endpoint.aupdate(instance_count=2)

    anyio.run(main, backend=backend)


def test_settings_are_those_of_the_request(service: LocalService, put: Put) -> None:
    with smexec.deploy(
        put(),
        image_uri=IMAGE,
        instance_count=2,
        volume_size=40,
        model_server_timeout=120,
        container_startup_health_check_timeout=300,
        environment_variables={"LEVEL": "3"},
        data_capture={"uri": f"s3://{service.bucket}/captured", "percentage": 50},
    ) as endpoint:
        config = config_of(service, endpoint)
        (variant,) = config["ProductionVariants"]
        assert variant["InitialInstanceCount"] == 2
        assert variant["VolumeSizeInGB"] == 40
        assert variant["ContainerStartupHealthCheckTimeoutInSeconds"] == 300
        assert config["DataCaptureConfig"]["InitialSamplingPercentage"] == 50
        model = service.client("sagemaker").describe_model(ModelName=endpoint.name)
        environment = {"LEVEL": "3", "SAGEMAKER_MODEL_SERVER_TIMEOUT": "120"}
        assert model["PrimaryContainer"]["Environment"] == environment


DEPLOY = """
    import sys, smexec
    _, model, gate = sys.argv
    smexec.deploy(model, image_uri="server:1", environment_variables={"GATE": gate})
"""


def test_a_deployment_that_is_interrupted_leaves_nothing(
    service: LocalService, put: Put, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    command = [sys.executable, "-c", textwrap.dedent(DEPLOY), put("slow"), str(gate)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        service.wait_for_requests(**{"sagemaker.CreateEndpoint": 1})
        process.send_signal(signal.SIGINT)
        service.wait_for_requests(**{"sagemaker.DeleteEndpoint": 1})
        gate.touch()  # one that is being created cannot be deleted
        _, said = process.communicate(timeout=60)
    assert said.rstrip().endswith("KeyboardInterrupt")


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_cancelled_task_leaves_no_endpoint_and_breaks_off_no_update(
    service: LocalService, put: Put, backend: str
) -> None:
    async def main() -> None:
        async with await smexec.adeploy(put(), image_uri=IMAGE) as endpoint:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(endpoint.aupdate, put("roses"))
                asked = {"sagemaker.UpdateEndpoint": 1}
                await anyio.to_thread.run_sync(lambda: service.wait_for_requests(**asked))
                tasks.cancel_scope.cancel()
            deleted = {"sagemaker.DeleteModel": 1}  # the former one
            await anyio.to_thread.run_sync(lambda: service.wait_for_requests(**deleted))
            assert await endpoint.apredict("model") == "roses"
            with anyio.CancelScope() as scope:
                async with endpoint:
                    scope.cancel()
                    await anyio.sleep_forever()
            deleted = {"sagemaker.DeleteModel": 2}
            await anyio.to_thread.run_sync(lambda: service.wait_for_requests(**deleted))
        with anyio.CancelScope() as scope:
            async with await smexec.adeploy(put(), image_uri=IMAGE) as endpoint:
                await endpoint.adelete()
                scope.cancel()
                await anyio.sleep_forever()

    anyio.run(main, backend=backend)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_deletion_goes_on_whoever_waits_for_it(service: LocalService, put: Put, backend: str) -> None:
    async def main() -> None:
        endpoint = await smexec.adeploy(put(), image_uri=IMAGE)
        service.reset_requests()
        service.fault("DescribeEndpoint", "delay", seconds=1)  # cancelled before it has deleted anything
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(endpoint.adelete)
            begun = {"sagemaker.DescribeEndpoint": 1}
            await anyio.to_thread.run_sync(lambda: service.wait_for_requests(**begun))
            tasks.cancel_scope.cancel()
        del endpoint
        while left(service):
            await anyio.sleep(0.05)

    anyio.run(main, backend=backend)


def test_a_deletion_that_nobody_waits_for_and_that_fails_is_told(service: LocalService, put: Put) -> None:
    told: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    handler = logging.handlers.QueueHandler(told)

    async def main(endpoint: Endpoint) -> None:
        with anyio.CancelScope() as scope:
            async with endpoint:
                scope.cancel()
                await anyio.sleep_forever()

    with smexec.deploy(put(), image_uri=IMAGE) as endpoint:
        service.fault("DescribeEndpoint", "denied")
        logging.getLogger("smexec").addHandler(handler)
        try:
            anyio.run(main, endpoint)
            said = told.get(timeout=60).getMessage()
        finally:
            logging.getLogger("smexec").removeHandler(handler)
        assert f"endpoint {endpoint.name} is left behind: DescribeEndpoint" in said


def test_errors_that_come_together_read_the_log_once(service: LocalService, put: Put) -> None:
    async def main(endpoint: Endpoint) -> None:
        async def fail() -> None:
            with pytest.raises(errors.ModelError):
                await endpoint.apredict("fail")

        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(fail)

    with smexec.deploy(put(), image_uri=IMAGE) as endpoint:
        service.reset_requests()
        service.fault("DescribeLogStreams", "delay", seconds=2, times=None)
        anyio.run(main, endpoint)
        assert service.requests()["logs.DescribeLogStreams"] < 25  # in whatever less than 48 seconds


SCALING = {"min": 1, "max": 4, "invocations_per_instance": 70}


def targets(service: LocalService) -> list[dict[str, Any]]:
    client = service.client("application-autoscaling")
    return list(client.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"])


def test_autoscaling_is_registered_while_the_endpoint_is_there(service: LocalService, put: Put) -> None:
    client = service.client("application-autoscaling")
    with smexec.deploy(put(), image_uri=IMAGE, autoscaling=SCALING) as endpoint:
        (target,) = targets(service)
        assert target["ResourceId"] == f"endpoint/{endpoint.name}/variant/AllTraffic"
        assert (target["MinCapacity"], target["MaxCapacity"]) == (1, 4)
        (policy,) = client.describe_scaling_policies(ServiceNamespace="sagemaker")["ScalingPolicies"]
        assert policy["PolicyType"] == "TargetTrackingScaling"
    assert targets(service) == []


def test_who_deletes_an_endpoint_ends_its_scaling(service: LocalService, put: Put) -> None:
    name = smexec.deploy(put(), image_uri=IMAGE, autoscaling=SCALING).name
    assert len(targets(service)) == 1
    Endpoint.attach(name).delete()
    assert targets(service) == []


def test_a_variant_of_any_name_has_its_scaling_ended(service: LocalService, put: Put) -> None:
    endpoint = smexec.deploy(put(), image_uri=IMAGE)
    service.client("sagemaker").create_endpoint_config(
        EndpointConfigName=f"{endpoint.name}-2",
        ProductionVariants=[
            {
                "VariantName": "blue",
                "ModelName": endpoint.name,
                "InstanceType": "ml.m5.large",
                "InitialInstanceCount": 1,
            }
        ],
    )
    service.client("sagemaker").delete_endpoint_config(EndpointConfigName=endpoint.name)
    service.client("sagemaker").update_endpoint(
        EndpointName=endpoint.name, EndpointConfigName=f"{endpoint.name}-2"
    )
    service.client("application-autoscaling").register_scalable_target(
        ServiceNamespace="sagemaker",
        ResourceId=f"endpoint/{endpoint.name}/variant/blue",
        ScalableDimension="sagemaker:variant:DesiredInstanceCount",
        MinCapacity=1,
        MaxCapacity=2,
    )
    endpoint.delete()
    assert targets(service) == []


@pytest.mark.parametrize(
    "fault",
    [{"kind": "denied"}, {"kind": "internal"}, {"kind": "error", "code": "ConcurrentUpdateException"}],
)
def test_a_scaling_that_cannot_be_ended_keeps_no_endpoint_alive(
    service: LocalService, put: Put, monkeypatch: pytest.MonkeyPatch, fault: dict[str, str]
) -> None:
    monkeypatch.setattr(endpoints, "_SCALING_PATIENCE", 0.0)
    service.reset_requests()
    service.fault("DeregisterScalableTarget", **fault)
    with smexec.deploy(put(), image_uri=IMAGE):
        pass
    assert service.requests()["application-autoscaling.DeregisterScalableTarget"] == 1
    assert left(service) == []


def test_an_endpoint_that_cannot_be_scaled_as_told_is_an_error_and_leaves_nothing(
    service: LocalService, put: Put
) -> None:
    service.fault("PutScalingPolicy", "denied")
    with pytest.raises(errors.AccessDenied, match="PutScalingPolicy"):
        smexec.deploy(put(), image_uri=IMAGE, autoscaling=SCALING)
    assert left(service) == []
    assert targets(service) == []


def test_what_is_trained_locally_is_served_locally_after_its_executor(
    train: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "LEASE_GRACE", 0.0)
    with contextlib.closing(lease.lease()) as held:
        images = {IMAGE: str(Path(__file__).with_name("image"))}
        lease.control(held.endpoint_url, "POST", "configure", {"image": images})
        with SageMakerExecutor(instance_type="local") as executor:
            result = executor.submit(train).result(60)
    with result.deploy(instance_type="ml.t3.medium") as endpoint:
        assert endpoint.predict("model") == "trained"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"model": "model.tar.gz"}, "s3://bucket"),
        ({"name": "a_b"}, "letters, digits and hyphens"),
        ({"data_capture": {"url": "s3://b"}}, "data_capture has uri"),
        ({"data_capture": {"uri": "b"}}, "s3://bucket"),
        ({"autoscaling": {"min": 1}}, "invocations_per_instance"),
        ({"autoscaling": {"min": 3, "max": 1, "invocations_per_instance": 70}}, "at most max"),
        ({"autoscaling": {**SCALING, "min": "1"}}, "min='1': it must be a whole number"),
        ({"autoscaling": {**SCALING, "invocations_per_instance": "70"}}, "'70': it must be a number above 0"),
        ({"autoscaling": {**SCALING, "scale_in_cooldown": -1}}, "scale_in_cooldown=-1: it must be a whole"),
        ({"data_capture": {"uri": "s3://bucket/c", "percentage": 250}}, "whole number from 0 to 100"),
        ({"instance_typ": "ml.m5.large"}, "instance_type"),
        ({"use_spot_instances": True}, "use_spot_instances is nothing that a deployment has"),
    ],
)
def test_what_a_deployment_cannot_have_is_said_where_it_is_given(given: dict[str, Any], said: str) -> None:
    with pytest.raises(errors.SettingsError, match=said):
        Deployment(**{"model": "s3://bucket/model.tar.gz", **given})


def test_without_an_image_there_is_no_deployment() -> None:
    with pytest.raises(errors.SettingsError, match="image_uri="):
        smexec.deploy("s3://bucket/model.tar.gz")
