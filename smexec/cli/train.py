"""``smexec train``: a script, or a grid of its hyperparameters, as Training Jobs."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Annotated, Any

import typer

from smexec.cli import options, running

GRID = "A hyperparameter, NAME=VALUE. Several values of a name make a grid."


def train(
    script: Annotated[str, typer.Argument(help="A path in --source-dir.")],
    *,
    source_dir: options.SourceDir = None,
    inputs: Annotated[
        list[str] | None, typer.Option("--input", help="CHANNEL=URI in S3, or a path here.")
    ] = None,
    parameters: Annotated[list[str] | None, typer.Option("--parameter", "-p", help=GRID)] = None,
    metrics: Annotated[list[str] | None, typer.Option("--metric", help="NAME=REGEX, for the log.")] = None,
    workers: options.Workers = 4,
    image_uri: options.ImageUri = None,
    instance_type: options.InstanceType = None,
    role: options.Role = None,
    s3_root_uri: options.S3RootUri = None,
) -> None:
    """Train with a script in any language: smexec train train.R -p rounds=100 -p rounds=1000.

    A job for each combination of parameters. What each has left is printed as it ends, a line of JSON. Ctrl-C
    stops them.
    Settings that are not given come from the environment: SMEXEC_ROLE, ...
    """
    from smexec import SageMakerExecutor, Script

    program = Script(
        script,
        source_dir=source_dir,
        inputs=dict(options.pairs(inputs, "--input")),
        metrics=dict(options.pairs(metrics, "--metric")),
    )
    combinations = grid(options.pairs(parameters, "--parameter"))
    settings = options.given(
        image_uri=image_uri, instance_type=instance_type, role=role, s3_root_uri=s3_root_uri
    )
    running.run(SageMakerExecutor(workers, **settings), program, ((one,) for one in combinations))


def grid(parameters: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    """All combinations, the last name's values changing fastest."""
    values: dict[str, list[Any]] = {}
    for name, text in parameters:
        values.setdefault(name, []).append(options.value_of(text))
    return [dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values())]
