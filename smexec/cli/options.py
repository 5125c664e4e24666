"""What several commands take, and how they print what came of it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import typer

from smexec.core.settings import SETTINGS
from smexec.errors import SmexecError


def setting(name: str) -> Any:
    """The option for a setting, with its documentation. What is not given comes from the environment."""
    return typer.Option(help=SETTINGS[name].doc)


InstanceType = Annotated[list[str] | None, setting("instance_type")]
ImageUri = Annotated[str | None, setting("image_uri")]
Role = Annotated[str | None, setting("role")]
S3RootUri = Annotated[str | None, setting("s3_root_uri")]
Workers = Annotated[int, typer.Option(min=1, help="Most jobs at a time.")]
SourceDir = Annotated[str | None, typer.Option(help="Goes along, but for what its .gitignore names.")]


def given(**settings: Any) -> dict[str, Any]:
    """Those that are not None."""
    return {name: value for name, value in settings.items() if value is not None}


def pairs(texts: Iterable[str] | None, option: str) -> list[tuple[str, str]]:
    """``NAME=VALUE`` → name and value.

    :raises typer.BadParameter: one of them is no such thing
    """
    found = [text.partition("=") for text in texts or ()]
    for name, equals, value in found:
        if not (name and equals):
            raise typer.BadParameter(f"{name + equals + value!r} is not NAME=VALUE", param_hint=option)
    return [(name, value) for name, _, value in found]


def value_of(text: str) -> Any:
    """``100`` is a number, ``true`` a truth value, ``[1, 2]`` a list: JSON; anything else is itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def report(ended: Iterable[Any]) -> None:
    """Print results to stdout, a line of JSON each, and errors to stderr.

    :param ended: results, which are dataclasses, and exceptions
    :raises typer.Exit: there was an error
    """
    has_failed = False
    for result in ended:
        if isinstance(result, SmexecError):
            typer.echo(f"smexec: {type(result).__name__}: {result}", err=True)
            has_failed = True
        elif isinstance(result, BaseException):
            raise result
        else:
            typer.echo(json.dumps(shown(result)))
    if has_failed:
        raise typer.Exit(1)


def shown(result: Any) -> dict[str, Any]:
    """What a result tells people: what its repr shows, if there is any of it."""
    fields = ((row.name, getattr(result, row.name)) for row in dataclasses.fields(result) if row.repr)
    told = {name: dict(value) if isinstance(value, Mapping) else value for name, value in fields}
    return {name: value for name, value in told.items() if value not in (None, {})}
