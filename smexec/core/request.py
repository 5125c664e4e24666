"""Settings and a cargo → the members of CreateTrainingJob. Limits and forms: botocore's model."""

from __future__ import annotations

from typing import Any

from smexec.core.run import Keys, Run
from smexec.core.settings import Settings
from smexec.core.work import Cargo, Place
from smexec.worker import protocol

_HYPERPARAMETER_LIMIT = 2500
_BY_MANIFEST = (protocol.SHARED_CHANNEL, protocol.VALUES_CHANNEL)

# Starts the worker once its digest holds: it comes from a bucket that others may be able to write to, and the
# request is the one thing that does not. Nothing is imported from the working directory, which is the
# image's. Any Python can run this; an item is one line of at most 256 characters.
_BOOT = (
    "import sys;sys.path[:1]==['']and sys.path.pop(0);import hashlib,runpy;p,d=sys.argv[1:];"
    "hashlib.sha256(open(p,'rb').read()).hexdigest()==d or sys.exit('smexec: the worker was changed: '+p);"
    "runpy.run_path(p,run_name='__main__')"
)


def create_training_job(
    cargo: Cargo, job: str, run: Run, place: Place, todo: str | None = None
) -> dict[str, Any]:
    """The whole request. It holds neither functions nor arguments: they come by channels.

    :param todo: which calls are to run, sealed, if the cargo is another job's (see ``worker.todo``)
    """
    settings = cargo.settings
    keys = Keys(place.root, run.id)
    request: dict[str, Any] = {
        "TrainingJobName": job,
        "AlgorithmSpecification": {
            "TrainingImage": place.image_uri,
            "TrainingInputMode": "File",
            "ContainerEntrypoint": [place.python, "-c", _BOOT, _worker_path(), cargo.worker_sha256],
        },
        "RoleArn": place.role,
        "InputDataConfig": _channels(cargo, keys),
        "OutputDataConfig": _output(settings, keys),
        "ResourceConfig": _resources(settings, place.instance_type),
        "StoppingCondition": _limits(settings),
        "HyperParameters": _orders(cargo, run, keys, todo),
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


def _worker_path() -> str:
    return f"/opt/ml/input/data/{protocol.WORKER_CHANNEL}/{protocol.WORKER_FILE}"


def _channels(cargo: Cargo, keys: Keys) -> list[dict[str, Any]]:
    channels = {
        protocol.WORKER_CHANNEL: keys.worker_file(cargo.worker_sha256),
        protocol.BATCH_CHANNEL: keys.batch(cargo.job),
    }
    if cargo.settings.s3_kms_key:
        channels[protocol.KEY_CHANNEL] = keys.run_key
    if cargo.shares:
        channels[protocol.SHARED_CHANNEL] = keys.manifest(cargo.job)
    if cargo.takes:
        channels[protocol.VALUES_CHANNEL] = keys.values(cargo.job)
    return [
        {
            "ChannelName": name,
            "DataSource": {
                "S3DataSource": {
                    "S3DataType": "ManifestFile" if name in _BY_MANIFEST else "S3Prefix",
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


def _orders(cargo: Cargo, run: Run, keys: Keys, todo: str | None) -> dict[str, str]:
    """What the worker is told. With a KMS key the signing key goes by a channel, encrypted."""
    orders = {
        protocol.RUN: run.id,
        protocol.EVENTS: keys.events,
        protocol.FUNCTION: " ".join(cargo.function.split())[:_HYPERPARAMETER_LIMIT],  # a line
        protocol.ISOLATED: "true" if cargo.settings.enable_network_isolation else "false",
    }
    if todo:
        orders[protocol.TODO] = todo
    if cargo.settings.s3_kms_key:
        orders[protocol.SSE_KMS_KEY] = cargo.settings.s3_kms_key
    else:
        orders[protocol.KEY] = run.key.hex()
    return orders
