"""One bash for all commands of a build: variables and working directory of one are those of the next."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from smexec.local.containers import Container, start_here
from smexec.local.pipes import write

if TYPE_CHECKING:
    from typing_extensions import Self

# What is said before a command, and the command; its exit code goes back. The commands see neither pipe.
_DRIVER = """
exec 3<"$1" 4>"$2"
while IFS= read -r -d '' said <&3 && IFS= read -r -d '' command <&3; do
    printf '%s\\n' "$said"
    eval "$command" </dev/null 3<&- 4>&-
    printf '%d\\n' $? >&4
done
"""
_LONGEST_CODE = 16  # bytes


class Shell:
    """A running bash; an async context manager. Its directory is its own, the commands' is another.

    Args:
        directory: for its pipes.
        workdir: where the first command finds itself.
        environment: all variables.
    """

    def __init__(self, directory: Path, workdir: Path, environment: Mapping[str, str]) -> None:
        self._pipes = [directory / "commands", directory / "codes"]
        self._workdir = workdir
        self._environment = dict(environment)
        self._container: Container
        self._ended: asyncio.Task[int]
        self._commands = self._codes = -1

    @property
    def output(self) -> asyncio.StreamReader:
        """What the commands write, and what is said before them."""
        return self._container.output

    async def __aenter__(self) -> Self:
        for path in self._pipes:
            os.mkfifo(path)
        # For both ways, which never waits for the other end.
        self._commands, self._codes = [os.open(path, os.O_RDWR | os.O_NONBLOCK) for path in self._pipes]
        command = ["bash", "-c", _DRIVER, "bash", *map(str, self._pipes)]
        self._container = await start_here(command, self._environment, self._workdir)
        self._ended = asyncio.create_task(self._container.wait())
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.kill()
        for fd in (self._commands, self._codes):
            os.close(fd)

    async def kill(self) -> None:
        """End it and all that it has started."""
        self._container.kill()
        await asyncio.wait([self._ended])

    async def run(self, said: str, command: str = ":") -> int:
        """Say something, then run a command: its exit code, or that of the bash which it has ended."""
        await write(self._commands, f"{said}\0{command}\0".encode())
        code = asyncio.create_task(self._code())
        try:
            await asyncio.wait({code, self._ended}, return_when=asyncio.FIRST_COMPLETED)
            return code.result() if code.done() else self._ended.result()
        finally:
            code.cancel()
            await asyncio.gather(code, return_exceptions=True)

    async def _code(self) -> int:
        loop, readable = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._codes, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(self._codes)
        return int(os.read(self._codes, _LONGEST_CODE))
