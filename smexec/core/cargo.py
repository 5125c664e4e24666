"""Cargoes: what lies in S3 for jobs to work on. They know what their jobs are started with and end with."""

from __future__ import annotations

import abc
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from smexec.core.jobtype import TRAINING, JobType
from smexec.core.postmortem import why
from smexec.core.request import Order, Request, channel, create_training_job
from smexec.core.run import Keys, Run
from smexec.core.settings import Settings
from smexec.core.work import Outcome, Place
from smexec.worker import protocol, todo

_HYPERPARAMETER_LIMIT = 2500
_BY_MANIFEST = (protocol.SHARED_CHANNEL, protocol.VALUES_CHANNEL)

# Starts the worker once its digest holds: it comes from a bucket that others may be able to write to, and the
# request is the one thing that does not. Nothing is imported from the working directory, which is the
# image's. Any Python can run this; an item is one line of at most 256 characters.
_BOOT = (
    "import sys;sys.path[:1]==['']and sys.path.pop(0);import hashlib,runpy;p,d=sys.argv[1:];"
    "hashlib.sha256(open(p,'rb').read()).hexdigest()==d or sys.exit('smexec: the worker was changed: '+p);"
    "runpy.run_path(p,run_name='__main__')"
)


class Cargo(abc.ABC):
    """What lies in S3, for as many jobs as it takes to run it.

    :cvar type: of its jobs
    :cvar reports: whether its jobs write events, by which calls end before their job does
    """

    type: ClassVar[JobType]
    reports: ClassVar[bool] = False

    @abc.abstractmethod
    def requests(self, job: str, run: Run, place: Place, left: Iterable[int]) -> Sequence[Request]:
        """What has the service start a job, one after the other.

        :param left: numbers of the calls that have no outcome yet
        """

    @abc.abstractmethod
    def ended(self, description: Mapping[str, Any], found: Collection[str]) -> Outcome | None:
        """What the calls end with that have no outcome, their job having ended like this.

        :param found: those of its artifacts that there are
        :returns: None: what is described is not the end of this job
        """

    def artifacts(self, description: Mapping[str, Any]) -> Sequence[str]:  # noqa: ARG002
        """URIs below which a job that has ended may have left something."""
        return ()

    def finishing(self, job: str) -> Sequence[Request]:  # noqa: ARG002
        """What is still to be asked once a job has ended well, before its calls have."""
        return ()

    def leavings(self, job: str, *, well: bool) -> Sequence[Request]:  # noqa: ARG002
        """What deletes all that was made for a job that has ended and that nobody needs.

        :param well: its calls have values
        """
        return ()


@dataclass(frozen=True)
class BatchCargo(Cargo):
    """A batch of calls of functions.

    :ivar job: its keys have this name
    :ivar function: the name of the function that is called first, for people
    :ivar worker_sha256: of the layer that can read it
    :ivar shares: whether it has shared sections, listed in its manifest
    :ivar takes: the same for values of other calls
    """

    job: str
    settings: Settings
    function: str
    worker_sha256: str
    shares: bool = False
    takes: bool = False
    type = TRAINING
    reports = True

    def requests(self, job: str, run: Run, place: Place, left: Iterable[int] = ()) -> Sequence[Request]:
        """It holds neither functions nor arguments: they come by channels."""
        keys = Keys(place.root, run.id, self.settings.s3_kms_key)
        order = Order(
            self.job,
            {"ContainerEntrypoint": [place.python, "-c", _BOOT, _worker_path(), self.worker_sha256]},
            [channel(name, uri, manifest=name in _BY_MANIFEST) for name, uri in self._channels(keys).items()],
            self._hyperparameters(job, run, keys, left),
        )
        return [create_training_job(self.settings, job, run, place, order)]

    def ended(self, description: Mapping[str, Any], found: Collection[str]) -> Outcome:  # noqa: ARG002
        """An error: the worker tells of calls that end well."""
        return Outcome(error=why(description))

    def _channels(self, keys: Keys) -> dict[str, str]:
        channels = {
            protocol.WORKER_CHANNEL: keys.worker_file(self.worker_sha256),
            protocol.BATCH_CHANNEL: keys.batch(self.job),
        }
        if self.settings.s3_kms_key:
            channels[protocol.KEY_CHANNEL] = keys.run_key
        if self.shares:
            channels[protocol.SHARED_CHANNEL] = keys.manifest(self.job)
        if self.takes:
            channels[protocol.VALUES_CHANNEL] = keys.values(self.job)
        return channels

    def _hyperparameters(self, job: str, run: Run, keys: Keys, left: Iterable[int]) -> dict[str, str]:
        """What the worker is told. With a KMS key the signing key goes by a channel, encrypted."""
        orders = {
            protocol.RUN: run.id,
            protocol.EVENTS: keys.events,
            protocol.FUNCTION: " ".join(self.function.split())[:_HYPERPARAMETER_LIMIT],  # a line
            protocol.ISOLATED: "true" if self.settings.enable_network_isolation else "false",
        }
        if job != self.job:  # which has begun it
            orders[protocol.TODO] = todo.write(run.key, job, self.job, left)
        if self.settings.s3_kms_key:
            orders[protocol.SSE_KMS_KEY] = self.settings.s3_kms_key
        else:
            orders[protocol.KEY] = run.key.hex()
        return orders


def _worker_path() -> str:
    return f"/opt/ml/input/data/{protocol.WORKER_CHANNEL}/{protocol.WORKER_FILE}"
