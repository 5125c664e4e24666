"""The ``/opt/ml`` of one host: where everything is, and the configuration files that a job finds there.

Names and contents as in the Developer Guide ("How Amazon SageMaker Provides Training Information") and as
seen in containers of the real service.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

OPT_ML = PurePosixPath("/opt/ml")
PROCESSING = OPT_ML / "processing"
CHECKPOINTS = OPT_ML / "checkpoints"
FAILURE_LIMIT = 1024  # characters of the failure file that become FailureReason
NETWORK_INTERFACE = "eth0"
HOMOGENEOUS = "homogeneousCluster"
LOOPBACK = ipaddress.IPv4Network("127.0.0.0/8")


class JobFailure(Exception):
    """Ends a job as Failed; the text becomes its FailureReason."""


@dataclass(frozen=True)
class Host:
    """One machine of a job: ``algo-1`` and so on, counted over all instance groups."""

    name: str
    instance_type: str
    group: str

    @property
    def index(self) -> int:
        """From 0."""
        return int(self.name.rpartition("-")[2]) - 1

    def address(self, job: str) -> str:
        """Where the other hosts of the job reach it.

        On Linux it is a loopback address of its own: jobs that run at the same time share this machine, and
        their hosts may listen on the same ports. Elsewhere there is only one.
        """
        if sys.platform != "linux":
            return "127.0.0.1"
        start = int.from_bytes(hashlib.sha256(job.encode()).digest()[:8], "big")
        return str(LOOPBACK[1 + (start + self.index) % (LOOPBACK.num_addresses - 2)])


def hosts_of(resources: Mapping[str, Any]) -> list[Host]:
    """The hosts of a ResourceConfig."""
    groups = resources.get("InstanceGroups") or [{**resources, "InstanceGroupName": HOMOGENEOUS}]
    types = [
        (group["InstanceType"], group["InstanceGroupName"])
        for group in groups
        for _ in range(group["InstanceCount"])
    ]
    return [
        Host(f"algo-{number}", instance_type, group)
        for number, (instance_type, group) in enumerate(types, start=1)
    ]


def addresses(resources: Mapping[str, Any], job: str) -> dict[str, str]:
    """Where the hosts of a job reach each other, by name."""
    return {host.name: host.address(job) for host in hosts_of(resources)}


@dataclass(frozen=True)
class Layout:
    """The directories of one host.

    Attributes:
        directory: of the host, made and removed by the service.
    """

    directory: Path

    @property
    def opt_ml(self) -> Path:
        """What the container sees as /opt/ml."""
        return self.directory / "ml"

    @property
    def workdir(self) -> Path:
        """For a container without an image: its working directory and temporary files."""
        return self.directory / "work"

    @property
    def model(self) -> Path:  # noqa: D102
        return self.opt_ml / "model"

    def overlaid(self) -> Iterable[str]:
        """The directories below /opt/ml that the platform lays over an image."""
        return ("model",)

    def mounts(self) -> dict[str, Path]:
        """What the platform lays over an image: path in the container to directory."""
        return {str(OPT_ML / name): self.opt_ml / name for name in self.overlaid()}

    def make(self) -> None:
        """Make the directories, the host's own too."""
        self.workdir.mkdir(parents=True)
        for name in self.overlaid():
            (self.opt_ml / name).mkdir(parents=True)


@dataclass(frozen=True)
class TrainingLayout(Layout):
    """Those of a host of a training job.

    Attributes:
        checkpoint_path: where the container has its checkpoints; None without CheckpointConfig.
    """

    checkpoint_path: PurePosixPath | None = None

    @property
    def config(self) -> Path:  # noqa: D102
        return self.opt_ml / "input" / "config"

    @property
    def output_data(self) -> Path:  # noqa: D102
        return self.opt_ml / "output" / "data"

    @property
    def failure(self) -> Path:
        """The file in which a command tells why it failed."""
        return self.opt_ml / "output" / "failure"

    @property
    def checkpoints(self) -> Path:
        """On this machine; below opt_ml if that is where the container has them."""
        path = self.checkpoint_path or CHECKPOINTS
        if path.is_relative_to(OPT_ML):
            return self.opt_ml / path.relative_to(OPT_ML)
        return self.directory / "checkpoints"

    def channel(self, name: str) -> Path:
        """Where an input channel lies."""
        return self.opt_ml / "input" / "data" / name

    def overlaid(self) -> Iterable[str]:
        """See :class:`Layout`."""
        return ("input", "output", "model")

    def mounts(self) -> dict[str, Path]:
        """See :class:`Layout`."""
        return {**super().mounts(), str(self.checkpoint_path or CHECKPOINTS): self.checkpoints}

    def make(self) -> None:
        """See :class:`Layout`."""
        super().make()
        for path in (self.config, self.channel("x").parent, self.output_data):
            path.mkdir()
        (self.opt_ml / "output" / "metrics" / "sagemaker").mkdir(parents=True)
        self.checkpoints.mkdir(parents=True, exist_ok=True)

    def write_config(self, request: Mapping[str, Any], host: Host) -> None:
        """Write the files of ``input/config`` for the host of a CreateTrainingJob request."""
        files = {
            "hyperparameters": request.get("HyperParameters", {}),
            "resourceconfig": resource_config(hosts_of(request["ResourceConfig"]), host),
            "inputdataconfig": input_data_config(request),
        }
        write_json(self.config, files)


@dataclass(frozen=True)
class ProcessingLayout(Layout):
    """Those of a host of a processing job."""

    @property
    def config(self) -> Path:  # noqa: D102
        return self.opt_ml / "config"

    @property
    def message(self) -> Path:
        """The file whose content becomes ExitMessage."""
        return self.opt_ml / "output" / "message"

    def place(self, local_path: str) -> Path:
        """Where the LocalPath of an input or an output is."""
        return self.opt_ml / PurePosixPath(local_path).relative_to(OPT_ML)

    def overlaid(self) -> Iterable[str]:
        """See :class:`Layout`."""
        return ("config", "processing", "output")

    def write_config(self, request: Mapping[str, Any], arn: str, host: Host) -> None:
        """Write the files of ``config`` for the host of a CreateProcessingJob request."""
        shown = {key: value for key, value in request.items() if key != "Tags"}
        hosts = hosts_of(request["ProcessingResources"]["ClusterConfig"])
        files = {
            "processingjobconfig": {"ProcessingJobArn": arn, **shown},
            "resourceconfig": {"current_host": host.name, "hosts": [one.name for one in hosts]},
        }
        write_json(self.config, files)


def write_json(directory: Path, files: Mapping[str, Any]) -> None:
    """A file for each of them."""
    for name, content in files.items():
        (directory / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")


def read_told(path: Path, limit: int = FAILURE_LIMIT) -> str:
    """What a command wrote into a file for the platform; empty if nothing.

    The file belongs to the job: it may be no file, or a link to somewhere on this machine.
    """
    if path.is_symlink() or not path.is_file():
        return ""
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.read(limit)


def resource_config(hosts: list[Host], current: Host) -> dict[str, Any]:
    """resourceconfig.json."""
    return {
        "current_group_name": current.group,
        "current_host": current.name,
        "current_instance_type": current.instance_type,
        "hosts": [host.name for host in hosts],
        "instance_groups": list(_instance_groups(hosts)),
        "network_interface_name": NETWORK_INTERFACE,
        "topology": None,
    }


def _instance_groups(hosts: list[Host]) -> Iterator[dict[str, Any]]:
    for group, instance_type in dict.fromkeys((host.group, host.instance_type) for host in hosts):
        yield {
            "hosts": [host.name for host in hosts if host.group == group],
            "instance_group_name": group,
            "instance_type": instance_type,
        }


def input_data_config(request: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """inputdataconfig.json: by channel, what is not set left out."""
    return {
        channel["ChannelName"]: _channel_config(request, channel)
        for channel in request.get("InputDataConfig", ())
    }


def _channel_config(request: Mapping[str, Any], channel: Mapping[str, Any]) -> dict[str, str]:
    source = channel["DataSource"].get("S3DataSource", {})
    config = {
        "ContentType": channel.get("ContentType"),
        "TrainingInputMode": input_mode(request, channel),
        "S3DistributionType": source.get("S3DataDistributionType", "FullyReplicated"),
        "RecordWrapperType": channel.get("RecordWrapperType", "None"),
    }
    return {name: value for name, value in config.items() if value is not None}


def input_mode(request: Mapping[str, Any], channel: Mapping[str, Any]) -> str:
    """File, FastFile or Pipe: the channel's own, else the job's."""
    mode: str = channel.get("InputMode") or request["AlgorithmSpecification"]["TrainingInputMode"]
    return mode


def environment(request: Mapping[str, Any], arn: str, host: Host, region: str) -> dict[str, str]:
    """The variables that the platform sets for training; the request's win. PATH is the image's."""
    return {
        "TRAINING_JOB_NAME": request["TrainingJobName"],
        "TRAINING_JOB_ARN": arn,
        "DMLC_INTERFACE": NETWORK_INTERFACE,
        "SAGEMAKER_METRICS_DIRECTORY": str(OPT_ML / "output" / "metrics" / "sagemaker"),
        **common_environment(request.get("Environment", {}), host.name, region),
    }


def common_environment(own: Mapping[str, str], hostname: str, region: str) -> dict[str, str]:
    """What every container has; ``own`` variables win."""
    return {"AWS_REGION": region, "AWS_EXECUTION_ENV": "AWS_ECS_EC2", "HOSTNAME": hostname, **own}
