"""``smexec image``: images for scripts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from smexec.cli.running import interruptible

app = typer.Typer(name="image", help="Images for scripts, in any language.", no_args_is_help=True)

_Purpose = Annotated[
    str, typer.Option("--for", metavar="processing|training|serving|all", help="What the image is for.")
]


@app.command()
def init(
    language: Annotated[str, typer.Argument(metavar="r|python|any")],
    directory: Annotated[Path | None, typer.Argument(help="By default one of that name, here.")] = None,
    *,
    purpose: _Purpose = "all",
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
) -> None:
    """Write a directory to build an image of: a Dockerfile, its entry point, and code to begin with."""
    from smexec import images

    for path in images.init(language, directory, purpose=purpose, force=force):
        typer.echo(path)


@app.command()
def check(
    image: Annotated[str, typer.Argument(help="Its name, or the directory that init has written.")],
    *,
    language: Annotated[
        str | None,
        typer.Option(metavar="r|python|any", help="Of the examples that it is to run; a directory shows it."),
    ] = None,
    purpose: _Purpose = "all",
    using: Annotated[
        str | None, typer.Option(metavar="podman|docker", help="What runs it; by default whichever there is.")
    ] = None,
) -> None:
    """Run an image on this machine, and say which parts of SageMaker's contract it keeps."""
    from rich.console import Console
    from rich.text import Text

    from smexec import images

    console, all_hold = Console(), True
    with console.status("running it ..."):
        for finding in images.check(image, language=language, purpose=purpose, using=using):
            all_hold = all_hold and finding.holds
            mark = Text("✓ ", "green") if finding.holds else Text("✗ ", "bold red")
            console.print(mark + Text(f"{finding.clause}: ", "bold") + Text(finding.text))
    if not all_hold:
        raise typer.Exit(1)


def _split(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]


@app.command()
def build(
    directory: Annotated[Path, typer.Argument(help="With a Dockerfile.")],
    flags: Annotated[list[str] | None, typer.Argument(help="Of docker build, behind a --.")] = None,
    *,
    repository: Annotated[str, typer.Option(help="NAME or NAME:TAG.")],
    using: Annotated[
        str | None,
        typer.Option(
            metavar="codebuild|docker|podman",
            help="What builds it; by default docker or podman if one works, else CodeBuild.",
        ),
    ] = None,
    push: Annotated[bool, typer.Option("--push", help="To ECR, what docker or podman has built.")] = False,
    compute_type: Annotated[
        str, typer.Option(help="CodeBuild's machine, BUILD_GENERAL1_MEDIUM for instance.")
    ] = "BUILD_GENERAL1_SMALL",
    role: Annotated[str | None, typer.Option(help="That CodeBuild takes.")] = None,
    bucket: Annotated[str | None, typer.Option(help="For the source on its way to CodeBuild.")] = None,
    vpc_id: Annotated[str | None, typer.Option(help="Where CodeBuild builds.")] = None,
    subnet_ids: Annotated[str | None, typer.Option(help="Of it, with commas between them.")] = None,
    security_group_ids: Annotated[str | None, typer.Option(help="Of it, likewise.")] = None,
    logs: Annotated[bool, typer.Option("--logs/--no-logs", help="Show the build's log as it comes.")] = True,
) -> None:
    """Build an image of a directory: smexec image build r/ --repository my-r:1 --push."""
    from smexec.images import build as begin

    with interruptible():
        image = begin(
            directory,
            repository=repository,
            using=using,
            flags=flags or (),
            push=push,
            tell=typer.echo if logs else None,
            compute_type=compute_type,
            role=role,
            bucket=bucket,
            vpc_id=vpc_id,
            subnet_ids=_split(subnet_ids),
            security_group_ids=_split(security_group_ids),
        ).result()
    typer.echo(f"Image:  {image.uri}")
    typer.echo(f"Digest: {image.digest}")
