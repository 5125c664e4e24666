"""The command line: arguments in, text out. What it does is done elsewhere."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from smexec.cli import demo, doctor, image, local, process, serve, train
from smexec.errors import SmexecError

app = typer.Typer(
    name="smexec",
    help="concurrent.futures on Amazon SageMaker: Python callables as Training Jobs.",
    no_args_is_help=True,
    # A user's traceback is the user's own; typer's boxes would print every local variable, secrets too.
    pretty_exceptions_enable=False,
)
for command in (
    demo.demo,
    doctor.doctor,
    local.local,
    train.train,
    process.process,
    serve.deploy,
    serve.predict,
    serve.delete,
):
    app.command()(command)
app.add_typer(image.app)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"smexec {version('smexec')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Entry point of the program ``smexec``. An error of ours is told without a traceback."""
    try:
        app()
    except SmexecError as error:
        typer.echo(f"smexec: {type(error).__name__}: {error}", err=True)
        sys.exit(1)
