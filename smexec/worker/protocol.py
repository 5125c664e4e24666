"""The wire between client and worker. Both ends import this module, so they cannot differ.

An **envelope** is what travels: a header in JSON, some sections of bytes, and a signature over all of it::

    magic 12 | header length 4 | header | section | section | ... | HMAC-SHA256 32
               '-------------------- body -----------------------'

The signature covers the envelope's *purpose* too (``batch smexec-f-x7k2-0001``), so that a signed envelope
cannot be put in another's place. Nothing in an envelope is looked at before the signature holds. It comes
last, so that a large envelope is signed while it is sent (:class:`Envelope`) and checked while it comes
(:class:`Opening`).

The sections of a pickle are the pickle itself and its out-of-band buffers (protocol 5), uncopied. Header and
sections are padded, so that each section begins at a multiple of 16 bytes: an array that is used where it
lies has to be aligned.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

Buffer = Union[bytes, bytearray, memoryview]
Header = Dict[str, Any]

MAGIC = b"smexec-env-2"
MAC_SIZE = hashlib.sha256().digest_size
ALIGNMENT = 16  # bytes: the most that any of numpy's types asks for
_LENGTH = struct.Struct(">I")
_AT_ONCE = 1 << 20  # bytes that are signed before they are sent
assert (len(MAGIC) + _LENGTH.size) % ALIGNMENT == 0

# -- names in the job's request ---------------------------------------------------------------------------

WORKER_CHANNEL = "smexec_worker"
BATCH_CHANNEL = "smexec_batch"
SHARED_CHANNEL = "smexec_shared"
VALUES_CHANNEL = "smexec_values"
KEY_CHANNEL = "smexec_key"
WORKER_FILE = "worker.pyz"
BATCH_FILE = "batch"
KEY_FILE = "key"

# Hyperparameters rather than environment variables: what the user's code starts does not inherit them.
RUN = "smexec-run"
EVENTS = "smexec-events"
KEY = "smexec-key"
SSE_KMS_KEY = "smexec-sse-kms-key"
ISOLATED = "smexec-isolated"
FUNCTION = "smexec-function"
TODO = "smexec-todo"

#: Where the layout of ``/opt/ml`` really is, on systems where the local service cannot mount it there.
OPT_ML_VARIABLE = "SMEXEC_OPT_ML"
#: Addresses of the job's hosts as JSON, on systems where the local service cannot give them names.
HOSTS_VARIABLE = "SMEXEC_HOSTS"

#: Below ``/opt/ml/output/data`` when outcomes cannot leave by S3; the platform packs it into output.tar.gz.
OUTPUT_FOLDER = "smexec"

# -- how the worker ends ----------------------------------------------------------------------------------

EXIT_OK = 0
EXIT_RAISED = 1  # the call raised, or its value could not be pickled
EXIT_ENDED = 2  # the call's process ended without a word
EXIT_REFUSED = 3  # the call was not started: signature, Python version; __main__ says it too
EXIT_STOPPED = 143  # SIGTERM, as a shell would say it

# -- what an outcome can be (the header's "outcome") ------------------------------------------------------

VALUE = "value"
RAISED = "raised"  # an Exception, pickled in the sections
RAISED_UNPICKLABLE = "raised-unpicklable"  # an Exception that cannot be pickled: text only
VALUE_UNPICKLABLE = "value-unpicklable"
UNREADABLE = "unreadable"  # the call cannot be unpickled
MISSING_MODULE = "missing-module"
EXITED = "exited"  # SystemExit
INTERRUPTED = "interrupted"  # any other BaseException
DIED = "died"
KILLED = "killed"
OUT_OF_MEMORY = "out-of-memory"
PYTHON_MISMATCH = "python-mismatch"
BAD_SIGNATURE = "bad-signature"
TIMED_OUT = "timed-out"  # the call ran into timeout_per_call
STOPPED = "stopped"

#: The call that a word about the whole batch is said of: it is the outcome of all that have none.
ALL_CALLS = -1

#: Said of no call: another object took long to write, and may be listed behind what has been read by now. The
#: header has its name.
LATE = -2

# -- events -----------------------------------------------------------------------------------------------

TIME_DIGITS = 13  # milliseconds since the epoch, until the year 2286


class Event(NamedTuple):
    """The name of an S3 object with news of a job: what its calls started with, and ended with.

    Names begin with the time, so that a listing which goes on where the last one ended finds what is new.
    """

    milliseconds: int
    job: str
    number: int

    @property
    def name(self) -> str:
        """The object's name, below the folder of the run's events."""
        return "{:0{}d}_{}_{}".format(self.milliseconds, TIME_DIGITS, self.job, self.number)

    @classmethod
    def parse(cls, name: str) -> Optional[Event]:
        """The inverse of :attr:`name`; None if it is no event's: others may put objects there too."""
        parts = name.split("_")
        if len(parts) != len(cls._fields) or len(parts[0]) != TIME_DIGITS:
            return None
        if not (parts[0].isdecimal() and parts[2].isdecimal()):
            return None
        event = cls(int(parts[0]), parts[1], int(parts[2]))
        return event if event.name == name else None


class BadSignature(Exception):
    """The bytes are not what the holder of the key wrote for this purpose."""


def batch_purpose(job: str) -> str:
    """Of the envelope that the client writes for a job."""
    return "batch " + job


def todo_purpose(job: str) -> str:
    """Of what tells a job which calls of another's batch it is to run."""
    return "todo " + job


def delivered_purpose(job: str) -> str:
    """Of the lines that a job writes for itself: which outcomes are out."""
    return "delivered " + job


def events_purpose(job: str, number: int) -> str:
    """Of the envelopes that the job writes, one after the other."""
    return "events {} {}".format(job, number)


def peer_purpose(job: str) -> str:
    """Of what the hosts of a job tell each other."""
    return "peer " + job


def python_version(info: Sequence[Any]) -> str:
    """``3.11`` of ``sys.version_info``: what must be the same at both ends."""
    return "{}.{}".format(*info[:2])


def encode_body(header: Header, sections: Sequence[Buffer]) -> List[Buffer]:
    """Header and sections as they stand in an envelope, the sections uncopied."""
    views = [memoryview(section).cast("B") for section in sections]
    text = json.dumps(dict(header, sizes=[view.nbytes for view in views])).encode()
    text += b" " * padding(len(text))
    body: List[Buffer] = [_LENGTH.pack(len(text)), text]
    for view in views:
        body += [view, bytes(padding(view.nbytes))]
    return body


def padding(size: int) -> int:
    """Bytes that follow a section of this size."""
    return -size % ALIGNMENT


def decode_body(body: Buffer) -> Tuple[Header, List[memoryview]]:
    """The inverse; the sections are views into ``body``.

    :raises ValueError: the body is cut short or otherwise not one
    """
    view = memoryview(body).cast("B")
    if view.nbytes < _LENGTH.size:
        raise ValueError("no header")
    start = _LENGTH.size + _LENGTH.unpack_from(view)[0]
    header = json.loads(bytes(view[_LENGTH.size : start]))
    sections = []
    for size in header["sizes"]:
        sections.append(view[start : start + size])
        start += size + padding(size)
    if start != view.nbytes:
        message = "{} bytes where the header speaks of {}".format(view.nbytes, start)
        raise ValueError(message)
    return header, sections


def sign(key: bytes, purpose: str, body: Iterable[Buffer]) -> bytes:
    """The HMAC of a body that is given in parts, and of what it is for."""
    mac = _mac(key, purpose)
    for part in body:
        mac.update(part)
    return mac.digest()


class Envelope:
    """A body on its way out. Its bytes are signed as they are taken, some at a time.

    :ivar size: of it all, in bytes
    """

    def __init__(self, key: bytes, purpose: str, body: Sequence[Buffer]) -> None:
        self._key = key
        self._purpose = purpose
        self._content: List[Buffer] = [MAGIC, *body]
        self.size = sum(memoryview(buffer).nbytes for buffer in self._content) + MAC_SIZE

    def __iter__(self) -> Iterator[Buffer]:
        mac = _mac(self._key, self._purpose)
        for buffer in self._content:
            view = memoryview(buffer).cast("B")
            for start in range(0, view.nbytes, _AT_ONCE):
                piece = view[start : start + _AT_ONCE]
                mac.update(piece)
                yield piece
        yield mac.digest()


class Opening:
    """An envelope on its way in."""

    def __init__(self, key: bytes, purpose: str) -> None:
        self._purpose = purpose
        self._mac = _mac(key, purpose)
        self._seen = 0

    def follow(self, envelope: Buffer, stop: int) -> None:
        """Its first ``stop`` bytes are there, and will not change: see to those that are new."""
        signed = memoryview(envelope).cast("B")[:-MAC_SIZE]
        self._mac.update(signed[self._seen : stop])
        self._seen = max(self._seen, min(stop, signed.nbytes))

    def open(self, envelope: Buffer) -> Tuple[Header, List[memoryview]]:
        """Header and sections, once the signature holds.

        :raises BadSignature: it does not hold
        """
        view = memoryview(envelope).cast("B")
        self.follow(view, view.nbytes)
        if bytes(view[: len(MAGIC)]) != MAGIC:
            raise BadSignature("not an envelope of this version")
        if not hmac.compare_digest(bytes(view[-MAC_SIZE:]), self._mac.digest()):
            message = "the signature does not hold for '{}'".format(self._purpose)
            raise BadSignature(message)
        return decode_body(view[len(MAGIC) : -MAC_SIZE])


def seal(key: bytes, purpose: str, body: Sequence[Buffer]) -> List[Buffer]:
    """The envelope, as parts to be written one after the other."""
    return list(Envelope(key, purpose, body))


def unseal(key: bytes, purpose: str, envelope: Buffer) -> Tuple[Header, List[memoryview]]:
    """Header and sections, once the signature holds.

    :raises BadSignature: it does not hold
    """
    return Opening(key, purpose).open(envelope)


def _mac(key: bytes, purpose: str) -> hmac.HMAC:
    return hmac.new(key, purpose.encode() + b"\0", hashlib.sha256)
