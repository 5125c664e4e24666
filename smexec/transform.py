"""Batch Transform: a model's answers to all that lies in S3, submitted and mapped as functions are."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from smexec.core import checks, transform
from smexec.core.errand import Errand
from smexec.core.settings import Settings
from smexec.core.training import Trained
from smexec.core.transform import Orders, TransformResult
from smexec.errors import ScriptError
from smexec.program import SESSION, Program, check_settings, settle

_OTHERS_ONLY = transform.IDLE | SESSION


class Transform(Program[TransformResult]):
    """A model's answers to every object below a place in S3, as a Transform Job.

    ::

        ask = Transform(model, image_uri=image, content_type="text/csv", split_type="Line")
        answers = executor.submit(ask, "s3://bucket/new/").result().output
        for result in executor.map(ask, ["s3://bucket/2024/", "s3://bucket/2025/"]):
            ...

    Each call is a job with a model of its own, which is deleted when the job has ended. Its argument, if it
    has one, is the input. As of a :class:`smexec.Processing`, its future is not RUNNING before it is done.

    :param model_data: the S3 URI of ``model.tar.gz``, or what a script's training has left; None: the image
        has its model
    :param input: S3 URI of an object, or of what all objects' names begin with
    :param output: S3 URI below which the answers go; None: a place of the call's own, which the result tells
    :param content_type: of the input, as the container is told
    :param split_type: ``"Line"``: objects are cut into records; also ``"RecordIO"`` and ``"TFRecord"``
    :param accept: the content type of the answers, as the container is told
    :param assemble_with: ``"Line"``: each answer ends its line
    :param strategy: ``"MultiRecord"``, as many records in a request as it may have, or ``"SingleRecord"``
    :param max_concurrent_transforms: requests that a container gets at a time
    :param max_payload: megabytes of a request
    :param data_processing: DataProcessing: what of input and answers goes where, as the API has it
    :param settings: of its jobs and their models, where they differ from the executor's;
        ``environment_variables`` are the container's, and ``image_uri`` by default that of the training
    :raises smexec.errors.ScriptError: something is not as the service takes it
    :raises smexec.errors.SettingsError: a setting is misspelt, of the wrong kind, contradicts another, or is
        nothing that a Transform Job has. Of an executor's such settings are passed over
    """

    def __init__(
        self,
        model_data: str | Trained | None,
        input: str | None = None,  # noqa: A002  # the API's word
        output: str | None = None,
        *,
        content_type: str | None = None,
        split_type: str | None = None,
        accept: str | None = None,
        assemble_with: str | None = None,
        strategy: str | None = None,
        max_concurrent_transforms: int | None = None,
        max_payload: int | None = None,
        data_processing: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        check_settings(settings, _OTHERS_ONLY, "Transform Job")
        image_uri = model_data.image_uri if isinstance(model_data, Trained) else None
        self._settings = {**settings, "image_uri": settings.get("image_uri") or image_uri}
        self._input = None if input is None else _uri("input", input)
        self._content_type, self._split_type = content_type, split_type
        target = {
            "S3OutputPath": None if output is None else _uri("output", output),
            "Accept": accept,
            "AssembleWith": assemble_with,
        }
        members = {
            "BatchStrategy": strategy,
            "MaxConcurrentTransforms": max_concurrent_transforms,
            "MaxPayloadInMB": max_payload,
            "DataProcessing": data_processing,
        }
        self._orders = Orders(
            model_data=_model(model_data),
            source={},
            target=transform.given(target),
            members=transform.given(members),
        )

    def prepare(self, base: Settings) -> Callable[[tuple[Any, ...], Mapping[str, Any]], Errand]:
        """See :class:`Program`."""
        settings = settle(self._settings, base, transform.IDLE)
        if not settings.image_uri:
            raise ScriptError("a model needs an image that serves it: give image_uri=")

        def make(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Errand:
            source = transform.source_at(self._where(args, kwargs), self._content_type, self._split_type)
            return transform.errand(dataclasses.replace(self._orders, source=source), settings)

        return make

    def _where(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
        if kwargs or len(args) > 1:
            raise TypeError("a transform takes one argument, the input")
        if args:
            return _uri("input", args[0])
        if self._input is None:
            raise ScriptError("a transform needs an input: give it here, or to submit and map")
        return self._input

    def __repr__(self) -> str:
        return f"<Transform with {self._orders.model_data or 'the model of the image'}>"


def _model(data: str | Trained | None) -> str | None:
    if data is None:
        return None
    if isinstance(data, Trained) and data.model is None:
        raise ScriptError(f"job {data.job_name} has left no model")
    uri = _uri("model_data", data.model if isinstance(data, Trained) else data)
    if uri.endswith("/"):
        raise ScriptError(
            f"model_data={uri!r}: a Transform Job takes no folder. Give a model.tar.gz: a training leaves "
            "one without disable_output_compression"
        )
    return uri


def _uri(called: str, value: Any) -> str:
    try:
        checks.s3_uri(value)
    except ValueError as error:
        raise ScriptError(f"{called}={value!r}: {error}") from None
    return str(value)
