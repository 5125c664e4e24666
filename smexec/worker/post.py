"""How news leave the container: to S3 as they come, or with the job's output where S3 is out of reach.

Many small pieces of news travel in one object, a large one in an object of its own. They are sent by a thread:
the worker itself has calls to hand out.
"""

from __future__ import annotations

import mmap
import os
import sys
import threading
import time
from typing import Dict, List, NamedTuple, Optional, Sequence, Union

from . import protocol
from .container import OptMl, Orders
from .protocol import Buffer, Event, Header

_SOON = 0.25  # seconds that news may wait for more to travel with
_ENOUGH = 4 << 20  # bytes that need not wait


class News(NamedTuple):
    """A call has started (no ``outcome``), or ended."""

    call: int
    outcome: Optional[Header]
    sections: Sequence[Buffer]

    @property
    def size(self) -> int:
        """Bytes of its sections."""
        return sum(memoryview(section).nbytes for section in self.sections)


class Post:
    """Sends news in the order in which it is given them."""

    def __init__(self, orders: Orders, opt_ml: OptMl) -> None:
        self._orders = orders
        self._opt_ml = opt_ml
        self._reaches_s3 = not orders.isolated
        self._waiting: List[News] = []
        self._size = 0
        self._number = 0
        self._closed = False
        self._changed = threading.Condition()
        self._thread: Optional[threading.Thread] = None

    def started(self, calls: Sequence[int]) -> None:
        """These calls have started."""
        self._add([News(call, None, ()) for call in calls])

    def ended(self, call: int, outcome: Header, sections: Union[bytes, str, None] = None) -> None:
        """A call has ended.

        :param sections: their bytes, or the path of a file with them, which then is ours
        """
        held: Buffer = _opened(sections) if isinstance(sections, str) else sections or b""
        self._add([News(call, outcome, _split(held, outcome.get("sizes", [])))])

    def close(self) -> None:
        """Send what is left; return when it is out."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread:
            self._thread.join()

    def _add(self, news: List[News]) -> None:
        with self._changed:
            self._waiting += news
            self._size += sum(piece.size for piece in news)
            self._changed.notify()
            if self._thread is None:  # only now: the nursery must have been forked by then
                self._thread = threading.Thread(target=self._send_all, name="post", daemon=True)
                self._thread.start()

    def _send_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._number:  # the first news go at once: the client waits for the start
                    self._changed.wait_for(lambda: self._size >= _ENOUGH or self._closed, _SOON)
                news, self._waiting, self._size = self._waiting, [], 0
                if not news and self._closed:
                    return
            self._send(news)

    def _send(self, news: Sequence[News]) -> None:
        events: List[Dict[str, object]] = []
        sections: List[Buffer] = []
        for piece in news:
            events.append({"call": piece.call, "outcome": piece.outcome, "sections": len(piece.sections)})
            sections += piece.sections
        number, self._number = self._number, self._number + 1
        body = protocol.encode_body({"events": events}, sections)
        purpose = protocol.events_purpose(self._orders.job, number)
        envelope = protocol.seal(self._orders.key, purpose, body)
        if not (self._reaches_s3 and self._reach(number, envelope)):
            self._leave(number, envelope)

    def _reach(self, number: int, envelope: Sequence[Buffer]) -> bool:
        """Write to S3; False if it does not take it. One that may take it later is tried again next time."""
        from . import s3  # only now: user code is running by the time that ssl is imported

        event = Event(int(time.time() * 1000), self._orders.job, number)
        try:
            s3.put(self._orders.events + event.name, envelope, self._orders.sse_kms_key)
        except s3.Undeliverable as error:
            sys.stderr.write("smexec: {}\n".format(error))
            self._reaches_s3 = error.may_pass
            return False
        return True

    def _leave(self, number: int, envelope: Sequence[Buffer]) -> None:
        """Have the platform take it along, when the job has ended."""
        self._opt_ml.output.mkdir(parents=True, exist_ok=True)
        with (self._opt_ml.output / str(number)).open("wb") as file:
            file.writelines(envelope)


def _opened(path: str) -> memoryview:
    """A file's bytes without reading them; the file is gone when they are."""
    with open(path, "rb") as file:
        content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    os.unlink(path)
    return content


def _split(content: Buffer, sizes: Sequence[int]) -> List[Buffer]:
    view, parts, start = memoryview(content), [], 0
    for size in sizes:
        parts.append(view[start : start + size])
        start += size
    return list(parts)
