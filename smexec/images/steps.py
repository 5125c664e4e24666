"""What a build writes → where it failed. docker, BuildKit and podman each say it in their own way."""

from __future__ import annotations

import re

_STEP = re.compile(r"(?:\[\d+/\d+\] )?(?:STEP (?P<podman>\d+/\d+: .*)|Step (?P<docker>\d+/\d+ : .*))")
_VERTEX = re.compile(r"#(?P<number>\d+) (?P<step>\[.*\d+/\d+\] .*)")
_VERTEX_ERROR = re.compile(r"#(?P<number>\d+) ERROR: ")
# podman, docker, BuildKit; and CodeBuild, for a docker that was killed before it could say anything.
_CODE = re.compile(
    r"(?:building at STEP .*: exit status|returned a non-zero code:|did not complete successfully: exit code:"
    r"|Reason: exit status) (\d+)"
)

KILLED = 128 + 9


class Steps:
    """Reads a build's log as it comes.

    :ivar last: the step that began last, or that was said to have failed; empty: none has begun
    :ivar code: exit code of the command that failed
    """

    def __init__(self) -> None:
        self.last = ""
        self.code: int | None = None
        self._vertices: dict[str, str] = {}
        self._failed = False

    def read(self, line: str) -> None:
        """Take note of a line."""
        if step := _STEP.fullmatch(line):
            self.last = "step " + (step["podman"] or step["docker"]).replace(" : ", ": ", 1)
        elif vertex := _VERTEX.fullmatch(line):
            self._vertices[vertex["number"]] = f"step {vertex['step']}"
            if not self._failed:
                self.last = f"step {vertex['step']}"
        elif failure := _VERTEX_ERROR.match(line):
            self.last = self._vertices.get(failure["number"], self.last)
            self._failed = True
        if self.code is None and (code := _CODE.search(line)):
            self.code = int(code[1])

    @property
    def was_killed(self) -> bool:
        """By SIGKILL, which for a build is nearly always the kernel's, for want of memory."""
        return self.code == KILLED
