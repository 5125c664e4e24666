"""``smexec deploy``, ``predict`` and ``delete``: endpoints."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from smexec.cli import options

Name = Annotated[str, typer.Argument(help="The endpoint's.")]


def deploy(
    model: Annotated[str, typer.Argument(help="URI in S3 of a model.tar.gz, as smexec train prints it.")],
    *,
    name: Annotated[str | None, typer.Option(help="Of the endpoint.")] = None,
    image_uri: options.ImageUri = None,
    instance_type: options.InstanceType = None,
    instance_count: Annotated[int, typer.Option(min=1, help="Machines that serve it.")] = 1,
    role: options.Role = None,
) -> None:
    """Put a model into service. Prints the endpoint's name once it is; it is billed until it is deleted."""
    import smexec

    settings = options.given(image_uri=image_uri, instance_type=instance_type, role=role)
    endpoint = smexec.deploy(model, name=name, instance_count=instance_count, **settings)
    typer.echo(endpoint.name)


def predict(
    name: Name,
    data: Annotated[str, typer.Argument(help="JSON; @FILE for what is in a file, - for standard input.")],
    *,
    content_type: Annotated[str | None, typer.Option(help="Of the data: text/csv, say.")] = None,
    accept: Annotated[str | None, typer.Option(help="Of the answer.")] = None,
) -> None:
    """Ask an endpoint: smexec predict NAME '{"length": 0.5}'."""
    from smexec import Endpoint

    body = _read(data)
    answer = Endpoint.attach(name).predict(body, content_type=content_type or _type_of(data), accept=accept)
    _print(answer)


def delete(name: Name) -> None:
    """Delete an endpoint, with its configuration and its models."""
    from smexec import Endpoint

    Endpoint.attach(name).delete()


def _read(data: str) -> bytes:
    if data == "-":
        return sys.stdin.buffer.read()
    if data.startswith("@"):
        try:
            return Path(data[1:]).read_bytes()
        except OSError as error:
            raise typer.BadParameter(str(error), param_hint="DATA") from None
    return data.encode()


def _type_of(data: str) -> str:
    return "text/csv" if data.startswith("@") and data.endswith(".csv") else "application/json"


def _print(answer: Any) -> None:
    if isinstance(answer, bytes):
        sys.stdout.buffer.write(answer)
    else:
        typer.echo(answer if isinstance(answer, str) else json.dumps(answer))
