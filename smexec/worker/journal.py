"""Which outcomes have reached S3: for the container that the platform may start the same job in again.

The platform keeps ``/opt/ml/checkpoints`` where the request asks for it, and puts it back. Each container
writes a file of its own there. A line counts if its signature holds: one that was cut off costs a call that
runs twice, never one that does not run.
"""

from __future__ import annotations

import hmac
import secrets
import sys
from pathlib import Path
from typing import List, Sequence, Set

from . import protocol

_FOLDER = "smexec"  # beside what the user may keep there


class Journal:
    """Of one job. Does nothing where there are no checkpoints.

    :param checkpoints: the folder that the platform keeps
    """

    def __init__(self, checkpoints: Path, key: bytes, job: str) -> None:
        self._folder = checkpoints / _FOLDER
        self._is_kept = checkpoints.is_dir()
        self._own = self._folder / secrets.token_hex(8)
        self._key = key
        self._purpose = protocol.delivered_purpose(job)

    def delivered(self) -> Set[int]:
        """The calls that earlier containers of this job have noted."""
        calls: Set[int] = set()
        try:
            for path in self._folder.glob("*"):
                for line in path.read_bytes().splitlines():
                    calls.update(self._calls(line))
        except OSError as error:
            _tell(error)
        return calls

    def note(self, calls: Sequence[int]) -> None:
        """The outcomes of these calls are in S3."""
        if not (calls and self._is_kept):
            return
        text = ",".join(map(str, calls)).encode()
        try:
            self._folder.mkdir(exist_ok=True)
            with self._own.open("ab") as file:
                file.write(self._mac(text) + b" " + text + b"\n")
        except OSError as error:  # a disk that a call has filled, say: the outcomes are out all the same
            _tell(error)

    def _calls(self, line: bytes) -> List[int]:
        mac, _, text = line.partition(b" ")
        return list(map(int, text.split(b","))) if hmac.compare_digest(mac, self._mac(text)) else []

    def _mac(self, text: bytes) -> bytes:
        return protocol.sign(self._key, self._purpose, [text]).hex().encode()


def _tell(error: OSError) -> None:
    sys.stderr.write("smexec: if this job is started again, calls may run twice: {}\n".format(error))
