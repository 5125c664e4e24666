"""Trainings: scripts in any language that an image runs as a Training Job, as its contract says.

The contract is SageMaker's own for framework containers: the code is ``sourcedir.tar.gz`` and the
hyperparameters tell where it lies and what of it is run, each encoded as JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any

from smexec.core import checks
from smexec.core.cargo import Cargo
from smexec.core.errand import Errand
from smexec.core.jobtype import TRAINING
from smexec.core.postmortem import why
from smexec.core.request import Order, Request, channel, create_training_job
from smexec.core.run import Keys, Run
from smexec.core.settings import Settings
from smexec.core.work import Folder, Layer, Outcome, Place
from smexec.errors import JobError, ScriptError

#: Where images find the code without asking S3; the SageMaker SDK uses it under network isolation.
CODE_CHANNEL = "code"
SOURCE_FILE = "sourcedir.tar.gz"
_OWN = ("sagemaker_submit_directory", "sagemaker_program", "sagemaker_region", "sagemaker_job_name")
_MOST, _NAME_LIMIT, _VALUE_LIMIT = (
    100,
    256,
    2500,
)  # of HyperParameters; this and what follows: botocore's model
_MOST_CHANNELS, _CHANNEL = 20, re.compile(r"[A-Za-z0-9._-]{1,64}")
_MOST_METRICS = 40
_metric_name = checks.text(255)
_metric_regex = checks.text(500)


@dataclass(frozen=True)
class Trained:
    """What a script's Training Job has left; see :class:`smexec.TrainingResult`."""

    job_name: str
    model: str | None
    output: str | None
    metrics: Mapping[str, float]
    hyperparameters: Mapping[str, Any]
    billable_seconds: int | None = None
    image_uri: str | None = None


@dataclass(frozen=True, kw_only=True)
class Orders:
    """What a script's job is started with, beside code and settings.

    :ivar program: the script's path in its directory
    :ivar hyperparameters: each in JSON (see :func:`encode`)
    :ivar inputs: input channels as the API has them
    :ivar folders: further channels → digests of folders that are uploaded
    :ivar metrics: name → the regular expression that finds its value in the log
    :ivar entrypoint: in place of the image's own
    :ivar arguments: in place of ``train``, if the entry point is the image's own
    """

    program: str
    hyperparameters: Mapping[str, str] = field(default_factory=dict)
    inputs: Sequence[Mapping[str, Any]] = ()
    folders: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, str] = field(default_factory=dict)
    entrypoint: Sequence[str] = ()
    arguments: Sequence[str] = ()

    @property
    def algorithm(self) -> dict[str, Any]:
        """Members of AlgorithmSpecification."""
        members = {
            "ContainerEntrypoint": list(self.entrypoint),
            "ContainerArguments": list(self.arguments),
            "MetricDefinitions": [{"Name": name, "Regex": regex} for name, regex in self.metrics.items()],
        }
        return {name: value for name, value in members.items() if value}


@dataclass(frozen=True)
class TrainingCargo(Cargo):
    """A script's archive, with what its job is told.

    :ivar job: that was the first to have it
    :ivar sha256: the archive's name in S3
    :ivar result: makes the call's value of what there is
    """

    job: str
    settings: Settings
    orders: Orders
    sha256: str
    result: Callable[[Trained], Any]
    type = TRAINING

    def requests(self, job: str, run: Run, place: Place, left: Iterable[int] = ()) -> Sequence[Request]:  # noqa: ARG002
        """As the SageMaker SDK does it; but the code always comes by a channel too: none need fetch it."""
        keys = Keys(place.root, run.id, self.settings.s3_kms_key)
        source = keys.layer_file(self.sha256, SOURCE_FILE)
        folders = [channel(name, keys.folder(sha256)) for name, sha256 in self.orders.folders.items()]
        is_isolated = self.settings.enable_network_isolation
        directory = f"/opt/ml/input/data/{CODE_CHANNEL}/{SOURCE_FILE}" if is_isolated else source
        own = dict(zip(_OWN, (directory, self.orders.program, place.region, job), strict=True))
        order = Order(
            self.job,
            self.orders.algorithm,
            [*self.orders.inputs, *folders, channel(CODE_CHANNEL, source)],
            {**self.orders.hyperparameters, **{name: json.dumps(text) for name, text in own.items()}},
        )
        return [create_training_job(self.settings, job, run, place, order)]

    def artifacts(self, description: Mapping[str, Any]) -> Sequence[str]:
        """Model and output; what is a folder ends in a slash, whether the service gives it one or not."""
        output = description["OutputDataConfig"]
        folder = f"{output['S3OutputPath'].rstrip('/')}/{description['TrainingJobName']}/output/"
        model = description.get("ModelArtifacts", {}).get("S3ModelArtifacts")
        if output.get("CompressionType") == "NONE":
            return f"{(model or folder + 'model').rstrip('/')}/", f"{folder}data/"
        return model or f"{folder}model.tar.gz", f"{folder}output.tar.gz"

    def ended(self, description: Mapping[str, Any], found: Collection[str]) -> Outcome:
        """What is Completed has a result, and nothing else has."""
        kept = [uri if uri in found else None for uri in self.artifacts(description)]
        if description["TrainingJobStatus"] == "Completed":
            return Outcome(value=self.result(self._trained(description, *kept)))
        error = why(description)
        if isinstance(error, JobError):
            error.model, error.output = kept
        return Outcome(error=error)

    def _trained(self, description: Mapping[str, Any], model: str | None, output: str | None) -> Trained:
        return Trained(
            description["TrainingJobName"],
            model,
            output,
            {item["MetricName"]: item["Value"] for item in description.get("FinalMetricDataList", ())},
            {name: json.loads(text) for name, text in self.orders.hyperparameters.items()},
            description.get("BillableTimeInSeconds"),
            description["AlgorithmSpecification"].get("TrainingImage"),
        )


def errand(
    source: Layer,
    orders: Orders,
    settings: Settings,
    result: Callable[[Trained], Any],
    inputs: Mapping[str, Folder] = MappingProxyType({}),
) -> Errand:
    """A script with its hyperparameters, as a call.

    :param inputs: channels whose files are uploaded
    :param result: makes the call's value of what the job has left
    """
    orders = replace(orders, folders={name: folder.sha256 for name, folder in inputs.items()})
    return Errand(
        type=TRAINING,
        settings=settings,
        prefix=settings.job_name_prefix or f"smexec-{PurePosixPath(orders.program).stem}",
        layers=[source, *inputs.values()],
        cargo=partial(TrainingCargo, settings=settings, orders=orders, sha256=source.sha256, result=result),
    )


def check_channels(names: Collection[str]) -> None:
    """:raises ScriptError: the service would not take them, beside that of the code"""
    if CODE_CHANNEL in names:
        raise ScriptError("inputs={'code': …}: the script's code comes by the channel of this name")
    if len(names) >= _MOST_CHANNELS:
        raise ScriptError(f"a Training Job has {_MOST_CHANNELS} input channels at most, its code among them")
    for name in names:
        if not _CHANNEL.fullmatch(name):
            raise ScriptError(
                f"inputs={{{name!r}: …}}: a channel's name has letters, digits, . _ and -, at most 64"
            )


def check_metrics(metrics: Mapping[str, str]) -> None:
    """:raises ScriptError: the service would not take them"""
    if len(metrics) > _MOST_METRICS:
        raise ScriptError(f"a Training Job has {_MOST_METRICS} metrics at most, and these are {len(metrics)}")
    for name, regex in metrics.items():
        for said, check, text in (("name", _metric_name, name), ("regular expression", _metric_regex, regex)):
            try:
                check(text)
            except ValueError as error:
                raise ScriptError(f"metrics={{{name!r}: {regex!r}}}: the {said}: {error}") from None


def encode(hyperparameters: Mapping[Any, Any]) -> dict[str, str]:
    """Each value as JSON: the service carries texts only.

    :raises ScriptError: one of them cannot be that, or the service would not take it
    """
    taken = sorted(set(_OWN) & hyperparameters.keys())
    if taken:
        raise ScriptError(f"{taken[0]} is smexec's own to give: the image finds the code by it")
    if len(hyperparameters) > _MOST - len(_OWN):
        raise ScriptError(f"a job has at most {_MOST - len(_OWN)} hyperparameters of the user's own")
    return {_name(name): _encoded(name, value) for name, value in hyperparameters.items()}


def _name(name: Any) -> str:
    if not isinstance(name, str) or not 1 <= len(name) <= _NAME_LIMIT or not name.isprintable():
        raise ScriptError(
            f"a hyperparameter's name is a text of 1 to {_NAME_LIMIT} characters without line breaks, "
            f"and {name!r} is none"
        )
    return name


def _encoded(name: Any, value: Any) -> str:
    try:
        text = json.dumps(value, default=_plain, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ScriptError(f"hyperparameter {name}={value!r} cannot be written as JSON: {error}") from error
    if len(text) > _VALUE_LIMIT:
        raise ScriptError(
            f"hyperparameter {name} has {len(text)} characters as JSON, and the service allows "
            f"{_VALUE_LIMIT}: give the script a file (inputs=)"
        )
    return text


def _plain(value: Any) -> Any:
    """What numbers and arrays of numpy's hold."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Future):
        raise TypeError("it is a future: give its result()")
    raise TypeError(f"{type(value).__name__} is none of JSON's types")
