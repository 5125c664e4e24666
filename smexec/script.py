"""Scripts: programs in any language, submitted and mapped as functions are."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from smexec.capture import sources
from smexec.core import request, training
from smexec.core.command import arguments
from smexec.core.errand import Errand
from smexec.core.settings import Settings
from smexec.core.training import Orders
from smexec.errors import ScriptError
from smexec.inputs import Inputs, Source
from smexec.program import SESSION, Program, check_settings, settle
from smexec.trained import TrainingResult


class Script(Program[TrainingResult]):
    """A script that an image trains with, as SageMaker's framework containers do.

    ::

        train = Script("train.R", source_dir="r", image_uri=image, inputs={"train": "s3://bucket/abalone.csv"})
        model = executor.submit(train, rounds=100).result().model
        for result in executor.map(train, [{"rounds": 10}, {"rounds": 100}]):
            ...

    Each call is a job, whose hyperparameters are the call's arguments. The code is read when it is submitted.

    :param program: the script: a path in ``source_dir``
    :param source_dir: goes along, without what its ``.gitignore`` leaves out; else the script goes alone
    :param inputs: channel → S3 URI; or a file or directory here, which is uploaded once; or the members that
        the API has for a channel
    :param hyperparameters: those of all calls, unless a call has one of the same name
    :param metrics: name → regular expression with a group, which finds the value in the log
    :param container_entry_point: a command in place of the image's own
    :param container_arguments: in place of ``train``
    :param settings: of its jobs, where they differ from the executor's
    :raises smexec.errors.ScriptError: something is not as the service takes it
    :raises smexec.errors.SettingsError: a setting is misspelt, of the wrong kind, or contradicts another
    """

    def __init__(
        self,
        program: str | Path,
        *,
        source_dir: str | Path | None = None,
        inputs: Mapping[str, Source] | None = None,
        hyperparameters: Mapping[str, Any] | None = None,
        metrics: Mapping[str, str] | None = None,
        container_entry_point: Sequence[str] = (),
        container_arguments: Sequence[str] = (),
        **settings: Any,
    ) -> None:
        self._source_dir = None if source_dir is None else Path(source_dir)
        self._program = sources.name_in(self._source_dir, program)
        self._common = dict(hyperparameters or {})
        training.encode(self._common)  # an error belongs to the line that is wrong
        self._settings = settings
        check_settings(settings, SESSION, "Training Job")
        training.check_channels(inputs or ())
        training.check_metrics(metrics or {})
        self._inputs = Inputs.of(inputs)
        self._orders = Orders(
            program=self._program if self._source_dir else Path(program).name,
            inputs=[
                *({"ChannelName": name, **members} for name, members in self._inputs.given.items()),
                *(request.channel(name, uri) for name, uri in self._inputs.remote.items()),
            ],
            metrics=dict(metrics or {}),
            entrypoint=_command(container_entry_point, "container_entry_point"),
            arguments=_command(container_arguments, "container_arguments"),
        )

    def prepare(self, base: Settings) -> Callable[[tuple[Any, ...], Mapping[str, Any]], Errand]:
        """See :class:`Program`."""
        settings = settle(self._settings, base)
        self._check_image(settings)
        source, inputs = sources.pack(self._program, self._source_dir), self._inputs.read()

        def make(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Errand:
            texts = training.encode(_merged(self._common, args, kwargs))
            orders = dataclasses.replace(self._orders, hyperparameters=texts)
            return training.errand(source, orders, settings, partial(TrainingResult.of, settings), inputs)

        return make

    def _check_image(self, settings: Settings) -> None:
        if not (settings.image_uri or settings.is_local or self._orders.entrypoint):
            raise ScriptError(
                f"the stock images run functions, not {self._program}: give image_uri= of one that runs "
                "scripts (smexec image init writes what it takes)"
            )

    def __repr__(self) -> str:
        return f"<Script {self._program}>"


def _merged(common: Mapping[str, Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    for mapping in args:
        if not isinstance(mapping, Mapping):
            raise TypeError(f"a script takes hyperparameters, as a mapping or keywords, and not {mapping!r}")
    merged = dict(common)
    for mapping in (*args, kwargs):
        merged.update(mapping)
    return merged


def _command(items: Sequence[str], called: str) -> list[str]:
    if isinstance(items, str):
        raise ScriptError(f"{called}={items!r} is to be a list: a program and its arguments")
    return arguments(items)
