"""Transforms: what a model answers to every object, or every record, below a place in S3."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from smexec.core.cargo import Cargo
from smexec.core.errand import Errand
from smexec.core.jobtype import TRANSFORM
from smexec.core.model import create_model, delete_model
from smexec.core.postmortem import why
from smexec.core.request import Request, tags
from smexec.core.run import Keys, Run
from smexec.core.settings import OF_TRAINING_JOBS, Settings
from smexec.core.work import Outcome, Place

#: Settings that neither a Transform Job nor its model has a member for.
IDLE = OF_TRAINING_JOBS | {"max_runtime_in_seconds", "encrypt_inter_container_traffic", "volume_size"}


@dataclass(frozen=True)
class TransformResult:
    """What a Transform Job has left.

    :ivar output: the S3 URI below which the answers are: for each object of the input one with ``.out`` after
        its name
    """

    job_name: str
    output: str


@dataclass(frozen=True, kw_only=True)
class Orders:
    """What a job is started with, beside settings. What is None is for the service to decide.

    :ivar model_data: see :func:`~smexec.core.model.create_model`
    :ivar source: members of TransformInput, and among them its S3 URI
    :ivar target: members of TransformOutput; without S3OutputPath it is below the run's prefix
    :ivar members: others of the request
    """

    model_data: str | None
    source: Mapping[str, Any]
    target: Mapping[str, Any] = field(default_factory=dict)
    members: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TransformCargo(Cargo):
    """A model and what it is asked. The model of the job's name is made for the job, and goes with it."""

    settings: Settings
    orders: Orders
    type = TRANSFORM

    def requests(self, job: str, run: Run, place: Place, left: Iterable[int] = ()) -> Sequence[Request]:  # noqa: ARG002
        """Two: the model, and the job."""
        environment = dict(self.settings.environment_variables)
        request: dict[str, Any] = {
            "TransformJobName": job,
            "ModelName": job,
            "TransformInput": dict(self.orders.source),
            "TransformOutput": self._output(job, Keys(place.root, run.id)),
            "TransformResources": self._resources(place),
            **self.orders.members,
        }
        return [
            create_model(self.settings, job, place, self.orders.model_data, environment),
            Request("CreateTransformJob", request | tags(self.settings)),
        ]

    def leavings(self, job: str, *, well: bool) -> Sequence[Request]:  # noqa: ARG002
        """The model, which is an entry in a list: its data stay."""
        return [delete_model(job)]

    def ended(self, description: Mapping[str, Any], found: Collection[str]) -> Outcome:  # noqa: ARG002
        """What is Completed has a result, and nothing else has."""
        if description["TransformJobStatus"] != "Completed":
            return Outcome(error=why(description, TRANSFORM))
        output = description["TransformOutput"]["S3OutputPath"]
        return Outcome(value=TransformResult(description["TransformJobName"], output))

    def _output(self, job: str, keys: Keys) -> dict[str, Any]:
        output = {"S3OutputPath": keys.output_folder(job, "answers"), **self.orders.target}
        key = self.settings.s3_kms_key
        return {"KmsKeyId": key, **output} if key else output

    def _resources(self, place: Place) -> dict[str, Any]:
        key = self.settings.volume_kms_key
        resources = {"InstanceType": place.instance_type, "InstanceCount": self.settings.instance_count}
        return {**resources, "VolumeKmsKeyId": key} if key else resources


def errand(orders: Orders, settings: Settings) -> Errand:
    """A transform of one input, as a call."""
    return Errand(
        type=TRANSFORM,
        settings=settings,
        prefix=settings.job_name_prefix or "smexec-transform",
        cargo=lambda _: TransformCargo(settings, orders),
    )


def source_at(uri: str, content_type: str | None, split_type: str | None) -> dict[str, Any]:
    """A TransformInput: all objects below the URI."""
    members = {
        "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri}},
        "ContentType": content_type,
        "SplitType": split_type,
    }
    return given(members)


def given(members: Mapping[str, Any]) -> dict[str, Any]:
    """Those that have a value."""
    return {name: value for name, value in members.items() if value is not None}
