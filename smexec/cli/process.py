"""``smexec process``: a program in any language as a Processing Job."""

from __future__ import annotations

from typing import Annotated

import typer

from smexec.cli import options, running


def process(
    script: Annotated[str, typer.Argument(help="A path in --source-dir.")],
    arguments: Annotated[list[str] | None, typer.Argument(help="The script's own, behind a --.")] = None,
    *,
    source_dir: options.SourceDir = None,
    inputs: Annotated[
        list[str] | None, typer.Option("--input", help="NAME=URI in S3, or a path here.")
    ] = None,
    outputs: Annotated[list[str] | None, typer.Option("--output", help="NAME, or NAME=URI in S3.")] = None,
    image_uri: options.ImageUri = None,
    instance_type: options.InstanceType = None,
    role: options.Role = None,
    s3_root_uri: options.S3RootUri = None,
) -> None:
    """Run a script in any language: smexec process report.R --output html -- --year 2025.

    It reads /opt/ml/processing/input/NAME and writes /opt/ml/processing/output/NAME. Where its outputs are is
    printed, a line of JSON. Ctrl-C stops it. Settings that are not given come from the environment:
    SMEXEC_ROLE, ...
    """
    from smexec import Processing, SageMakerExecutor

    program = Processing(
        script,
        source_dir=source_dir,
        inputs=dict(options.pairs(inputs, "--input")),
        outputs={name: uri or None for name, _, uri in (text.partition("=") for text in outputs or ())},
        arguments=arguments or (),
    )
    settings = options.given(
        image_uri=image_uri, instance_type=instance_type, role=role, s3_root_uri=s3_root_uri
    )
    running.run(SageMakerExecutor(1, **settings), program, [()])
