"""The nouns that the rooms hand each other."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from smexec.core.jobtype import TRAINING
from smexec.core.packing import Kind
from smexec.core.settings import Settings
from smexec.worker.protocol import Buffer


@dataclass(frozen=True, eq=False)
class Function:
    """What is called: pickled once, for as many calls as there are.

    :ivar name: for people
    :ivar sections: its pickle and its out-of-band buffers
    :ivar sources: file name → text, of the files that its source lines are in
    """

    name: str
    sections: Sequence[Buffer]
    sources: Mapping[str, str]


class Stored(NamedTuple):
    """A value that lies in S3, where the job that made it has left it.

    :ivar event: the name of the object, below those of the run
    :ivar call: which call of that job it is the value of
    """

    event: str
    call: int


@dataclass(frozen=True, eq=False)
class Dependency:
    """A future among a call's arguments: its value is to take its place.

    :ivar stored: tells where the jobs of the call's run find the value, once there is one; None: nowhere
    :ivar pickle: gives them the value itself then
    """

    future: Future[Any]
    stored: Callable[[], Stored | None]
    pickle: Callable[[], Sequence[Buffer]]


Shared: TypeAlias = Sequence[Buffer] | Stored | Dependency


@dataclass(frozen=True, eq=False)
class Pickled:
    """A call's arguments, pickled.

    :ivar sections: the pickle of ``(args, kwargs)`` and its out-of-band buffers
    :ivar shared: what it refers to by number: the same of each large object that other calls have too, and
        values of other calls
    :ivar pickled: those whose values were pickled for it: other calls find them while it is under way
    """

    sections: Sequence[Buffer]
    shared: Sequence[Shared] = ()
    pickled: Sequence[Dependency] = ()


@dataclass(frozen=True, eq=False)
class Call:
    """A function with its arguments: what ``submit`` makes and one future stands for.

    :ivar kind: which others it may share a job with
    """

    __slots__ = ("arguments", "function", "kind", "settings")

    function: Function
    arguments: Pickled
    settings: Settings
    kind: Kind

    type = TRAINING
    name = None

    @property
    def dependencies(self) -> list[Dependency]:
        """What must have a value before it can travel."""
        return [item for item in self.arguments.shared if isinstance(item, Dependency)]

    def having(self, value: Callable[[Dependency], Shared]) -> Call:
        """The call with a value in the place of each dependency."""
        values = {item: value(item) for item in self.dependencies}
        shared = [values[item] if isinstance(item, Dependency) else item for item in self.arguments.shared]
        pickled = [item for item in values if not isinstance(values[item], Stored)]
        return dataclasses.replace(self, arguments=Pickled(self.arguments.sections, shared, pickled))

    @property
    def prefix(self) -> str:
        """How the name of its job begins."""
        return self.settings.job_name_prefix or f"smexec-{self.function.name}"

    @property
    def size(self) -> int:
        """Bytes that travel for it alone."""
        return sum(memoryview(section).nbytes for section in self.arguments.sections)


@dataclass(frozen=True)
class Batch:
    """Calls that travel together: what one job runs. They are of one kind, and so have the same settings."""

    calls: Sequence[Call]

    @property
    def settings(self) -> Settings:
        """Of all its calls."""
        return self.calls[0].settings

    @property
    def function(self) -> str:
        """The name of the function that is called first, for people."""
        return self.calls[0].function.name


@dataclass(frozen=True)
class Layer:
    """A file that jobs download, named by its content: uploaded once, shared by all runs below a root."""

    file_name: str
    content: bytes = dataclasses.field(repr=False)

    @functools.cached_property
    def sha256(self) -> str:
        """The content's digest, in hex: the layer's name."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def files(self) -> Mapping[str, bytes]:
        """Content by name."""
        return {self.file_name: self.content}


@dataclass(frozen=True)
class File:
    """A file here, which is read as it is uploaded.

    :ivar sha256: the digest of its bytes when it was submitted, in hex: what it is known by
    """

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Folder:
    """Files that jobs download together, each by its own path: what archives are where nothing unpacks them.

    :ivar files: content by path
    """

    files: Mapping[str, bytes | File] = dataclasses.field(repr=False)

    @functools.cached_property
    def sha256(self) -> str:
        """A digest of paths and contents, in hex: the folder's name."""
        lines = [f"{_sha256(self.files[path])} {path}\0" for path in sorted(self.files)]
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def _sha256(content: bytes | File) -> str:
    return content.sha256 if isinstance(content, File) else hashlib.sha256(content).hexdigest()


@dataclass(frozen=True)
class Place:
    """Where a run's jobs are started, once AWS has been asked for what the settings leave open.

    :ivar instance_type: of those in the settings the one that is tried
    :ivar role: an ARN
    :ivar python: the interpreter in the container: a name on its PATH, or a path
    """

    region: str
    instance_type: str
    role: str
    image_uri: str
    root: str
    python: str = "python"


@dataclass
class Outcome:
    """What a call ended with: a value, or an exception.

    :ivar stored: where the value lies; None: not where other jobs could find it
    """

    value: Any = None
    error: BaseException | None = None
    stored: Stored | None = None

    def take(self) -> tuple[Any, BaseException | None]:
        """Value and error, for good: whoever carried the outcome keeps no reference to what was in it."""
        taken = self.value, self.error
        self.value = self.error = None
        return taken
