"""Processings: programs that an image runs as a Processing Job, from inputs in S3 to outputs there.

Where things are is the SageMaker SDK's convention: the code and the inputs below
``/opt/ml/processing/input``, each in a directory of its own, the outputs below ``/opt/ml/processing/output``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

from smexec.core.cargo import Cargo
from smexec.core.errand import Errand
from smexec.core.jobtype import PROCESSING
from smexec.core.postmortem import exit_message, why
from smexec.core.request import Request, tags, vpc
from smexec.core.run import Keys, Run
from smexec.core.settings import OF_TRAINING_JOBS, Settings
from smexec.core.work import Folder, Outcome, Place
from smexec.errors import ScriptError, SettingsError

CODE_INPUT = "code"
INPUT, OUTPUT = "/opt/ml/processing/input", "/opt/ml/processing/output"
CODE = f"{INPUT}/{CODE_INPUT}"
#: Settings that a Processing Job has no member for.
IDLE = OF_TRAINING_JOBS
LONGEST = 777_600  # seconds that one may run; this and what follows: the service's model
_VARIABLE_LIMIT = 256
_INTERPRETERS = {".r": "Rscript", ".py": "python3", ".sh": "sh"}


@dataclass(frozen=True)
class ProcessingResult:
    """What a Processing Job has left.

    :ivar outputs: name → the S3 URI below which it is; nothing is there if it wrote nothing
    :ivar exit_message: what it wrote to ``/opt/ml/output/message``
    """

    job_name: str
    outputs: Mapping[str, str]
    exit_message: str | None = None


@dataclass(frozen=True, kw_only=True)
class Orders:
    """What a job is started with, beside code and settings.

    :ivar entrypoint: in place of the image's own; empty: that one
    :ivar arguments: of the entry point; empty, where that is the image's own: the image's own
    :ivar inputs: as the API has them
    :ivar folders: further inputs → digests of folders that are uploaded
    :ivar outputs: as the API has them; where no S3 URI is given, they go below the run's prefix
    """

    entrypoint: Sequence[str] = ()
    arguments: Sequence[str] = ()
    inputs: Sequence[Mapping[str, Any]] = ()
    folders: Mapping[str, str] = field(default_factory=dict)
    outputs: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class ProcessingCargo(Cargo):
    """What a program's job is told."""

    settings: Settings
    orders: Orders
    type = PROCESSING

    def requests(self, job: str, run: Run, place: Place, left: Iterable[int] = ()) -> Sequence[Request]:  # noqa: ARG002
        """One: the job."""
        settings = self.settings
        keys = Keys(place.root, run.id, settings.s3_kms_key)
        request: dict[str, Any] = {
            "ProcessingJobName": job,
            "AppSpecification": self._application(place),
            "RoleArn": place.role,
            "ProcessingInputs": [*self.orders.inputs, *self._folders(keys)],
            "ProcessingResources": {"ClusterConfig": _cluster(settings, place)},
            "StoppingCondition": {"MaxRuntimeInSeconds": settings.max_runtime_in_seconds},
            "NetworkConfig": _network(settings),
        }
        if self.orders.outputs:
            request["ProcessingOutputConfig"] = self._outputs(job, keys)
        if settings.environment_variables:
            request["Environment"] = dict(settings.environment_variables)
        return [Request("CreateProcessingJob", request | tags(settings))]

    def ended(self, description: Mapping[str, Any], found: Collection[str]) -> Outcome:  # noqa: ARG002
        """What is Completed has a result, and nothing else has."""
        if description["ProcessingJobStatus"] != "Completed":
            return Outcome(error=why(description, PROCESSING))
        outputs = description.get("ProcessingOutputConfig", {}).get("Outputs", ())
        uris = {one["OutputName"]: one["S3Output"]["S3Uri"] for one in outputs if "S3Output" in one}
        return Outcome(
            value=ProcessingResult(description["ProcessingJobName"], uris, exit_message(description))
        )

    def _application(self, place: Place) -> dict[str, Any]:
        members = {
            "ImageUri": place.image_uri,
            "ContainerEntrypoint": list(self.orders.entrypoint),
            "ContainerArguments": list(self.orders.arguments),
        }
        return {name: value for name, value in members.items() if value}

    def _folders(self, keys: Keys) -> list[Mapping[str, Any]]:
        return [input_from(name, keys.folder(sha256)) for name, sha256 in self.orders.folders.items()]

    def _outputs(self, job: str, keys: Keys) -> dict[str, Any]:
        outputs = [_located(one, keys.output_folder(job, one["OutputName"])) for one in self.orders.outputs]
        key = self.settings.s3_kms_key
        return {"Outputs": outputs, "KmsKeyId": key} if key else {"Outputs": outputs}


def _located(output: Mapping[str, Any], uri: str) -> Mapping[str, Any]:
    if "S3Output" not in output:
        return output
    return {**output, "S3Output": {"S3Uri": uri, **output["S3Output"]}}


def _cluster(settings: Settings, place: Place) -> dict[str, Any]:
    cluster: dict[str, Any] = {
        "InstanceType": place.instance_type,
        "InstanceCount": settings.instance_count,
        "VolumeSizeInGB": settings.volume_size,
    }
    if settings.volume_kms_key:
        cluster["VolumeKmsKeyId"] = settings.volume_kms_key
    return cluster


def _network(settings: Settings) -> dict[str, Any]:
    network: dict[str, Any] = {
        "EnableNetworkIsolation": settings.enable_network_isolation,
        "EnableInterContainerTrafficEncryption": settings.encrypt_inter_container_traffic,
    }
    return network | {"VpcConfig": vpc(settings)} if settings.subnets else network


def errand(orders: Orders, settings: Settings, inputs: Mapping[str, Folder], name: str) -> Errand:
    """A processing with its arguments, as a call.

    :param inputs: those whose files are uploaded, the code among them
    :param name: of the program, for people
    """
    orders = replace(orders, folders={name: folder.sha256 for name, folder in inputs.items()})
    return Errand(
        type=PROCESSING,
        settings=settings,
        prefix=settings.job_name_prefix or f"smexec-{name}",
        layers=list(inputs.values()),
        cargo=lambda _: ProcessingCargo(settings, orders),
    )


def input_from(name: str, uri: str) -> dict[str, Any]:
    """An input: all objects below the URI, as files in a directory of this name."""
    source = {"S3Uri": uri, "LocalPath": f"{INPUT}/{name}", "S3DataType": "S3Prefix", "S3InputMode": "File"}
    return {"InputName": name, "S3Input": source}


def output_to(name: str, uri: str | None) -> dict[str, Any]:
    """An output: all files in a directory of this name, when the job ends."""
    target = {"LocalPath": f"{OUTPUT}/{name}", "S3UploadMode": "EndOfJob"}
    return {"OutputName": name, "S3Output": {"S3Uri": uri, **target} if uri else target}


def command_line(program: str, command: Sequence[str] | None, *, in_directory: bool) -> Orders:
    """What starts a program.

    :param command: that runs it; None: the one that its name asks for; empty: the image's entry point
    :param in_directory: it is one file of several, among which it is to find itself
    :raises ScriptError: its name asks for none
    """
    path = f"{CODE}/{program}"
    if command is None:
        command = [_interpreter(program)]
    if not command:
        return Orders(arguments=[path])
    line = [*command, path]
    return Orders(entrypoint=["sh", "-c", 'cd "$0" && exec "$@"', CODE, *line] if in_directory else line)


def _interpreter(program: str) -> str:
    ending = PurePosixPath(program).suffix
    if ending.lower() not in _INTERPRETERS:
        known = ", ".join(f"{name} for {end}" for end, name in _INTERPRETERS.items())
        raise ScriptError(
            f"nothing says what runs {program}: give command=[…], or command=() for the image's own entry "
            f"point, which then gets its path ({known} go without saying)"
        )
    return _INTERPRETERS[ending.lower()]


def check_settings(settings: Settings) -> None:
    """:raises SettingsError: Training Jobs take what Processing Jobs do not"""
    if settings.max_runtime_in_seconds > LONGEST:
        raise SettingsError(
            f"max_runtime_in_seconds={settings.max_runtime_in_seconds}: a Processing Job may run for "
            f"{LONGEST} seconds, nine days"
        )
    for name, value in settings.environment_variables:
        if max(len(name), len(value)) > _VARIABLE_LIMIT:
            raise SettingsError(
                f"environment_variables: {name} and its value may have {_VARIABLE_LIMIT} characters each in "
                "a Processing Job"
            )
