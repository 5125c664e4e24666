"""A run: everything that one executor started, below one S3 prefix."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass, field

from smexec.worker.protocol import WORKER_FILE

NAME_LIMIT = 63  # characters of a TrainingJobName, `[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}` (botocore's model)
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
_KEY_BYTES = 32  # as long as the digest that it signs with


@dataclass(frozen=True)
class Run:
    """The names and the key that all jobs of one executor share.

    :ivar id: 8 characters, part of every job's name: ListTrainingJobs finds the run's jobs by it
    :ivar key: what this run's envelopes are signed with
    """

    id: str = field(default_factory=lambda: "".join(secrets.choice(_ALPHABET) for _ in range(8)))
    key: bytes = field(default_factory=lambda: secrets.token_bytes(_KEY_BYTES), repr=False)

    def job_name(self, prefix: str, number: int) -> str:
        """A name that no other job has: what it does, for people; the run and a number, for us."""
        end = f"-{self.id}-{number:05d}"
        return slug(prefix)[: NAME_LIMIT - len(end)].strip("-") + end


@dataclass(frozen=True)
class Keys:
    """Every S3 key there is.

    :ivar root: ``s3://bucket/prefix``, without a slash at its end
    :ivar kms_key: that all is encrypted with, if there is one
    """

    root: str
    run: str
    kms_key: str | None = None

    @property
    def _layers(self) -> str:
        """Where layers are. What one key has encrypted does not count as uploaded where another is wanted."""
        if self.kms_key is None:
            return f"{self.root}/layers"
        return f"{self.root}/layers/kms-{hashlib.sha256(self.kms_key.encode()).hexdigest()[:16]}"

    def layer_file(self, sha256: str, name: str) -> str:
        """A file that is named by its content, shared by all runs below this root that have the same key."""
        return f"{self._layers}/{sha256}/{name}"

    def folder(self, sha256: str) -> str:
        """What several such files' names begin with that are named together."""
        return self.layer_file(sha256, "")

    def worker_file(self, sha256: str) -> str:
        """The worker's zipapp."""
        return self.layer_file(sha256, WORKER_FILE)

    @property
    def run_key(self) -> str:
        """The run's signing key, encrypted with the user's KMS key; only where there is one."""
        return f"{self.root}/runs/{self.run}/key/key"

    def batch(self, job: str) -> str:
        """What a job is to do, sealed."""
        return f"{self.root}/runs/{self.run}/batches/{job}/batch"

    def manifest(self, job: str) -> str:
        """Which shared sections a job needs."""
        return f"{self.root}/runs/{self.run}/batches/{job}/manifest"

    def checkpoints(self, job: str) -> str:
        """What the platform keeps of ``/opt/ml/checkpoints``."""
        return f"{self.root}/runs/{self.run}/checkpoints/{job}/"

    def values(self, job: str) -> str:
        """Which events a job needs for the values in them: a manifest, too."""
        return f"{self.root}/runs/{self.run}/batches/{job}/values"

    @property
    def shared(self) -> str:
        """The folder of large sections, each named by its digest."""
        return f"{self.root}/runs/{self.run}/shared/"

    @property
    def events(self) -> str:
        """The folder that all jobs of the run report to; an object's name says what and when."""
        return f"{self.root}/runs/{self.run}/events/"

    @property
    def output(self) -> str:
        """S3OutputPath. The service adds ``/<job>/output/…``."""
        return f"{self.root}/runs/{self.run}/output"

    def output_folder(self, job: str, name: str) -> str:
        """Where a job leaves an output for which the user has given no place."""
        return f"{self.output}/{job}/output/{name}"

    def output_archive(self, job: str) -> str:
        """What a job left in ``/opt/ml/output/data``, if it left anything."""
        return f"{self.output}/{job}/output/output.tar.gz"

    def output_file(self, job: str, name: str) -> str:
        """The same under CompressionType NONE: not an archive but the files (a guess: facts, section 1)."""
        return f"{self.output}/{job}/output/data/{name}"


def slug(text: str) -> str:
    """What of a text a job's name may hold: ``<lambda>`` becomes ``lambda``."""
    return re.sub(r"[^a-zA-Z0-9]+", "-", text).strip("-") or "call"
