"""Processings: programs that make outputs of inputs, submitted and mapped as functions are."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from smexec.capture import sources
from smexec.core import checks, processing
from smexec.core.command import arguments as texts_of
from smexec.core.errand import Errand
from smexec.core.processing import Orders, ProcessingResult
from smexec.core.settings import Settings
from smexec.errors import ScriptError
from smexec.inputs import Inputs, Source
from smexec.program import SESSION, Program, check_settings, settle

_MOST = 10  # inputs, and outputs
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TRAINING_ONLY = processing.IDLE | SESSION


class Processing(Program[ProcessingResult]):
    """A program that an image runs as a Processing Job.

    ::

        report = Processing("report.R", image_uri=image, inputs={"sales": "s3://bucket/sales/"},
                            outputs={"html": "s3://bucket/reports"}, arguments=["--format", "html"])
        result = executor.submit(report, "--year", 2025).result()
        for result in executor.map(report, [["--year", 2024], ["--year", 2025]]):
            ...

    Each call is a job; its arguments, and the items of those that are lists, follow ``arguments``. It finds
    the inputs in ``/opt/ml/processing/input/<name>``, and what it writes to
    ``/opt/ml/processing/output/<name>`` is uploaded, also when it fails. Calls that write to the same place
    overwrite what has the same name. The code is read when it is submitted; it lies in
    ``/opt/ml/processing/input/code``, without the modes of its files.

    The service does not tell when a job's program starts. So a future is not RUNNING before it is done:
    until then ``cancel()`` and ``stop()`` both cancel it, and stop the job.

    :param program: the script: a path in ``source_dir``; None: the image's own program
    :param source_dir: goes along, without what its ``.gitignore`` leaves out, and is the working directory;
        else the script goes alone
    :param inputs: name → S3 URI; or a file or directory here, which is uploaded once; or the members that the
        API has for an input
    :param outputs: name → S3 URI, or the members that the API has for an output; None: a place of the call's
        own, which the result tells
    :param arguments: of every call
    :param command: runs the script; default: ``Rscript``, ``python3`` or ``sh``, by its name's ending. ``()``
        is the image's own entry point, which gets the script's path as its first argument
    :param settings: of its jobs, where they differ from the executor's
    :raises smexec.errors.ScriptError: something is not as the service takes it
    :raises smexec.errors.SettingsError: a setting is misspelt, of the wrong kind, contradicts another, or is
        nothing that a Processing Job has. Of an executor's such settings are passed over
    """

    def __init__(
        self,
        program: str | Path | None = None,
        *,
        source_dir: str | Path | None = None,
        inputs: Mapping[str, Source] | None = None,
        outputs: Mapping[str, str | Mapping[str, Any] | None] | None = None,
        arguments: Sequence[Any] = (),
        command: Sequence[str] | None = None,
        **settings: Any,
    ) -> None:
        self._source_dir = None if source_dir is None else Path(source_dir)
        self._program = None if program is None else sources.name_in(self._source_dir, program)
        self._settings = settings
        processing.check_settings(check_settings(settings, _TRAINING_ONLY, "Processing Job"))
        start = self._start(None if command is None else texts_of(_items(command, "command")))
        self._command = command
        for name in inputs or ():
            _check_input(name)
        self._inputs = Inputs.of(inputs)
        self._orders = dataclasses.replace(
            start,
            arguments=texts_of([*start.arguments, *_items(arguments, "arguments")]),
            inputs=[
                *({"InputName": name, **members} for name, members in self._inputs.given.items()),
                *(processing.input_from(name, uri) for name, uri in self._inputs.remote.items()),
            ],
            outputs=[_output(name, target) for name, target in (outputs or {}).items()],
        )
        self._check_numbers()

    def prepare(self, base: Settings) -> Callable[[tuple[Any, ...], Mapping[str, Any]], Errand]:
        """See :class:`Program`."""
        longest = min(base.max_runtime_in_seconds, processing.LONGEST)
        base = dataclasses.replace(base, max_runtime_in_seconds=longest)
        settings = settle(self._settings, base, processing.IDLE)
        processing.check_settings(settings)
        self._check_image(settings)
        inputs = self._inputs.read()
        if self._program:
            inputs[processing.CODE_INPUT] = sources.folder(self._program, self._source_dir)

        def make(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Errand:
            texts = texts_of([*self._orders.arguments, *_flat(args, kwargs)])
            orders = dataclasses.replace(self._orders, arguments=texts)
            return processing.errand(orders, settings, inputs, Path(self._program or "processing").stem)

        return make

    def _start(self, command: Sequence[str] | None) -> Orders:
        if self._program is None:
            if self._source_dir is not None:
                raise ScriptError("source_dir= goes with a program in it")
            return Orders(entrypoint=command or ())
        name = self._program if self._source_dir else Path(self._program).name
        return processing.command_line(name, command, in_directory=self._source_dir is not None)

    def _check_numbers(self) -> None:
        inputs = len(self._orders.inputs) + len(self._inputs.local) + (1 if self._program else 0)
        if inputs > _MOST or len(self._orders.outputs) > _MOST:
            raise ScriptError(
                f"a Processing Job has {_MOST} inputs at most, its code among them, and outputs"
            )

    def _check_image(self, settings: Settings) -> None:
        """The stock images have Python and a shell."""
        is_known = self._command is None and (self._program or "").endswith((".py", ".sh"))
        runs_there = is_known or bool(self._command)
        if not (settings.image_uri or settings.is_local or runs_there):
            raise ScriptError(
                f"the stock images do not run {self._program or 'programs of their own'}: give image_uri= "
                "(smexec image init writes what one takes)"
            )

    def __repr__(self) -> str:
        return f"<Processing {self._program or 'of the image'}>"


def _flat(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Any]:
    if kwargs:
        raise TypeError(f"a processing takes arguments of a command line, and no keywords: {min(kwargs)}=")
    lists = (arg if isinstance(arg, list | tuple) else [arg] for arg in args)
    return list(itertools.chain.from_iterable(lists))


def _items(items: Sequence[Any], called: str) -> list[Any]:
    if isinstance(items, str) or not isinstance(items, Sequence):
        raise ScriptError(f"{called}={items!r} is to be a list")
    return list(items)


def _check_input(name: str) -> None:
    if name == processing.CODE_INPUT:
        raise ScriptError(f"inputs={{{name!r}: …}}: the program's code comes by the input of this name")
    _check_name("inputs", name)


def _output(name: str, target: str | Mapping[str, Any] | None) -> Mapping[str, Any]:
    if isinstance(target, Mapping):
        return {"OutputName": name, **target}
    _check_name("outputs", name)
    if target is not None:
        try:
            checks.s3_uri(target)
        except ValueError as error:
            raise ScriptError(f"outputs={{{name!r}: {target!r}}}: {error}") from None
    return processing.output_to(name, target)


def _check_name(called: str, name: str) -> None:
    if not _NAME.fullmatch(name) or not name.strip("."):
        raise ScriptError(
            f"{called}={{{name!r}: …}}: it names a directory, too: letters, digits, . _ and -, at most 64"
        )
