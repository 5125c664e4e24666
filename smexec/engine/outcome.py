"""Envelopes that came back → outcomes. Nothing is unpickled before its signature holds."""

from __future__ import annotations

import itertools
import tarfile
import zlib
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO, NamedTuple

from smexec import errors
from smexec.capture import pickling
from smexec.core.work import Outcome, Stored
from smexec.worker import protocol
from smexec.worker.protocol import Buffer, Header, Opening


class News(NamedTuple):
    """What a job wrote of one of its calls: that it has started (no ``header``), or how it ended.

    :ivar event: the object in S3 that says so, by its name; None: it came with the job's output
    """

    call: int
    header: Header | None
    sections: Sequence[memoryview]
    event: str | None = None


def opening(key: bytes, job: str, number: int) -> Opening:
    """Of an envelope that a job has written."""
    return Opening(key, protocol.events_purpose(job, number))


def read(opening: Opening, job: str, envelope: Buffer, event: str | None = None) -> list[News]:
    """What an envelope tells, once its signature holds. Unpickles nothing.

    :param event: its name, if it is an object in S3
    :raises errors.SignatureError: it was not written by this run's worker
    """
    try:
        header, sections = opening.open(envelope)
        parts = iter(sections)
        return [
            News(told["call"], told["outcome"], list(itertools.islice(parts, told["sections"])), event)
            for told in header["events"]
        ]
    except (protocol.BadSignature, ValueError, KeyError) as error:
        raise _forged(job, error) from error


def outcome_of(news: News, job: str) -> Outcome:
    """What a call ended with.

    Unpickles, which may take long and runs the user's code: for a thread, not for the loop.
    """
    assert news.header is not None
    outcome = _outcome(news.header, news.sections, job)
    if isinstance(outcome.error, errors.SmexecError) and news.header["outcome"] != protocol.RAISED:
        outcome.error.locate(job_name=job, failure_reason=news.header.get("message"))
    if news.header["outcome"] == protocol.VALUE and news.event is not None:
        outcome.stored = Stored(news.event, news.call)
    return outcome


def from_archive(archive: BinaryIO, job: str) -> dict[int, bytes]:
    """The envelopes in an output.tar.gz, by number, if the worker left any there.

    What the user's code left beside them, however large, is passed over.

    :raises errors.SignatureError: it is no such archive
    """
    found: dict[int, bytes] = {}
    try:
        with tarfile.open(fileobj=archive, mode="r|gz") as tar:
            for member in tar:
                folder, _, name = member.name.removeprefix("./").partition("/")
                is_ours = member.isfile() and folder == protocol.OUTPUT_FOLDER and name.isdecimal()
                file = tar.extractfile(member) if is_ours else None
                if file:
                    found[int(name)] = file.read()
    except (tarfile.TarError, EOFError, OSError, ValueError, zlib.error) as error:
        raise _forged(job, error) from error
    return found


def _outcome(header: Header, sections: Sequence[memoryview], job: str) -> Outcome:
    kind = header["outcome"]
    if kind == protocol.VALUE:
        return _loaded(header, sections, job, lambda value: Outcome(value=value))
    if kind == protocol.RAISED:
        return _loaded(header, sections, job, lambda error: Outcome(error=_with_cause(error, header, job)))
    return Outcome(error=_with_cause(_stated(kind, header), header, job))


def _loaded(
    header: Header, sections: Sequence[memoryview], job: str, wrap: Callable[[Any], Outcome]
) -> Outcome:
    try:
        return wrap(pickling.load(sections))
    except BaseException as error:
        what = f"exception ({header['type']}: {header['message']})" if "type" in header else "result"
        unreadable = errors.ResultNotReadable(
            f"the call's {what} came back but cannot be unpickled here: {type(error).__name__}: {error}"
        )
        unreadable.locate(job_name=job)
        unreadable.__cause__ = _remote(header, job) or error
        return Outcome(error=unreadable)


def _stated(kind: str, header: Header) -> errors.SmexecError:
    """The exception for an outcome that the worker states in words."""
    if kind not in _STATED:
        return errors.SignatureError(f"the worker refused the call: {header['message']}")
    return _STATED[kind](header, f"{header.get('type')}: {header.get('message')}")


_STATED: dict[str, Callable[[Header, str], errors.SmexecError]] = {
    protocol.RAISED_UNPICKLABLE: lambda header, said: errors.ExceptionNotPicklable(
        f"the call raised {said}, and that exception cannot be sent back as itself: {header['why']}"
    ),
    protocol.VALUE_UNPICKLABLE: lambda _, said: errors.ResultNotPicklable(
        f"the call returned a value that cannot be pickled, so it cannot be sent back: {said}"
    ),
    protocol.UNREADABLE: lambda _, said: errors.CallNotReadable(
        f"the call cannot be unpickled in the container: {said}"
    ),
    protocol.MISSING_MODULE: lambda header, _: errors.MissingModule(header["module"]),
    protocol.EXITED: lambda header, _: errors.CallExited(header["code"]),
    protocol.INTERRUPTED: lambda _, said: errors.CallInterrupted(f"the call was ended by {said}"),
    protocol.DIED: lambda header, _: errors.CallDied(header["code"]),
    protocol.KILLED: lambda header, _: errors.CallKilled(header["signal"]),
    protocol.OUT_OF_MEMORY: lambda header, _: errors.OutOfMemory(header["signal"]),
    protocol.PYTHON_MISMATCH: lambda header, _: errors.PythonMismatch(
        f"the client runs Python {header['client']} and the container Python {header['container']}: "
        f"use an image with Python {header['client']} (image_uri=...), or run the client under "
        f"Python {header['container']}"
    ),
    protocol.TIMED_OUT: lambda header, _: errors.CallTimedOut(header["message"]),
    protocol.STOPPED: lambda header, _: errors.JobStopped(header["message"]),
}


def _forged(job: str, error: Exception) -> errors.SignatureError:
    forged = errors.SignatureError(
        f"what lies in S3 as the outcome was not written by this run's worker, and was not unpickled: {error}"
    )
    forged.locate(job_name=job)
    return forged


def _with_cause(raised: Any, header: Header, job: str) -> BaseException:
    error: BaseException
    if isinstance(raised, BaseException):
        error = raised
    else:  # pickled as an exception, but its __reduce__ made something else of it
        error = errors.ResultNotReadable(f"the call raised {header['type']}, which came back as {raised!r}")
    error.__cause__ = _remote(header, job)
    return error


def _remote(header: Header, job: str) -> errors.RemoteTraceback | None:
    return errors.RemoteTraceback(header["traceback"], job) if "traceback" in header else None
