"""``smexec local``: the embedded service for a machine user, in the foreground or in the background."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import enum
import inspect
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smexec.local.config import ServiceConfig, add_arguments, from_arguments

if TYPE_CHECKING:
    from smexec.local.lease import Place

END_SECONDS = 60.0  # far above what it takes
LOOK_SECONDS = 0.02
# Its host is this machine, and how long it lives is what --detach and --stop are for.
NO_OPTIONS = {"lease_grace"}


def local(**options: Any) -> None:
    """Run SageMaker on this machine, for any AWS client: eval "$(smexec local --detach)"."""
    from smexec.local.lease import ServiceUnavailable, check_needs

    detach, stop = options.pop("detach"), options.pop("stop")
    try:
        check_needs()
        if stop:
            _stop()
        elif detach:
            _detach(_config(options))
        else:
            _serve(_config(options))
    except ServiceUnavailable as error:
        typer.echo(f"smexec: {error}", err=True)
        raise typer.Exit(1) from None


def _serve(config: ServiceConfig) -> None:
    """In the foreground, until Ctrl-C, SIGTERM or ``--stop``."""
    from smexec.local.lease import Place
    from smexec.local.leased import serve

    place = Place()

    @contextlib.contextmanager
    def alone() -> Iterator[None]:
        with place.locked():
            _refuse_a_second(place)
            yield

    serve(config, place, ready=lambda service: _print_exports(service.environment), starting=alone())


def _detach(config: ServiceConfig) -> None:
    """In the background, until ``--stop``; a service that somebody has leased is kept."""
    from smexec.local.lease import Place, control, running, start

    place = Place()
    with place.locked():
        description = running(place)
        if description is None:
            with start(place, dataclasses.asdict(config)) as lease:
                _print_exports(lease.environment)
            return
        if config != ServiceConfig():
            _refuse_a_second(place)
        control(description["endpoint_url"], "POST", "keep")
        _print_exports(description["environment"])


def _stop() -> None:
    from smexec.local.lease import Place, ServiceUnavailable, control, running

    place = Place()
    description = running(place)
    if description is None:
        typer.echo("smexec: no local service is running", err=True)
        return
    with contextlib.suppress(OSError):  # it ends by itself
        control(description["endpoint_url"], "POST", "shutdown")
    deadline = time.monotonic() + END_SECONDS
    while _is_there(place, description["pid"]):
        if time.monotonic() > deadline:
            raise ServiceUnavailable(f"the local service, process {description['pid']}, does not end")
        time.sleep(LOOK_SECONDS)


def _is_there(place: Place, pid: int) -> bool:
    """Whether a service, or what it removes at its end, is still in its place; its successor is another."""
    description = place.read()
    return description["pid"] == pid if description else place.directory.exists()


def _refuse_a_second(place: Any) -> None:
    from smexec.local.lease import ServiceUnavailable, running

    description = running(place)
    if description:
        raise ServiceUnavailable(
            f"a local service is running already, at {description['endpoint_url']}, process "
            f"{description['pid']}; one with other settings can be started after smexec local --stop"
        )


def _print_exports(environment: Mapping[str, str]) -> None:
    for name, value in environment.items():
        typer.echo(f"export {name}={shlex.quote(value)}")
    sys.stdout.flush()  # to a pipe, it would wait for more


# -- options: those of ServiceConfig, which states them once ---------------------------------------------


def _config(options: Mapping[str, Any]) -> ServiceConfig:
    parser = argparse.ArgumentParser(prog="smexec local", exit_on_error=False)
    add_arguments(parser)
    try:
        return from_arguments(parser.parse_args(list(_arguments(options))))
    except (argparse.ArgumentError, ValueError) as error:
        raise typer.BadParameter(str(error)) from None


def _arguments(options: Mapping[str, Any]) -> Iterator[str]:
    """As they stood on the command line."""
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            yield from [flag] if value else []
        elif isinstance(value, Sequence) and not isinstance(value, str):
            yield from (f"{flag}={item}" for item in value)
        elif value is not None:
            yield f"{flag}={value.value if isinstance(value, enum.Enum) else value}"


def _parameters() -> Iterator[inspect.Parameter]:
    flags = {
        "detach": "Leave it in the background, until --stop.",
        "stop": "End the one that runs, in the background or not.",
        "realistic": "Rates, quotas and start times of a new account.",
    }
    for name, meaning in flags.items():
        yield _parameter(name, bool, default=False, meaning=meaning)
    for setting in dataclasses.fields(ServiceConfig):
        if setting.name not in NO_OPTIONS:
            yield _setting(setting)


def _setting(setting: dataclasses.Field[Any]) -> inspect.Parameter:
    name, meaning, default = setting.name, setting.metadata["help"], setting.default
    if default is dataclasses.MISSING:
        mapping = list[str] | None
        return _parameter(name, mapping, default=None, meaning=meaning, metavar="NAME=VALUE")
    if default is None:
        return _parameter(name, setting.metadata["item"] | None, default=None, meaning=meaning)
    choices = setting.metadata.get("choices")
    kind: Any = enum.Enum(name, {choice: choice for choice in choices}) if choices else type(default)
    return _parameter(name, kind | None, default=None, meaning=f"{meaning} (default: {default})")


def _parameter(name: str, kind: Any, *, default: Any, meaning: str, **extra: Any) -> inspect.Parameter:
    option = typer.Option("--" + name.replace("_", "-"), help=meaning, show_default=False, **extra)
    annotation = Annotated[kind, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


local.__signature__ = inspect.Signature(list(_parameters()))  # type: ignore[attr-defined]
