"""A processing job's record: what CreateProcessingJob checks and fills in, what Describe and List show."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from smexec.local.checks import duplicates
from smexec.local.jobs import Job
from smexec.local.layout import PROCESSING
from smexec.local.resources import without_nulls


@dataclass(eq=False)
class ProcessingJob(Job):
    """One CreateProcessingJob request and all that has happened to it; see also :func:`with_defaults`.

    Attributes:
        exit_message: what the container wrote into /opt/ml/output/message.
    """

    kind: ClassVar[str] = "ProcessingJob"
    noun: ClassVar[str] = "processing job"
    quotas: ClassVar[str] = "processing_quotas"

    exit_message: str | None = None

    @property
    def resources(self) -> Mapping[str, Any]:
        """ClusterConfig."""
        cluster: Mapping[str, Any] = self.request["ProcessingResources"]["ClusterConfig"]
        return cluster

    @property
    def inputs(self) -> list[dict[str, Any]]:
        """The inputs that the platform brings; the others are the application's affair."""
        return [one for one in self.request.get("ProcessingInputs", ()) if not one.get("AppManaged")]

    @property
    def outputs(self) -> list[dict[str, Any]]:
        """The outputs that the platform takes."""
        outputs = self.request.get("ProcessingOutputConfig", {}).get("Outputs", ())
        return [one for one in outputs if not one.get("AppManaged")]

    def summary(self, now: float | None = None) -> dict[str, Any]:
        """The job's entry in ListProcessingJobs."""
        told = {"FailureReason": self.failure_reason, "ExitMessage": self.exit_message}
        return without_nulls({**super().summary(now), **told})


def with_defaults(request: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of CreateProcessingJob's members with what the service fills in, as Describe shows it later."""
    full = copy.deepcopy(dict(request))
    full.setdefault("StoppingCondition", {}).setdefault("MaxRuntimeInSeconds", 86_400)
    for one in full.get("ProcessingInputs", ()):
        one.setdefault("AppManaged", False)
        if "S3Input" in one:
            one["S3Input"].setdefault("S3InputMode", "File")
            one["S3Input"].setdefault("S3DataDistributionType", "FullyReplicated")
            one["S3Input"].setdefault("S3CompressionType", "None")
    for one in full.get("ProcessingOutputConfig", {}).get("Outputs", ()):
        one.setdefault("AppManaged", False)
    return full


def problems(request: Mapping[str, Any]) -> Iterator[str]:
    """What members of a CreateProcessingJob request that depend on each other have wrong."""
    inputs = request.get("ProcessingInputs", ())
    outputs = request.get("ProcessingOutputConfig", {}).get("Outputs", ())
    yield from duplicates("input name", [one["InputName"] for one in inputs])
    yield from duplicates("output name", [one["OutputName"] for one in outputs])
    yield from duplicates("tag key", [tag["Key"] for tag in request.get("Tags", ())])
    for one in inputs:
        yield from _place_problems(f"Input {one['InputName']}", one, one.get("S3Input"))
    for one in outputs:
        yield from _place_problems(f"Output {one['OutputName']}", one, one.get("S3Output"))
    taken = [one["S3Input"].get("LocalPath", "").rstrip("/") for one in inputs if "S3Input" in one]
    yield from duplicates("LocalPath of the inputs", [path for path in taken if path])


def _place_problems(what: str, one: Mapping[str, Any], in_s3: Mapping[str, Any] | None) -> Iterator[str]:
    if one.get("AppManaged"):
        return
    if in_s3 is None:
        yield f"{what} must be in S3 unless it is AppManaged."
    elif not in_s3.get("LocalPath", "").startswith(f"{PROCESSING}/"):
        yield f"{what} must have a LocalPath that begins with {PROCESSING}/."
    elif ".." in in_s3["LocalPath"].split("/"):
        yield f"{what} has a LocalPath that leads out of its directory."
