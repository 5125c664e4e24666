"""The one tree of exceptions. A leaf: it imports nothing of smexec's.

Whatever goes wrong, a future ends with the user's own exception (its own type, the remote traceback as
``__cause__``) or with one of these::

    SmexecError
    ├── SettingsError            a setting is misspelt, of the wrong kind, or contradicts another
    │   └── ImageNotFound        no stock image for this region and Python
    ├── SerializationError
    │   ├── CallNotPicklable     the function or an argument cannot be sent
    │   ├── FutureNotPicklable   a future is not among the arguments of a call
    │   ├── CallNotReadable      it arrived, but cannot be loaded in the container
    │   │   └── MissingModule    ... because the container lacks a module
    │   ├── ResultNotPicklable   the call returned something that cannot be sent back
    │   ├── ExceptionNotPicklable  the call raised something that cannot be sent back
    │   └── ResultNotReadable    it came back, but cannot be loaded here
    ├── ScriptError              a program, its code or what it is told cannot be sent
    ├── ImageError               an image's directory cannot be written, or is none
    ├── BuildFailed              an image cannot be built; the text names the step
    ├── FormatError              what a model is asked cannot be sent, or its answer cannot be read
    ├── DependencyFailed         a call failed whose future is among the arguments; the ``__cause__`` says how
    ├── SignatureError           bytes from S3 are not what this run's own ends wrote
    ├── PythonMismatch           the container runs another Python than the client
    ├── CallEnded                the call ended without returning or raising an Exception
    │   ├── CallExited           sys.exit(n)
    │   ├── CallInterrupted      KeyboardInterrupt, or another BaseException
    │   ├── CallDied             its process ended by itself: os._exit(7)
    │   ├── CallTimedOut         it ran into timeout_per_call
    │   └── CallKilled           a signal: SIGKILL, SIGSEGV
    │       └── OutOfMemory      ... from the kernel, for want of memory
    ├── JobError                 the job ended without an outcome of its call
    │   ├── JobFailed            the service says Failed; its FailureReason is in the text
    │   │   ├── CapacityError    no such machine to be had now
    │   │   ├── InternalServerError
    │   │   └── EndpointFailed   an endpoint did not come into service, or was not updated
    │   ├── JobStopped           somebody stopped it
    │   ├── MaxRuntimeExceeded
    │   ├── MaxWaitTimeExceeded  spot capacity did not come in time
    │   └── OutcomeMissing       the service says Completed, but no outcome was written
    ├── ServiceError             AWS refused a request
    │   ├── AccessDenied, BucketNotFound, RoleError, CredentialsError, QuotaExceeded,
    │   ├── InvalidRequest, ServiceUnavailable
    │   └── ModelError           an endpoint's container answered with an error
    └── EngineFailed             a fault of smexec's own; the ``__cause__`` shows where
"""

from __future__ import annotations

import copy
import signal as signals
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self


class SmexecError(Exception):
    """Base of all errors of smexec's own.

    :ivar job_name: the job that it happened in, or None if it came to none
    :ivar failure_reason: the job's FailureReason (at most 1,024 characters), or None
    :ivar log_tail: the last lines that the job wrote, oldest first
    """

    job_name: str | None = None
    failure_reason: str | None = None
    log_tail: tuple[str, ...] = ()

    def locate(
        self,
        job_name: str | None = None,
        failure_reason: str | None = None,
        log_tail: Iterable[str] = (),
    ) -> None:
        """Add where it happened; what is known already stays."""
        self.job_name = self.job_name or job_name
        self.failure_reason = self.failure_reason or failure_reason
        self.log_tail = self.log_tail or tuple(log_tail)

    def copied(self) -> Self:
        """Another of the same: raising an error adds a traceback to it, so each call has its own."""
        copied = copy.copy(self)
        copied.__cause__ = self.__cause__
        return copied

    def __str__(self) -> str:
        text = super().__str__()
        if self.job_name:
            text += f"\n  job: {self.job_name}"
        if self.failure_reason and self.failure_reason not in text:
            text += f"\n  FailureReason: {self.failure_reason}"
        if self.log_tail:
            text += "\n  last log lines:" + "".join(f"\n    {line}" for line in self.log_tail)
        return text


class RemoteTraceback(Exception):
    """The traceback in the container, as text. It is the ``__cause__`` of what a future raises."""

    def __init__(self, traceback: str, job_name: str | None = None) -> None:
        super().__init__(traceback, job_name)
        self.traceback = traceback
        self.job_name = job_name

    def __str__(self) -> str:
        where = f" in job {self.job_name}" if self.job_name else ""
        return f'\n"""{where.strip()}\n{self.traceback}"""'


# -- settings ----------------------------------------------------------------------------------------------


class SettingsError(SmexecError, ValueError):
    """A setting is misspelt, of the wrong kind, or contradicts another. Raised where it was given."""


class ImageNotFound(SettingsError):
    """There is no stock image for this region and Python; the text lists what there is."""


# -- pickling ----------------------------------------------------------------------------------------------


class SerializationError(SmexecError):
    """Something could not be turned into bytes, or back."""


class CallNotPicklable(SerializationError, TypeError):
    """The function or an argument cannot be pickled. Raised by ``submit`` itself: nothing was started."""


class FutureNotPicklable(SerializationError, TypeError):
    """A future stands for its value among the arguments of a call, and cannot be pickled anywhere else."""


class CallNotReadable(SerializationError):
    """The call cannot be unpickled in the container; the remote traceback is the ``__cause__``."""


class MissingModule(CallNotReadable, ImportError):
    """The container lacks a module that the call was pickled with a reference to.

    :ivar name: the module's name
    """

    def __init__(self, module: str) -> None:
        super().__init__(
            f"the container has no module {module!r}, which the call refers to. Use an image that has it "
            f"(image_uri=...), or let the code travel with the call: "
            f"cloudpickle.register_pickle_by_value({module.partition('.')[0]})"
        )
        self.name = module

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.name,), self.__dict__


class ResultNotPicklable(SerializationError):
    """The call returned a value that cannot be pickled; the ``__cause__`` tells which part."""


class ExceptionNotPicklable(SerializationError):
    """The call raised an exception that cannot be pickled; the ``__cause__`` is its remote traceback."""


class ResultNotReadable(SerializationError):
    """The outcome came back whole but cannot be unpickled here."""


class DependencyFailed(SmexecError):
    """The call has not run: another one failed, whose value is one of its arguments.

    That one's exception is the ``__cause__``.
    """


class SignatureError(SmexecError):
    """An object in S3 is not what this run's own ends wrote there. It was not unpickled."""


class PythonMismatch(SmexecError):
    """The container's Python is not the client's in major.minor, so nothing was unpickled there."""


class ScriptError(SmexecError, ValueError):
    """A program, its code, inputs, hyperparameters or arguments cannot be sent. Raised where it was given."""


class ImageError(SmexecError, ValueError):
    """An image's directory cannot be written, or an image cannot be looked at."""


class FormatError(SmexecError, ValueError):
    """What a model is asked cannot be written as its content type says, or is too large; or its answer cannot
    be read.
    """


# -- how a call can end without an outcome of its own --------------------------------------------------------


class CallEnded(SmexecError):
    """The call ended without returning and without raising an Exception."""


class CallExited(CallEnded):
    """The call called ``sys.exit``.

    :ivar code: what it was given
    """

    def __init__(self, code: int | str | None) -> None:
        super().__init__(f"the call ended itself by sys.exit({'' if code is None else repr(code)})")
        self.code = code

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.code,), self.__dict__


class CallInterrupted(CallEnded):
    """The call raised KeyboardInterrupt, or another BaseException that is not an Exception."""


class CallDied(CallEnded):
    """The call's process ended by itself, without a word: ``os._exit``.

    :ivar exit_code: its exit status
    """

    def __init__(self, exit_code: int) -> None:
        super().__init__(
            f"the call's process ended by itself with exit code {exit_code}, before the call returned"
        )
        self.exit_code = exit_code

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.exit_code,), self.__dict__


class CallTimedOut(CallEnded, TimeoutError):
    """The call ran into ``timeout_per_call``; its process was killed, its neighbours were not."""


def signal_name(number: int) -> str:
    """``SIGKILL`` for 9; the number itself where this machine has no name for it."""
    try:
        return signals.Signals(number).name
    except ValueError:
        return f"signal {number}"


class CallKilled(CallEnded):
    """The call's process was killed by a signal.

    :ivar signal: the signal's number
    """

    def __init__(self, signal: int) -> None:
        super().__init__(self._message(signal))
        self.signal = signal

    @staticmethod
    def _message(signal: int) -> str:
        return f"the call's process was killed by {signal_name(signal)}"

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.signal,), self.__dict__


class OutOfMemory(CallKilled):
    """The kernel killed the call's process because the container was out of memory."""

    @staticmethod
    def _message(signal: int) -> str:
        return (
            f"the call ran out of memory: the kernel killed its process ({signal_name(signal)}). "
            "Use a larger instance_type, or give each call less to do"
        )


# -- images ------------------------------------------------------------------------------------------------


class BuildFailed(SmexecError):
    """An image was not built: nothing was pushed.

    :ivar step: of the Dockerfile, as the builder writes it; if none had begun, what failed instead
    :ivar place: what the builder says of it: CodeBuild's phase and its words, or the engine's exit code
    """

    step: str = ""
    place: str = ""


# -- how a job can end without an outcome --------------------------------------------------------------------


class JobError(SmexecError):
    """The job ended without an outcome of its call.

    :ivar status: TrainingJobStatus, ProcessingJobStatus and so on
    :ivar secondary_status: SecondaryStatus, which only Training Jobs have
    :ivar model: of a script's job, where the model lies that it had made when it ended; None: it had none
    :ivar output: the same of ``/opt/ml/output/data``
    :ivar exit_message: of a processing's job, what it wrote to ``/opt/ml/output/message``; None: nothing
    """

    status: str | None = None
    secondary_status: str | None = None
    model: str | None = None
    output: str | None = None
    exit_message: str | None = None

    def __str__(self) -> str:
        text = super().__str__()
        if self.exit_message and self.exit_message not in text:
            text += f"\n  ExitMessage: {self.exit_message}"
        return text


class JobFailed(JobError):
    """The service says that the job Failed; its FailureReason is in the text."""


class CapacityError(JobFailed):
    """AWS has no machine of this type to give at present."""


class InternalServerError(JobFailed):
    """The service failed the job for a reason of its own."""


class EndpointFailed(JobFailed):
    """An endpoint did not come into service, or an update was rolled back; the reason is in the text.

    What was made for it has been deleted. ``job_name`` is the endpoint's.
    """


class JobStopped(JobError):
    """The job was stopped: by ``Future.stop()``, from the console, or by another program."""


class MaxRuntimeExceeded(JobError, TimeoutError):
    """The job ran into ``max_runtime_in_seconds``."""


class MaxWaitTimeExceeded(JobError, TimeoutError):
    """Spot capacity did not come, or not for long enough, within ``max_wait_time_in_seconds``."""


class OutcomeMissing(JobError):
    """The service says Completed, but the job left no outcome: another program than our worker ran."""


# -- what AWS refuses ----------------------------------------------------------------------------------------


class ServiceError(SmexecError):
    """AWS refused a request.

    :ivar operation: the API's operation, ``CreateTrainingJob``
    :ivar code: AWS's own error code, ``ValidationException``
    """

    operation: str | None = None
    code: str | None = None


class AccessDenied(ServiceError, PermissionError):
    """The caller's, or the role's, permissions do not allow it."""


class BucketNotFound(ServiceError, FileNotFoundError):
    """The bucket of ``s3_root_uri`` does not exist."""


class RoleError(ServiceError):
    """There is no execution role, or SageMaker cannot assume it."""


class CredentialsError(ServiceError):
    """There are no credentials, or they are expired or invalid."""


class QuotaExceeded(ServiceError):
    """The account's quota for this instance type is too small for even one job."""


class InvalidRequest(ServiceError, ValueError):
    """The service found a fault with the request; the text is the service's own."""


class ServiceUnavailable(ServiceError):
    """AWS could not be reached, or kept failing, for as long as we tried.

    Or the local service does not start, or has ended under its clients.
    """


class ModelError(ServiceError):
    """An endpoint's container answered with an error, or not at all; the text is its own.

    :ivar status: the HTTP status of its answer; 0: there was none
    """

    status: int | None = None


class EngineFailed(SmexecError):
    """A fault in smexec: please report it with its ``__cause__``.

    The job, if it was under way, may still be running.
    """


def known(error: BaseException) -> SmexecError:
    """The error itself, if it is one of these; else it is a fault of ours, whose ``__cause__`` it becomes."""
    if isinstance(error, SmexecError):
        return error
    failed = EngineFailed(f"smexec itself failed: {type(error).__name__}: {error}")
    failed.__cause__ = error
    return failed
