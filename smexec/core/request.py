"""Settings and a cargo → the members of CreateTrainingJob. Limits and forms: botocore's model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from smexec.core.cargo import Cargo
from smexec.core.run import Keys, Run
from smexec.core.settings import Settings
from smexec.core.work import Place


def create_training_job(
    cargo: Cargo, job: str, run: Run, place: Place, left: Iterable[int] = ()
) -> dict[str, Any]:
    """The whole request.

    :param left: which calls of the cargo have no outcome, if another job has begun it
    """
    settings = cargo.settings
    keys = Keys(place.root, run.id)
    order = cargo.order(job, run, place, left)
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
        request["CheckpointConfig"] = {"S3Uri": keys.checkpoints(cargo.job)}
    if settings.environment_variables:
        request["Environment"] = dict(settings.environment_variables)
    if settings.tags:
        request["Tags"] = [{"Key": key, "Value": value} for key, value in settings.tags]
    if settings.subnets:
        request["VpcConfig"] = {
            "Subnets": list(settings.subnets),
            "SecurityGroupIds": list(settings.security_group_ids),
        }
    return request


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
