"""Settings and orders → requests to the service. Limits and forms: botocore's model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from smexec.core.run import Keys, Run
from smexec.core.settings import Settings
from smexec.core.work import Place


class Request(NamedTuple):
    """Of the service's API, or of what scales its endpoints.

    :ivar operation: ``CreateTrainingJob``
    :ivar members: of its input
    """

    operation: str
    members: Mapping[str, Any]

    @property
    def service(self) -> str:
        """Whose operation it is, as boto calls it."""
        return "application-autoscaling" if "Scal" in self.operation else "sagemaker"


class Order(NamedTuple):
    """What differs between requests for Training Jobs that have the same settings.

    :ivar begun_by: the job that began the work; its own, unless that one was cut short
    :ivar algorithm: members of AlgorithmSpecification beside image and mode
    :ivar channels: InputDataConfig
    :ivar hyperparameters: HyperParameters
    """

    begun_by: str
    algorithm: Mapping[str, Any]
    channels: Sequence[Mapping[str, Any]]
    hyperparameters: Mapping[str, str]


def create_training_job(settings: Settings, job: str, run: Run, place: Place, order: Order) -> Request:
    """The whole request."""
    keys = Keys(place.root, run.id)
    request: dict[str, Any] = {
        "TrainingJobName": job,
        "AlgorithmSpecification": {
            "TrainingImage": place.image_uri,
            "TrainingInputMode": "File",
            **order.algorithm,
        },
        "RoleArn": place.role,
        "InputDataConfig": list(order.channels),
        "OutputDataConfig": _output(settings, keys),
        "ResourceConfig": _resources(settings, place.instance_type),
        "StoppingCondition": _limits(settings),
        "HyperParameters": dict(order.hyperparameters),
        "EnableNetworkIsolation": settings.enable_network_isolation,
        "EnableInterContainerTrafficEncryption": settings.encrypt_inter_container_traffic,
        "EnableManagedSpotTraining": settings.use_spot_instances,
    }
    if settings.max_retry_attempts:
        request["RetryStrategy"] = {"MaximumRetryAttempts": settings.max_retry_attempts}
    if settings.max_retry_attempts or settings.use_spot_instances:
        # The platform may start the job again: then it goes on where it was. Another job goes on there, too.
        request["CheckpointConfig"] = {"S3Uri": keys.checkpoints(order.begun_by)}
    if settings.environment_variables:
        request["Environment"] = dict(settings.environment_variables)
    if settings.subnets:
        request["VpcConfig"] = vpc(settings)
    return Request("CreateTrainingJob", request | tags(settings))


def tags(settings: Settings) -> dict[str, Any]:
    """The member Tags, if there are any."""
    return {"Tags": [{"Key": key, "Value": value} for key, value in settings.tags]} if settings.tags else {}


def vpc(settings: Settings) -> dict[str, Any]:
    """A VpcConfig."""
    return {"Subnets": list(settings.subnets), "SecurityGroupIds": list(settings.security_group_ids)}


def channel(name: str, uri: str, *, manifest: bool = False) -> dict[str, Any]:
    """An input channel: all objects below the URI, or those of the manifest there, for every instance."""
    return {
        "ChannelName": name,
        "DataSource": {
            "S3DataSource": {
                "S3DataType": "ManifestFile" if manifest else "S3Prefix",
                "S3Uri": uri,
                "S3DataDistributionType": "FullyReplicated",
            }
        },
    }


def _output(settings: Settings, keys: Keys) -> dict[str, Any]:
    output = {
        "S3OutputPath": keys.output,
        "CompressionType": "NONE" if settings.disable_output_compression else "GZIP",
    }
    if settings.s3_kms_key:
        output["KmsKeyId"] = settings.s3_kms_key
    return output


def _resources(settings: Settings, instance_type: str) -> dict[str, Any]:
    resources: dict[str, Any] = {
        "InstanceType": instance_type,
        "InstanceCount": settings.instance_count,
        "VolumeSizeInGB": settings.volume_size,
    }
    if settings.keep_alive_period_in_seconds:
        resources["KeepAlivePeriodInSeconds"] = settings.keep_alive_period_in_seconds
    if settings.volume_kms_key:
        resources["VolumeKmsKeyId"] = settings.volume_kms_key
    return resources


def _limits(settings: Settings) -> dict[str, int]:
    limits = {"MaxRuntimeInSeconds": settings.max_runtime_in_seconds}
    if settings.use_spot_instances:
        limits["MaxWaitTimeInSeconds"] = settings.max_wait_time_in_seconds or settings.max_runtime_in_seconds
    return limits
