"""Models and endpoints, seen as any client of AWS sees them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from smexec.local.containers import ProcessEngine
from smexec.local.layout import JobFailure
from smexec.local.serving_host import unpack
from tests.local.client import NUMBERS, Client

own_networks = pytest.mark.skipif(
    not asyncio.run(ProcessEngine().gives_networks()), reason="no network namespace is allowed here"
)


class Serving(Client):
    """Endpoints, in the words of these tests."""

    def __init__(self, service: Any) -> None:
        super().__init__(service)
        self.runtime = service.shared_client("sagemaker-runtime")
        self.made: list[str] = []

    def config(self, *models: str, **changes: Any) -> str:
        name = f"config-{next(NUMBERS)}"
        variants = [
            {
                "VariantName": f"v{number}",
                "ModelName": model,
                "InstanceType": "ml.t2.medium",
                "InitialInstanceCount": 1,
                **changes,
            }
            for number, model in enumerate(models, 1)
        ]
        self.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=variants)
        return name

    def create(self, config: str) -> str:
        name = f"endpoint-{next(NUMBERS)}"
        self.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=config)
        self.made.append(name)
        return name

    def wait(self, name: str, *statuses: str) -> dict[str, Any]:
        self.service.control("wait", {"endpoint": name, "statuses": statuses, "timeout": 90})
        described: dict[str, Any] = self.sagemaker.describe_endpoint(EndpointName=name)
        return described

    def endpoint(self, *models: str, **changes: Any) -> str:
        """One in service."""
        name = self.create(self.config(*(models or (self.model(),)), **changes))
        self.wait(name, "InService")
        return name

    def predict(self, name: str, body: str = "rows", **members: Any) -> str:
        members = {"ContentType": "text/csv", "Accept": "text/plain", **members}
        answer = self.runtime.invoke_endpoint(EndpointName=name, Body=body, **members)
        return str(answer["Body"].read().decode())

    def answers(self, name: str) -> bool:
        try:
            return bool(self.predict(name))
        except self.runtime.exceptions.ModelError:
            return False

    def wait_for_lines(self, name: str, *lines: str) -> None:
        """A container that runs may have written what is not in CloudWatch yet."""
        while self.lines(name) != [*lines]:
            pass

    def lines(self, name: str) -> list[str]:
        return self.logged(f"/aws/sagemaker/Endpoints/{name}")


@pytest.fixture
def client(aws: Any, serving_image: Path) -> Iterator[Serving]:
    """With an image that serves; its endpoints end with the test."""
    client = Serving(aws)
    yield client
    for name in client.made:
        with contextlib.suppress(ClientError):  # which has deleted it itself
            client.sagemaker.delete_endpoint(EndpointName=name)


def test_a_model_serves_until_its_endpoint_is_deleted(client: Serving) -> None:
    name = client.endpoint()
    endpoint = client.sagemaker.describe_endpoint(EndpointName=name)
    assert endpoint["EndpointArn"] == f"arn:aws:sagemaker:us-east-1:123456789012:endpoint/{name}"
    assert [variant["CurrentInstanceCount"] for variant in endpoint["ProductionVariants"]] == [1]
    answer = client.runtime.invoke_endpoint(
        EndpointName=name, Body=b"1,2", ContentType="text/csv", Accept="text/plain", CustomAttributes="id=7"
    )
    assert answer["Body"].read() == b"iris 1,2 text/csv text/plain"
    assert (answer["ContentType"], answer["InvokedProductionVariant"]) == ("text/plain", "v1")
    assert answer["CustomAttributes"] == "id=7"
    client.wait_for_lines(name, "started as serve")
    client.sagemaker.delete_endpoint(EndpointName=name)
    client.service.control("wait", {"endpoint": name, "statuses": ["Deleted"], "timeout": 90})
    refused = client.refused(client.sagemaker.describe_endpoint, EndpointName=name)
    assert f'Could not find endpoint "{endpoint["EndpointArn"]}".' in str(refused)
    refused = client.refused(client.predict, name)
    assert str(refused).endswith(f"Endpoint {name} of account 123456789012 not found.")
    assert refused.response["Error"]["Code"] == "ValidationError"


def test_a_container_is_asked_for_no_more_than_the_caller_asks_for(client: Serving) -> None:
    headers = client.predict(client.endpoint(), "headers")
    assert headers.split() == ["Accept", "Connection", "Content-Length", "Content-Type", "Host"]


def test_the_url_of_a_model_is_that_of_an_archive(client: Serving) -> None:
    folder = client.put(**{"model.txt": "iris"})
    for url in (folder, folder.rstrip("/"), f"{folder}model"):
        assert f"Could not find model data at {url}." in str(client.refused(client.model, ModelDataUrl=url))


@pytest.mark.parametrize(("status", "side"), [(415, "client"), (500, "server")])
def test_a_containers_error_is_a_model_error(client: Serving, status: int, side: str) -> None:
    name = client.endpoint()
    error = client.refused(client.predict, name, f"fail{status}")
    assert error.response["Error"]["Code"] == "ModelError"
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert error.response["OriginalStatusCode"] == status
    assert error.response["OriginalMessage"] == "no such column"
    said = f'Received {side} error ({status}) from primary with message "no such column". See https://'
    assert error.response["Error"]["Message"].startswith(said)
    assert error.response["LogStreamArn"].endswith(f":log-group:/aws/sagemaker/Endpoints/{name}")


def test_another_container_takes_the_place_of_one_that_dies(client: Serving) -> None:
    name = client.endpoint()
    error = client.refused(client.predict, name, "die")
    assert error.response["Error"]["Code"] == "ModelError"
    assert error.response["OriginalStatusCode"] == 0
    assert f"could not get a response from the {name} endpoint." in error.response["OriginalMessage"]
    client.wait_for_lines(name, "started as serve", "started as serve")
    while not client.answers(name):
        pass
    assert client.wait(name, "InService")["EndpointStatus"] == "InService"


def test_a_container_that_takes_too_long_is_a_model_error(client: Serving, tmp_path: Path) -> None:
    client.service.control("configure", {"invocation_timeout": 0.1})
    error = client.refused(client.predict, client.endpoint(), f"wait {tmp_path / 'for-ever'}")
    assert error.response["OriginalStatusCode"] == 0
    assert "Your invocation timed out while waiting for a response" in error.response["OriginalMessage"]


@own_networks
def test_containers_that_know_no_other_port_listen_on_8080_at_a_time(client: Serving) -> None:
    """The image listens on 8080 unless it is told another port."""
    names = [client.endpoint(client.model(content)) for content in ("first", "second")]
    assert [client.predict(name).split()[0] for name in names] == ["first", "second"]


@own_networks
def test_a_network_of_its_own_leads_to_the_service_but_not_from_isolation(client: Serving) -> None:
    url = f"{client.service.info['endpoint_url']}/_smexec/health"
    assert client.predict(client.endpoint(), f"reach {url}") == "200"
    isolated = client.endpoint(client.model(isolated=True))
    assert client.predict(isolated, f"reach {url}").startswith("not reached")


def test_where_there_are_no_networks_a_container_is_told_its_port(
    start_service: Any, serving_image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sockets cannot have paths as long as those of this service."""
    scratch = tmp_path / ("long" * 30)
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    with start_service(f"--image=server:1={serving_image}") as service:
        client = Serving(service)
        names = [client.endpoint(client.model(content)) for content in ("first", "second")]
        assert [client.predict(name).split()[0] for name in names] == ["first", "second"]


def test_a_body_can_have_six_mebibytes(client: Serving) -> None:
    name = client.endpoint()
    assert len(client.predict(name, "x" * 6_291_456)) > 6_291_456
    error = client.refused(client.predict, name, "x" * 6_291_457)
    assert error.response["Error"]["Code"] == "413"
    assert "HTTP content length exceeded 6291456 bytes." in str(error)


def test_an_update_serves_the_old_until_the_new_is_ready(client: Serving) -> None:
    name = client.endpoint()
    old = client.sagemaker.describe_endpoint(EndpointName=name)["EndpointConfigName"]
    new = client.config(client.model("roses"))
    client.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=new)
    assert client.predict(name).split()[0] in {"iris", "roses"}
    assert client.wait(name, "InService")["EndpointConfigName"] == new != old
    assert client.predict(name).startswith("roses")


def test_an_update_loses_no_request_that_the_old_has_begun(client: Serving, tmp_path: Path) -> None:
    name, told = client.endpoint(), tmp_path / "told"
    with ThreadPoolExecutor() as threads:
        answer = threads.submit(client.predict, name, f"wait {told}")
        while not told.with_suffix(".asked").exists():
            pass
        new = client.config(client.model("roses"))
        client.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=new)
        client.wait(name, "InService")
        assert client.predict(name).startswith("roses")
        told.touch()
        assert answer.result().startswith("iris")


def test_an_update_that_fails_leaves_the_old(client: Serving) -> None:
    name = client.endpoint()
    broken = client.config(client.model("roses"))
    client.service.control("configure", {"image": {"server:1": "/no/such/image"}})
    client.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=broken)
    endpoint = client.wait(name, "InService")
    assert "the image server:1 cannot be read" in endpoint["FailureReason"]
    assert client.predict(name).startswith("iris")


def test_a_container_that_ends_does_not_pass_the_health_check(client: Serving, serving_image: Path) -> None:
    (serving_image / "server.py").write_text("print('no such package')")
    endpoint = client.wait(client.create(client.config(client.model())), "Failed")
    assert endpoint["FailureReason"] == (
        "The primary container for production variant v1 did not pass the ping health check. "
        "Please check CloudWatch logs for this endpoint."
    )
    assert client.lines(endpoint["EndpointName"]) == ["no such package"]


def test_a_container_is_healthy_once_a_ping_is_answered_with_200(client: Serving) -> None:
    name = client.endpoint(client.model(Environment={"REFUSED_PINGS": "2"}))
    client.wait_for_lines(name, "started as serve", "not ready", "not ready")


def test_variants_can_be_asked_by_name(client: Serving) -> None:
    name = client.endpoint(client.model("first"), client.model("second"))
    assert client.predict(name, TargetVariant="v1").startswith("first")
    assert client.predict(name, TargetVariant="v2").startswith("second")
    assert "Variant v3" in str(client.refused(client.predict, name, TargetVariant="v3"))


def test_traffic_goes_where_the_weights_say(client: Serving) -> None:
    name = client.endpoint(client.model("first"), client.model("second"))
    weights = [{"VariantName": "v1", "DesiredWeight": 0}, {"VariantName": "v2", "DesiredInstanceCount": 3}]
    update = client.sagemaker.update_endpoint_weights_and_capacities
    update(EndpointName=name, DesiredWeightsAndCapacities=weights)
    assert weights_of(client.wait(name, "InService")) == [(0, 0, 1, 1), (1, 1, 3, 3)]
    assert {client.predict(name).split()[0] for _ in range(20)} == {"second"}
    assert client.predict(name, TargetVariant="v1").startswith("first")
    nobody = [{"VariantName": "v3", "DesiredWeight": 1}]
    refused = client.refused(update, EndpointName=name, DesiredWeightsAndCapacities=nobody)
    assert "has no production variant v3" in str(refused)
    none = [{"VariantName": "v2", "DesiredWeight": 0}]
    refused = client.refused(update, EndpointName=name, DesiredWeightsAndCapacities=none)
    assert "At least one variant must have a DesiredWeight above 0" in str(refused)
    client.service.control("configure", {"cold_start": 3600.0})
    update(EndpointName=name, DesiredWeightsAndCapacities=[{**weights[0], "DesiredWeight": 7}])
    endpoint = client.sagemaker.describe_endpoint(EndpointName=name)
    assert endpoint["EndpointStatus"] == "Updating"
    assert weights_of(endpoint) == [(0, 7, 1, 1), (1, 1, 3, 3)]


def weights_of(endpoint: dict[str, Any]) -> list[tuple[float, ...]]:
    members = ("CurrentWeight", "DesiredWeight", "CurrentInstanceCount", "DesiredInstanceCount")
    return [tuple(variant[one] for one in members) for variant in endpoint["ProductionVariants"]]


def test_an_update_retains_capacities_if_told_to(client: Serving) -> None:
    model = client.model()
    name, config = client.endpoint(model), client.config(model)
    three = [{"VariantName": "v1", "DesiredInstanceCount": 3, "DesiredWeight": 7}]
    client.sagemaker.update_endpoint_weights_and_capacities(
        EndpointName=name, DesiredWeightsAndCapacities=three
    )
    client.wait(name, "InService")
    client.sagemaker.update_endpoint(
        EndpointName=name,
        EndpointConfigName=config,
        RetainAllVariantProperties=True,
        ExcludeRetainedVariantProperties=[{"VariantPropertyType": "DesiredWeight"}],
    )
    assert weights_of(client.wait(name, "InService")) == [(1, 1, 3, 3)]


def test_endpoints_have_a_quota_for_both_sides_of_an_update(client: Serving) -> None:
    client.service.control("configure", {"endpoint_quotas": {"ml.t2.large": 0, "ml.c5.large": 2}})
    error = client.refused(client.create, client.config(client.model(), InstanceType="ml.t2.large"))
    assert error.response["Error"]["Code"] == "ResourceLimitExceeded"
    assert (
        "The account-level service limit 'ml.t2.large for endpoint usage' is 0 Instances, "
        "with current utilization of 0 Instances and a request delta of 1 Instances." in str(error)
    )
    model = client.model()
    name = client.endpoint(model, InstanceType="ml.c5.large")
    larger = client.config(model, InstanceType="ml.c5.large", InitialInstanceCount=2)
    error = client.refused(client.sagemaker.update_endpoint, EndpointName=name, EndpointConfigName=larger)
    assert "utilization of 1 Instances and a request delta of 2 Instances" in str(error)
    assert client.wait(name, "InService")["EndpointStatus"] == "InService"
    client.sagemaker.delete_endpoint(EndpointName=name)
    client.service.control("wait", {"endpoint": name, "statuses": ["Deleted"], "timeout": 90})
    client.endpoint(model, InstanceType="ml.c5.large", InitialInstanceCount=2)


def test_what_is_asked_and_answered_is_captured(client: Serving) -> None:
    uri, config = f"s3://{client.bucket}/captured", f"config-{next(NUMBERS)}"
    variant = {"VariantName": "v1", "ModelName": client.model(), "InstanceType": "ml.t2.medium"}
    client.sagemaker.create_endpoint_config(
        EndpointConfigName=config,
        ProductionVariants=[{**variant, "InitialInstanceCount": 1}],
        DataCaptureConfig={
            "InitialSamplingPercentage": 100,
            "DestinationS3Uri": uri,
            "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
            "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"]},
        },
    )
    name = client.create(config)
    endpoint = client.wait(name, "InService")
    assert endpoint["DataCaptureConfig"]["CaptureStatus"] == "Started"
    client.predict(name, "1,2", InferenceId="first")
    client.refused(client.predict, name, "fail500")
    client.sagemaker.delete_endpoint(EndpointName=name)
    client.service.control("wait", {"endpoint": name, "statuses": ["Deleted"], "timeout": 90})
    [(key, content)] = client.stored(f"{uri}/{name}/v1/").items()
    assert re.fullmatch(r"\d{4}/\d\d/\d\d/\d\d/\d\d-\d\d-\d{3}-[0-9a-f-]{36}\.jsonl", key)
    [line] = map(json.loads, content.splitlines())
    asked = {"observedContentType": "text/csv", "mode": "INPUT", "data": "1,2", "encoding": "CSV"}
    assert line["captureData"]["endpointInput"] == asked
    assert line["captureData"]["endpointOutput"]["encoding"] == "BASE64"
    assert line["eventMetadata"]["inferenceId"] == "first"


def test_an_endpoint_can_be_registered_for_autoscaling(client: Serving) -> None:
    scaling = client.service.client("application-autoscaling")
    target = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{client.endpoint()}/variant/v1",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }
    scaling.register_scalable_target(**target, MinCapacity=1, MaxCapacity=3)
    listed = scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
    assert target["ResourceId"] in [one["ResourceId"] for one in listed]
    counts = client.service.control("requests")
    assert counts["application-autoscaling.RegisterScalableTarget"] == 1


def test_names_are_taken_and_things_refer_to_each_other(client: Serving) -> None:
    sagemaker, model = client.sagemaker, client.model()
    container = {"Image": "server:1"}
    taken = client.refused(
        sagemaker.create_model, ModelName=model, PrimaryContainer=container, ExecutionRoleArn=client.role
    )
    assert "Cannot create already existing model" in str(taken)
    assert "Could not find model" in str(client.refused(client.config, "no-such-model"))
    assert "Could not find endpoint configuration" in str(client.refused(client.create, "no-such-config"))
    two = client.refused(
        sagemaker.create_model, ModelName="two", Containers=[container] * 2, ExecutionRoleArn=client.role
    )
    assert "no inference pipelines" in str(two)
    lost = client.refused(client.model, ModelDataUrl=f"s3://{client.bucket}/nothing.tar.gz")
    assert "Could not find model data at" in str(lost)


def test_what_there_is_can_be_listed_and_deleted(client: Serving) -> None:
    sagemaker, model = client.sagemaker, client.model()
    config = client.config(model)
    assert [one["ModelName"] for one in sagemaker.list_models(NameContains=model)["Models"]] == [model]
    configs = sagemaker.list_endpoint_configs(NameContains=config)["EndpointConfigs"]
    assert [one["EndpointConfigName"] for one in configs] == [config]
    described = sagemaker.describe_endpoint_config(EndpointConfigName=config)
    assert described["ProductionVariants"][0]["ModelName"] == model
    sagemaker.delete_endpoint_config(EndpointConfigName=config)
    sagemaker.delete_model(ModelName=model)
    assert "Could not find model" in str(client.refused(sagemaker.describe_model, ModelName=model))


def test_links_break_the_unpacking(tmp_path: Path) -> None:
    archive = tmp_path / "model.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        link = tarfile.TarInfo("secret")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(JobFailure, match="Failed to extract model data archive: secret"):
        unpack(archive, tmp_path / "model")


def test_nothing_is_unpacked_elsewhere(tmp_path: Path) -> None:
    archive = tmp_path / "model.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("../outside"))
    with pytest.raises(JobFailure, match="is no file or directory in it"):
        unpack(archive, tmp_path / "model")
    assert not (tmp_path / "outside").exists()
