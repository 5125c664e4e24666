"""Errands: calls that have a job of their own, in which an image's own program runs and no worker of ours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from smexec.core.cargo import Cargo
from smexec.core.jobtype import JobType
from smexec.core.packing import Kind
from smexec.core.settings import Settings
from smexec.core.work import Dependency, Folder, Layer


@dataclass(frozen=True, eq=False, kw_only=True)
class Errand:
    """What one call asks of the service.

    :ivar prefix: how the names of its jobs begin
    :ivar name: the whole name, if the user has given one
    :ivar cargo: what its job of this name works on, once the layers are uploaded
    """

    type: JobType
    settings: Settings
    prefix: str
    cargo: Callable[[str], Cargo]
    layers: Sequence[Layer | Folder] = ()
    name: str | None = None
    kind: Kind = field(default=Kind(group="errand"), init=False)  # of which each has a job of its own
    size: int = field(default=0, init=False)

    @property
    def dependencies(self) -> list[Dependency]:
        """None: what the service takes are texts."""
        return []
