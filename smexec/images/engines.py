"""Images built on this machine, by docker or podman."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import json
import os
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

from smexec.aws import ecr
from smexec.aws.client import Client
from smexec.errors import SettingsError
from smexec.images.order import BuildLog, Image, Order

ENGINES = ("docker", "podman")
_ENDING = 10.0  # seconds that a build gets to end when it is told to
_MORE_MEMORY = "Give the engine more, or build in CodeBuild (--using codebuild --compute-type ...)."


async def works(program: str) -> bool:
    """Whether there is such an engine, and it answers."""
    try:
        return await _run([program, "version"], lambda _: None) == 0
    except FileNotFoundError:
        return False


async def build(program: str, order: Order, uri: str) -> Image:
    """Build an image.

    :param uri: what it is to be called
    :raises smexec.errors.BuildFailed: it cannot be built
    """
    log, context = BuildLog(order.tell), order.context
    with tempfile.TemporaryDirectory(prefix="smexec-") as directory:
        identity = Path(directory, "id")
        options = ["--tag", uri, "--file", str(context.dockerfile), "--iidfile", str(identity)]
        command = [program, "build", *options, *context.flags, str(context.directory)]
        code = await _run(command, log.write)
        if code:
            raise log.failure(uri, f"{program} build: exit code {code}", _MORE_MEMORY)
        digest = identity.read_text(encoding="ascii").strip()  # noqa: ASYNC240  (a line)
    # What has no registry podman calls by this name; docker has none for it.
    is_podmans = program == "podman" and not order.reference.registry and uri == str(order.reference)
    return Image(f"localhost/{uri}" if is_podmans else uri, digest)


async def push(program: str, order: Order, uri: str, aws: Client) -> Image:
    """Push an image to ECR.

    :raises smexec.errors.BuildFailed: it is not taken
    """
    log = BuildLog(order.tell)
    with tempfile.TemporaryDirectory(prefix="smexec-") as directory:
        login = _logged_in(Path(directory), uri.partition("/")[0], await ecr.login(aws))
        variables = {**os.environ, **await _daemon(program), **login}
        code = await _run([program, "push", uri], log.write, variables)
    if code:
        raise log.failure(uri, f"{program} push: exit code {code}", _MORE_MEMORY)
    return Image(uri, await ecr.digest(aws, order.reference.name, order.reference.tag))


def _logged_in(directory: Path, registry: str, token: str) -> Mapping[str, str]:
    """Variables that let a client in, by a configuration that goes with the directory."""
    file = directory / "config.json"
    file.touch(mode=0o600)
    file.write_text(json.dumps({"auths": {registry: {"auth": token}}}), encoding="ascii")
    return {"DOCKER_CONFIG": str(directory), "REGISTRY_AUTH_FILE": str(file)}


async def _daemon(program: str) -> Mapping[str, str]:
    """Variables that lead to the daemon that has the image: which one, the user's own configuration says."""
    if program != "docker":
        return {}
    said: list[str] = []
    code = await _run(["docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"], said.append)
    return {"DOCKER_HOST": said[-1]} if said and not code else {}


async def choose(using: str | None) -> str | None:
    """The engine to use: the one that was named, or the first that works; None if none does.

    :raises SettingsError: the one that was named does not work
    """
    if using is None:
        for program in ENGINES:
            if await works(program):
                return program
        return None
    if not await works(using):
        raise SettingsError(f"{using} does not work here: `{using} version` says why")
    return using


async def _run(
    command: Sequence[str], write: Callable[[str], None], environment: Mapping[str, str] | None = None
) -> int:
    """Run a program; its exit code. It ends with the task."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=STDOUT,
        env=environment,
        start_new_session=True,  # a terminal's Ctrl-C is ours, and we tell it
    )
    assert process.stdout is not None
    try:
        async for line in _lines(process.stdout):
            write(line)
        return await process.wait()
    except BaseException:
        await _end(process)
        raise


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), _ENDING)
    except asyncio.TimeoutError:
        process.kill()
        await process.wait()


async def _lines(source: asyncio.StreamReader) -> AsyncIterator[str]:
    """Lines of any length, without their ends."""
    decoder, rest = codecs.getincrementaldecoder("utf-8")("replace"), ""
    while data := await source.read(1 << 16):
        *lines, rest = (rest + decoder.decode(data)).split("\n")
        for line in lines:
            yield line.rstrip("\r")
    if rest:
        yield rest
