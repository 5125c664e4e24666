"""Which parts of SageMaker's contract an image keeps: it is run with the examples, and looked at."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from botocore.exceptions import ClientError

from smexec.errors import ImageError
from smexec.images.templates import PURPOSES, TEMPLATES, Template, example, purposes_of
from smexec.images.trial import Trial
from smexec.testing import local_service

MANIFEST = "image.json"
_ENGINES = ("podman", "docker")
_NAME = "smexec-image-check:latest"  # of a directory
_TRAINING_GRACE, _SERVING_GRACE = 120.0, 30.0  # between SIGTERM and SIGKILL, on the platform
_PATIENCE = 600.0
_HEALTHY_SECONDS = 240  # that the platform gives a container to answer its first ping
_ENDLESS = 1_000_000_000  # rounds


@dataclass(frozen=True)
class Finding:
    """How it is with one clause of the contract.

    :ivar text: what was seen
    """

    clause: str
    holds: bool
    text: str


@dataclass(frozen=True)
class Subject:
    """An image under examination.

    :ivar grace: seconds between SIGTERM and SIGKILL of a training
    """

    trial: Trial
    template: Template
    code: Path
    grace: float

    def program(self, purpose: str) -> Path:
        """The example for it."""
        return self.code / self.template.examples[purpose][0]


def check(
    image: str | Path,
    *,
    language: str | None = None,
    purpose: str = "all",
    using: str | None = None,
    grace: float = _TRAINING_GRACE,
) -> Iterator[Finding]:
    """Run an image on a local service, and tell what is found as it is found.

    :param image: its name, for podman or docker; or a directory with an ``image.json``, which needs neither
    :param language: of the examples that it is to run; that of a directory shows
    :param purpose: "processing", "training", "serving" (which trains, too), or "all"
    :param using: "podman" or "docker"; by default whichever there is
    :param grace: seconds between SIGTERM and SIGKILL of a training
    :raises smexec.errors.ImageError: there is nothing to run
    """
    directory = Path(image)
    spoken = language or _language_of(directory)
    code, purposes = example(spoken), purposes_of(purpose)
    if _stands_for_an_image(directory):
        name, config = _NAME, {"engine": "process", "image": {_NAME: str(directory.resolve())}}
    else:
        name, config = str(image), {"engine": _engine(using)}
    with local_service(**config, stop_grace=grace) as service:
        trial = Trial(service, name, _PATIENCE)
        yield from _findings(Subject(trial, TEMPLATES[spoken], code, grace), purposes)


def _stands_for_an_image(directory: Path) -> bool:
    return (directory / MANIFEST).is_file()


def _language_of(directory: Path) -> str:
    """By the file that only this language's images have."""
    if not _stands_for_an_image(directory):
        raise ImageError(f"{directory} does not show its language: --language r, python or any")
    own = {"r": "entrypoint.R", "python": "entrypoint.py"}
    return next((language for language, name in own.items() if (directory / name).is_file()), "any")


def _engine(using: str | None) -> str:
    found = next((name for name in (_ENGINES if using is None else (using,)) if shutil.which(name)), None)
    if found not in _ENGINES:
        raise ImageError(f"to run an image needs {' or '.join(_ENGINES)}; a directory needs {MANIFEST}")
    return found


def _findings(subject: Subject, purposes: tuple[str, ...]) -> Iterator[Finding]:
    if "processing" in purposes:
        yield _guarded("process", lambda: _process(subject))
    if purposes == PURPOSES[:1]:
        return
    job = subject.trial.train(subject.program("training"), 5)
    trained = _guarded("train", lambda: _train(subject, job))
    yield trained
    if "training" in purposes:
        yield _guarded("failure file", lambda: _failure(subject))
        yield _guarded("SIGTERM", lambda: _stop(subject))
    if "serving" in purposes:
        yield from _serve(subject, job) if trained.holds else [Finding("serve", False, "there is no model")]


def _guarded(clause: str, look: Callable[[], Finding]) -> Finding:
    """What the service refuses, or does not see happen in time, is a finding too."""
    try:
        return look()
    except (ClientError, ValueError) as error:
        return Finding(clause, False, str(error))


def _process(subject: Subject) -> Finding:
    job, files = subject.trial.process(subject.program("processing"))
    if job["ProcessingJobStatus"] != "Completed":
        return Finding("process", False, str(job.get("ExitMessage") or job.get("FailureReason")))
    return Finding("process", bool(files), f"a script handed in wrote {', '.join(files) or 'nothing'}")


def _train(subject: Subject, name: str) -> Finding:
    job = subject.trial.ended(name)
    if job["TrainingJobStatus"] != "Completed":
        return Finding("train", False, str(job.get("FailureReason")))
    files = subject.trial.files(job)
    has_code = any(file.startswith("code/") for file in files)
    return Finding("train", has_code, f"the model has {', '.join(files) or 'no files'}")


def _failure(subject: Subject) -> Finding:
    """The examples refuse to go a negative number of rounds."""
    job = subject.trial.ended(subject.trial.train(subject.program("training"), -1))
    reason = str(job.get("FailureReason", ""))
    said = reason.partition(", exit code")[0].splitlines()[0] if reason else job["TrainingJobStatus"]
    return Finding("failure file", "rounds must be at least 1" in reason, f"FailureReason is: {said}")


def _stop(subject: Subject) -> Finding:
    """In the middle of a training."""
    job = subject.trial.train(subject.program("training"), _ENDLESS)
    if not subject.trial.says(job, "round 1:"):
        return Finding("SIGTERM", False, "the training did not begin")
    since = time.monotonic()
    subject.trial.sagemaker.stop_training_job(TrainingJobName=job)
    files = subject.trial.files(subject.trial.ended(job))
    took = time.monotonic() - since
    kept = f"with {', '.join(files)}" if files else "without a model"
    holds = took < subject.grace and bool(files)
    return Finding("SIGTERM", holds, f"training ended after {took:.1f} s, {kept}")


def _serve(subject: Subject, model: str) -> Iterator[Finding]:
    since = time.monotonic()
    with subject.trial.endpoint(model, _HEALTHY_SECONDS) as name:
        took = time.monotonic() - since
        described = subject.trial.described(name)
        in_service = described["EndpointStatus"] == "InService"
        yield Finding("serve", in_service, str(described.get("FailureReason", "the endpoint is in service")))
        if in_service:
            yield Finding("ping", True, f"200 within 2 s, first after {took:.1f} s")
            yield _guarded("invocations", lambda: _invoke(subject, name))
        since = time.monotonic()
    took = time.monotonic() - since
    if in_service:
        yield Finding("SIGTERM to a server", took < _SERVING_GRACE, f"it ended after {took:.1f} s")


def _invoke(subject: Subject, endpoint: str) -> Finding:
    answer = subject.trial.invoke(endpoint, "0.5,0.4\n0.3,0.1\n").strip()
    has_number = any(character.isdigit() for character in answer)
    return Finding("invocations", has_number, f"rows of CSV got {' '.join(answer.split())}")
