"""Faults that a test orders: which requests they hit, and in what order they are used up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any

from smexec.local.model import ServiceError
from smexec.local.wire import NAMED_ERRORS, Operation, named_error

KINDS = frozenset({"error", "drop", "drop-before", "delay"}) | NAMED_ERRORS
"""What can be ordered.

``throttle``, ``expired``, ``denied`` and ``internal`` are errors in the words of the API's own protocol;
``error`` takes code, message and status; ``drop`` closes the connection after the work was done,
``drop-before`` without doing it; ``delay`` waits and then goes on.
"""


@dataclass
class Fault:
    """One order.

    Attributes:
        operation: ``CreateTrainingJob``, ``s3.PutObject``, ``s3.*`` or ``*``.
        kind: one of :data:`KINDS`.
        times: how many requests it hits; None means all.
        skip: how many matching requests go through before.
        match: only requests whose path or (JSON or form) body contains this.
        code, message, status: of an ``error``.
        seconds: of a ``delay``.
    """

    operation: str
    kind: str
    times: int | None = 1
    skip: int = 0
    match: str = ""
    code: str = "InternalFailure"
    message: str = "ordered by a test"
    status: int = 400
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"fault kind {self.kind!r} is none of {', '.join(sorted(KINDS))}")
        if (self.times is not None and self.times < 1) or self.skip < 0 or self.seconds < 0:
            raise ValueError("a fault has times >= 1 (or None), skip >= 0 and seconds >= 0")

    def hits(self, operation: Operation, text: Callable[[], str]) -> bool:
        """Whether a request is of the kind that was ordered; `text` gives what `match` is looked for in."""
        names = (operation.name, str(operation))
        return any(fnmatchcase(name, self.operation) for name in names) and (
            not self.match or self.match in text()
        )

    def error(self, operation: Operation, account: str) -> ServiceError | None:
        """The error to answer with, if that is what the fault is."""
        if self.kind == "error":
            return ServiceError(self.code, self.message, self.status)
        return named_error(self.kind, operation, account) if self.kind in NAMED_ERRORS else None


class Faults:
    """The orders that are still open, used in the order in which they came."""

    def __init__(self) -> None:
        self._open: list[Fault] = []

    def order(self, fault: Fault) -> None:
        """Take an order."""
        self._open.append(fault)

    def clear(self) -> None:
        """Forget all orders."""
        self._open.clear()

    def describe(self) -> list[dict[str, Any]]:
        """The open orders, with what is left of each."""
        return [asdict(fault) for fault in self._open]

    def take(self, operation: Operation, text: Callable[[], str]) -> Fault | None:
        """The fault for this request: one per request, the oldest that hits it."""
        for fault in self._open:
            if not fault.hits(operation, text):
                continue
            if fault.skip:
                fault.skip -= 1
                continue
            if fault.times is not None:
                fault.times -= 1
                if not fault.times:
                    # By identity: equal orders are different orders.
                    self._open = [other for other in self._open if other is not fault]
            return fault
        return None
