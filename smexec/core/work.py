"""The nouns that the rooms hand each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from smexec.core.settings import Settings
from smexec.worker.protocol import Buffer


@dataclass(frozen=True)
class Call:
    """One function with its arguments, pickled: what ``submit`` makes and one future stands for.

    :ivar function: its name, for people
    :ivar sections: the pickle and its out-of-band buffers
    :ivar sources: file name → text, of the files that the function's source lines are in
    """

    function: str
    sections: Sequence[Buffer]
    sources: Mapping[str, str]
    settings: Settings

    @property
    def prefix(self) -> str:
        """How the name of its job begins."""
        return self.settings.job_name_prefix or f"smexec-{self.function}"


@dataclass(frozen=True)
class Place:
    """Where a run's jobs are started, once AWS has been asked for what the settings leave open.

    :ivar role: an ARN
    :ivar python: the interpreter in the container: a name on its PATH, or a path
    """

    region: str
    role: str
    image_uri: str
    root: str
    python: str = "python"


@dataclass
class Outcome:
    """What a call ended with: a value, or an exception."""

    value: Any = None
    error: BaseException | None = None

    def take(self) -> tuple[Any, BaseException | None]:
        """Value and error, for good: whoever carried the outcome keeps no reference to what was in it."""
        taken = self.value, self.error
        self.value = self.error = None
        return taken
