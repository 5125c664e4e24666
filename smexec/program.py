"""What an executor takes beside functions."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from smexec.core.errand import Errand
from smexec.core.settings import Settings

T_co = TypeVar("T_co", covariant=True)


class Program(abc.ABC, Generic[T_co]):
    """Something that the service does with a job of its own; its outcome is a T."""

    @abc.abstractmethod
    def prepare(self, base: Settings) -> Callable[[tuple[Any, ...], Mapping[str, Any]], Errand]:
        """What makes calls of arguments. What they have in common is read once, now.

        :param base: the executor's settings
        """
