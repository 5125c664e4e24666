"""What an executor takes beside functions."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Collection, Mapping
from typing import Any, Generic, TypeVar

from smexec.capture import images
from smexec.core import settings as table
from smexec.core.errand import Errand
from smexec.core.settings import SETTINGS, Settings
from smexec.errors import SettingsError

T_co = TypeVar("T_co", covariant=True)

#: By its names, what a program has of its executor: all jobs of that are asked for by one client.
SESSION = frozenset({"session", "sagemaker_session"})


class Program(abc.ABC, Generic[T_co]):
    """Something that the service does with a job of its own; its outcome is a T."""

    @abc.abstractmethod
    def prepare(self, base: Settings) -> Callable[[tuple[Any, ...], Mapping[str, Any]], Errand]:
        """What makes calls of arguments. What they have in common is read once, now.

        :param base: the executor's settings
        """


def check_settings(given: Mapping[str, Any], idle: Collection[str], job: str) -> Settings:
    """A program's own settings, alone: an error belongs to the line that is wrong.

    :param idle: settings that such jobs have no member for
    :param job: what they are called
    :raises SettingsError: one of those is given, is misspelt, of the wrong kind, or contradicts another
    """
    for name in given:
        if name in idle and given[name] is not None:
            raise SettingsError(f"{name} is nothing that a {job} has")
    return table.make(given, {})


def settle(given: Mapping[str, Any], base: Settings, idle: Collection[str] = ()) -> Settings:
    """The settings of a program's jobs: its own, then the executor's.

    :param idle: those of the executor's that such jobs have no member for: as if they were not given
    :raises SettingsError: see :func:`check_settings`
    """
    base = dataclasses.replace(base, **{name: SETTINGS[name].default for name in idle})
    settings = images.located(table.make(given, {}, base))
    if settings.is_local != base.is_local:
        raise SettingsError('instance_type="local" is for a whole executor: give it there')
    if settings.session is not base.session:
        raise SettingsError("session is for a whole executor: give it there")
    return settings
