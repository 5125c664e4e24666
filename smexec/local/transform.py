"""A transform job's record, and how it cuts its input into requests and puts the answers together."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from smexec.local.jobs import Job
from smexec.local.resources import without_nulls
from smexec.local.serving import Model

MEGABYTE = 1_048_576
MAX_RUNTIME = 432_000  # that of the account: a transform job has no limit of its own


@dataclass(eq=False)
class TransformJob(Job):
    """One CreateTransformJob request and all that has happened to it; see also :func:`with_defaults`.

    Attributes:
        model: as it was when the job was created.
    """

    kind: ClassVar[str] = "TransformJob"
    noun: ClassVar[str] = "transform job"
    quotas: ClassVar[str] = "transform_quotas"

    model: Model | None = None

    @property
    def resources(self) -> Mapping[str, Any]:
        """TransformResources."""
        resources: Mapping[str, Any] = self.request["TransformResources"]
        return resources

    @property
    def max_runtime(self) -> int:
        """See :class:`Job`."""
        return MAX_RUNTIME

    def summary(self, now: float | None = None) -> dict[str, Any]:
        """The job's entry in ListTransformJobs."""
        return without_nulls({**super().summary(now), "FailureReason": self.failure_reason})


def with_defaults(request: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of CreateTransformJob's members with what the service fills in, as Describe shows it later."""
    full = copy.deepcopy(dict(request))
    full.setdefault("MaxConcurrentTransforms", 1)
    full.setdefault("MaxPayloadInMB", 6)
    full["TransformInput"].setdefault("CompressionType", "None")
    full["TransformInput"].setdefault("SplitType", "None")
    full["TransformOutput"].setdefault("AssembleWith", "None")
    if full["TransformInput"]["SplitType"] != "None":
        full.setdefault("BatchStrategy", "MultiRecord")
    return full


def problems(request: Mapping[str, Any]) -> Iterator[str]:
    """What the local service cannot do of a CreateTransformJob request."""
    given = request["TransformInput"]
    if given.get("SplitType", "None") not in {"None", "Line"}:
        yield f"The local service has no SplitType {given['SplitType']}."
    if given.get("CompressionType", "None") != "None":
        yield "The local service has no compressed input for transform jobs."
    if "DataProcessing" in request:
        yield "The local service has no DataProcessing."


def model_problems(model: Model) -> Iterator[str]:
    """Why no transform job can ask a model. Source of the text: reported by users."""
    if any("ModelDataSource" in container for container in model.containers):
        yield (
            "SageMaker Batch currently doesn't support Model entity with container definitions which use "
            "ModelDataSource attribute"
        )


def payloads(content: bytes, request: Mapping[str, Any]) -> list[bytes]:
    """The bodies of the requests for one object.

    Raises:
        ValueError: a record is larger than MaxPayloadInMB.
    """
    limit = request["MaxPayloadInMB"] * MEGABYTE or float("inf")
    if request["TransformInput"]["SplitType"] == "None":
        records: Iterable[bytes] = [content]
    else:
        records = content.splitlines(keepends=True)
    found: list[bytes] = []
    for record in records:
        if len(record) > limit:
            raise ValueError(f"a record has {len(record)} bytes, more than MaxPayloadInMB")
        fits = bool(found) and len(found[-1]) + len(record) <= limit
        if fits and request.get("BatchStrategy") == "MultiRecord":
            found[-1] += record
        else:
            found.append(record)
    return found


def assembled(answers: Iterable[bytes], request: Mapping[str, Any]) -> bytes:
    """The object that holds the answers."""
    if request["TransformOutput"]["AssembleWith"] == "None":
        return b"".join(answers)
    return b"".join(answer if answer.endswith(b"\n") else answer + b"\n" for answer in answers)
