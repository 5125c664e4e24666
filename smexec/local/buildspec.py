"""What a buildspec tells to do: version 0.2, in YAML or JSON, as far as images are built with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

PHASES = ("install", "pre_build", "build", "post_build")
"""Those that have commands, in their order."""

ON_FAILURE = ("ABORT", "CONTINUE")


class BuildspecError(ValueError):
    """It cannot be read, or says what there is not."""


@dataclass(frozen=True)
class Phase:
    """One phase's commands.

    Attributes:
        commands: the first that fails ends them.
        at_the_end: run whatever became of the others.
        on_failure: one of :data:`ON_FAILURE`; None: as the phase's name has it.
    """

    name: str
    commands: Sequence[str] = ()
    at_the_end: Sequence[str] = ()
    on_failure: str | None = None

    @property
    def is_last_if_it_fails(self) -> bool:
        """Whether the phases behind it are left out then: a failed build has its post_build all the same."""
        return self.on_failure == "ABORT" or (self.on_failure is None and self.name != "build")


@dataclass(frozen=True)
class Buildspec:
    """What to run, and with which variables."""

    variables: Mapping[str, str]
    phases: Sequence[Phase]


def parse(text: str) -> Buildspec:
    """The buildspec of a text.

    Raises:
        BuildspecError: it is none.
    """
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise BuildspecError(f"cannot be parsed: {error}") from None
    if not isinstance(document, dict) or str(document.get("version")) != "0.2":
        raise BuildspecError("must be a mapping with version: 0.2")
    phases = _mapping(document, "phases")
    if unknown := phases.keys() - set(PHASES):
        raise BuildspecError(f"there is no phase {min(unknown)}")
    variables = _mapping(_mapping(document, "env"), "variables")
    return Buildspec(
        variables={name: str(value) for name, value in variables.items()},
        phases=[_phase(name, _mapping(phases, name)) for name in PHASES],
    )


def _phase(name: str, members: Mapping[str, Any]) -> Phase:
    on_failure = members.get("on-failure")
    if on_failure not in (None, *ON_FAILURE):
        raise BuildspecError(f"on-failure of {name} must be one of {', '.join(ON_FAILURE)}")
    return Phase(name, _commands(members, "commands"), _commands(members, "finally"), on_failure)


def _commands(members: Mapping[str, Any], name: str) -> list[str]:
    commands = members.get(name) or []
    if not isinstance(commands, list) or not all(isinstance(command, str) for command in commands):
        raise BuildspecError(f"{name} must be a list of texts")
    return commands


def _mapping(members: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = members.get(name) or {}
    if not isinstance(value, dict):
        raise BuildspecError(f"{name} must be a mapping")
    return value
