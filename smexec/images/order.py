"""What is to be built, and what is told of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from smexec.errors import BuildFailed
from smexec.images.context import Context
from smexec.images.reference import Reference
from smexec.images.steps import Steps

_TAIL = 20  # lines


@dataclass(frozen=True)
class Image:
    """An image that was built.

    :ivar uri: for ``image_uri``
    :ivar digest: ECR's, of its manifest; of one that was not pushed the engine's, of its configuration
    """

    uri: str
    digest: str

    def __str__(self) -> str:
        return self.uri


@dataclass(frozen=True)
class Order:
    """One image.

    :ivar tell: gets each line of the build's log as it comes; None: nobody reads it
    """

    context: Context
    reference: Reference
    tell: Callable[[str], None] | None


class BuildLog:
    """What a build writes: handed on, and read for where it fails."""

    def __init__(self, tell: Callable[[str], None] | None) -> None:
        self._tell = tell
        self._tail: deque[str] = deque(maxlen=_TAIL)
        self._steps = Steps()

    def write(self, line: str) -> None:
        """A line."""
        self._steps.read(line)
        self._tail.append(line)
        if self._tell:
            self._tell(line)

    def failure(self, uri: str, place: str, more_memory: str) -> BuildFailed:
        """Why there is no image.

        :param place: where it failed, in words of whoever ran it
        :param more_memory: how to get it
        """
        steps = self._steps
        text = f"the build of {uri} failed at {steps.last or place}"
        if steps.last and steps.code is not None:
            text += f" (exit code {steps.code})"
        if steps.was_killed:
            text += f": it ran out of memory. {more_memory}"
        error = BuildFailed(text)
        error.step = steps.last or place
        error.place = place
        if not self._tell:
            error.locate(log_tail=self._tail)
        return error
