"""How news leave the container: to S3 as they come, or with the job's output where S3 is out of reach.

Many small pieces of news travel in one object, a large one in an object of its own. They are sent by a
thread: the worker itself has calls to hand out.
"""

from __future__ import annotations

import mmap
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import Callable, Deque, Dict, List, NamedTuple, Optional, Sequence, Union

from . import protocol
from .container import OptMl, Orders
from .journal import Journal
from .protocol import Buffer, Event, Header

SOONEST, LATEST = 0.1, 1.0  # seconds between two objects: while there were few, and once there are many
_GROWTH = 5.0  # from one interval to the next
ENOUGH = 4 << 20  # bytes that need not wait for more
LATE_AFTER = 3.0  # seconds of writing an object; a client that watches others' may have read on by then
MOST = 1 << 30  # bytes that may wait; before there are more, no call is started


class News(NamedTuple):
    """A call has started (no ``outcome``), or ended.

    :ivar sections: their bytes, or the path of a file with them
    """

    call: int
    outcome: Optional[Header]
    sections: Union[Buffer, str] = b""

    @property
    def is_outcome(self) -> bool:
        """Whether it is the outcome of one call: a word for all of them says that they have none."""
        return self.call >= 0 and self.outcome is not None

    @property
    def size(self) -> int:
        """Bytes of its sections."""
        return sum(self.outcome.get("sizes", [])) if self.outcome else 0


def interval(sent: int) -> float:
    """Seconds between an object and the next, after so many.

    A short job's outcomes and a long job's first ones come quickly; a long job costs one request a second.
    """
    return min(LATEST, SOONEST * _GROWTH ** max(0, min(sent, 64) - 1))


class Post:
    """Sends news in the order in which it is given them.

    :param on_room: called, by a thread, when :attr:`has_room` has become true again
    :ivar journal: of what has reached S3
    """

    def __init__(self, orders: Orders, opt_ml: OptMl, on_room: Callable[[], None]) -> None:
        self._orders = orders
        self._opt_ml = opt_ml
        self._on_room = on_room
        self.journal = Journal(opt_ml.checkpoints, orders.key, orders.job)
        self._tries_s3 = not orders.isolated
        self._has_reached = False
        self._is_doubtful = False  # S3 did not take the last object
        self._waiting: Deque[News] = deque()
        self._size = 0  # bytes that wait or are being sent
        self._sent = 0  # objects
        self._sent_at = 0.0
        self._last_name = ""
        self._finished = False
        self._failure: Optional[BaseException] = None
        self._changed = threading.Condition()
        self._thread: Optional[threading.Thread] = None

    @property
    def has_room(self) -> bool:
        """Whether outcomes leave as fast as they come.

        :raises Exception: they do not leave at all
        """
        self._check()
        return self._size < MOST

    def started(self, call: int) -> None:
        """This call has started."""
        self._add(News(call, None))

    def ended(self, call: int, outcome: Header, sections: Union[Buffer, str] = b"") -> None:
        """A call has ended.

        :param sections: their bytes, or the path of a file with them, which then is ours
        """
        self._add(News(call, outcome, sections))

    def finish(self) -> None:
        """There will be no more: what is left need not wait."""
        with self._changed:
            self._finished = True
            self._changed.notify()

    def close(self) -> None:
        """Return when everything is out.

        :raises Exception: it cannot be
        """
        self.finish()
        if self._thread:
            self._thread.join()
        self._check()

    def _add(self, news: News) -> None:
        self._check()
        with self._changed:
            self._waiting.append(news)
            before, self._size = self._size, self._size + news.size
            if len(self._waiting) == 1 or before < ENOUGH <= self._size:  # else nobody waits for it
                self._changed.notify()
        if self._thread is None:  # only now: the nursery must have been forked by then
            self._thread = threading.Thread(target=self._send_all, name="post", daemon=True)
            self._thread.start()

    def _check(self) -> None:
        if self._failure:
            raise self._failure

    # -- on the thread -----------------------------------------------------------------------------------

    def _send_all(self) -> None:
        try:
            while True:
                news = self._next()
                if not news:
                    return
                self._send(news)
                self._let_go(sum(piece.size for piece in news))
                del news
        except BaseException as error:  # nothing more will leave: whoever adds to it is told
            self._failure = error
            self._on_room()

    def _next(self) -> List[News]:
        """What is to be sent now; nothing if there will be no more."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._finished)
            # The first object goes at once, and so does one after a while without: somebody may wait for it.
            due = self._sent_at + interval(self._sent) - time.monotonic() if self._sent else 0.0
            self._changed.wait_for(lambda: self._size >= ENOUGH or self._finished, max(0.0, due))
            news: List[News] = []
            size = 0
            while self._waiting and (not news or size + self._waiting[0].size <= ENOUGH):
                news.append(self._waiting.popleft())
                size += news[-1].size
            return news

    def _let_go(self, size: int) -> None:
        with self._changed:
            before, self._size = self._size, self._size - size
        if self._size < MOST <= before:
            self._on_room()

    def _send(self, news: Sequence[News]) -> None:
        events: List[Dict[str, object]] = []
        sections: List[Buffer] = []
        for piece in news:
            own = _sections(piece)
            events.append({"call": piece.call, "outcome": piece.outcome, "sections": len(own)})
            sections += own
        number = self._orders.hosts.number(self._sent)
        self._sent, self._sent_at = self._sent + 1, time.monotonic()
        body = protocol.encode_body({"events": events}, sections)
        purpose = protocol.events_purpose(self._orders.job, number)
        envelope = protocol.Envelope(self._orders.key, purpose, body)
        if not (self._tries_s3 and self._reach(number, envelope)):
            self._leave(number, envelope)
            return
        self.journal.note([piece.call for piece in news if piece.is_outcome])
        if time.monotonic() - self._sent_at > LATE_AFTER and any(
            piece.call != protocol.LATE for piece in news
        ):
            self._waiting.append(News(protocol.LATE, {"name": self._last_name}))

    def _reach(self, number: int, envelope: protocol.Envelope) -> bool:
        """Write to S3; False if it does not take it.

        It is given up if it never took anything. If it did, the next object is tried again, but once only.
        """
        from . import s3, upload  # only now: user code is running by the time that ssl is imported

        event = Event(int(time.time() * 1000), self._orders.job, number)
        self._last_name = event.name
        tries = 1 if self._is_doubtful else s3.TRIES
        try:
            uri = self._orders.events + event.name
            upload.upload(uri, envelope, envelope.size, self._orders.sse_kms_key, tries)
        except s3.Undeliverable as error:
            sys.stderr.write("smexec: {}\n".format(error))
            self._tries_s3 = error.may_pass or self._has_reached
            self._is_doubtful = True
            return False
        self._has_reached, self._is_doubtful = True, False
        return True

    def _leave(self, number: int, envelope: protocol.Envelope) -> None:
        """Have the platform take it along, when the job has ended."""
        self._opt_ml.output.mkdir(parents=True, exist_ok=True)
        part = self._opt_ml.output / "{}.part".format(number)
        with part.open("wb") as file:
            file.writelines(envelope)
        part.rename(self._opt_ml.output / str(number))  # whole or not at all: we may be killed


def _sections(news: News) -> List[Buffer]:
    """A file's sections are read when they are sent; the file is gone when they are."""
    if isinstance(news.sections, str):
        path = Path(news.sections)
        with path.open("rb") as file:
            content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        path.unlink()
    else:
        content = memoryview(news.sections)
    parts: List[Buffer] = []
    start = 0
    for size in news.outcome.get("sizes", []) if news.outcome else []:
        parts.append(content[start : start + size])
        start += size
    return parts
