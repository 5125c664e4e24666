"""Settings and a batch → the members of CreateTrainingJob. Limits and forms: botocore's model."""

from __future__ import annotations

from typing import Any

from smexec.core.run import Keys, Run
from smexec.core.settings import Settings
from smexec.core.work import Batch, Place
from smexec.worker import protocol

#: Real accounts must name a real type; the local service takes any and runs on this machine.
_LOCAL_TYPE = "ml.m5.large"
_HYPERPARAMETER_LIMIT = 2500

# Starts the worker once its digest holds: it comes from a bucket that others may be able to write to, and the
# request is the one thing that does not. Nothing is imported from the working directory, which is the
# image's. Any Python can run this; an item is one line of at most 256 characters.
_BOOT = (
    "import sys;sys.path[:1]==['']and sys.path.pop(0);import hashlib,runpy;p,d=sys.argv[1:];"
    "hashlib.sha256(open(p,'rb').read()).hexdigest()==d or sys.exit('smexec: the worker was changed: '+p);"
    "runpy.run_path(p,run_name='__main__')"
)


def create_training_job(
    batch: Batch, job: str, run: Run, place: Place, worker_sha256: str, *, shares: bool = False
) -> dict[str, Any]:
    """The whole request. It holds neither functions nor arguments: they come by channels.

    :param shares: whether the batch has shared sections, listed in its manifest
    """
    settings = batch.settings
    keys = Keys(place.root, run.id)
    request: dict[str, Any] = {
        "TrainingJobName": job,
        "AlgorithmSpecification": {
            "TrainingImage": place.image_uri,
            "TrainingInputMode": "File",
            "ContainerEntrypoint": [place.python, "-c", _BOOT, _worker_path(), worker_sha256],
        },
        "RoleArn": place.role,
        "InputDataConfig": _channels(settings, keys, job, worker_sha256, shares=shares),
        "OutputDataConfig": _output(settings, keys),
        "ResourceConfig": _resources(settings),
        "StoppingCondition": _limits(settings),
        "RetryStrategy": {"MaximumRetryAttempts": settings.max_retry_attempts},
        "HyperParameters": _orders(batch, run, keys),
        "EnableNetworkIsolation": settings.enable_network_isolation,
        "EnableInterContainerTrafficEncryption": settings.encrypt_inter_container_traffic,
        "EnableManagedSpotTraining": settings.use_spot_instances,
    }
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


def _worker_path() -> str:
    return f"/opt/ml/input/data/{protocol.WORKER_CHANNEL}/{protocol.WORKER_FILE}"


def _channels(
    settings: Settings, keys: Keys, job: str, worker_sha256: str, *, shares: bool
) -> list[dict[str, Any]]:
    channels = {
        protocol.WORKER_CHANNEL: keys.worker_file(worker_sha256),
        protocol.BATCH_CHANNEL: keys.batch(job),
    }
    if settings.s3_kms_key:
        channels[protocol.KEY_CHANNEL] = keys.run_key
    if shares:
        channels[protocol.SHARED_CHANNEL] = keys.manifest(job)
    return [
        {
            "ChannelName": name,
            "DataSource": {
                "S3DataSource": {
                    "S3DataType": "ManifestFile" if name == protocol.SHARED_CHANNEL else "S3Prefix",
                    "S3Uri": uri,
                    "S3DataDistributionType": "FullyReplicated",
                }
            },
        }
        for name, uri in channels.items()
    ]


def _output(settings: Settings, keys: Keys) -> dict[str, Any]:
    output = {
        "S3OutputPath": keys.output,
        "CompressionType": "NONE" if settings.disable_output_compression else "GZIP",
    }
    if settings.s3_kms_key:
        output["KmsKeyId"] = settings.s3_kms_key
    return output


def _resources(settings: Settings) -> dict[str, Any]:
    resources: dict[str, Any] = {
        "InstanceType": _LOCAL_TYPE if settings.is_local else settings.instance_type,
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


def _orders(batch: Batch, run: Run, keys: Keys) -> dict[str, str]:
    """What the worker is told. With a KMS key the signing key goes by a channel, encrypted."""
    orders = {
        protocol.RUN: run.id,
        protocol.EVENTS: keys.events,
        protocol.FUNCTION: " ".join(batch.function.split())[:_HYPERPARAMETER_LIMIT],  # a line
        protocol.ISOLATED: "true" if batch.settings.enable_network_isolation else "false",
    }
    if batch.settings.s3_kms_key:
        orders[protocol.SSE_KMS_KEY] = batch.settings.s3_kms_key
    else:
        orders[protocol.KEY] = run.key.hex()
    return orders
