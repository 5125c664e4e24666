"""A build on its way: its source, its phases, its commands, its log."""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import sys
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

from smexec.local.buildspec import Buildspec, BuildspecError, Phase, parse
from smexec.local.codebuild import Build
from smexec.local.codebuild_shell import Shell
from smexec.local.host import Surroundings
from smexec.local.layout import JobFailure
from smexec.local.logs import LogStream, create_group
from smexec.local.run import Platform, cancelled, scratch
from smexec.local.transfer import Location, failing_as

_TOOLS = ("docker", "aws")
_SERVICES_OWN = ("AWS_", "SMEXEC_")
_SECONDS = 60
_log = logging.getLogger("smexec.local")


async def run_build(build: Build, platform: Platform) -> None:
    """Run a build to its end. An error of ours ends it as the service's own errors do."""
    try:
        status = await BuildRun(build, platform).live()
    except Exception:
        _log.exception("the build %s failed", build.id)
        status = "FAULT"
    build.complete(status)


class BuildRun:
    """One build; see :func:`run_build`."""

    def __init__(self, build: Build, platform: Platform) -> None:
        self._build = build
        self._platform = platform
        self._around: Surroundings = platform.around

    async def live(self) -> str:
        """Until it has ended or is ended: its status."""
        build = self._build
        build.enter("PROVISIONING")
        group, stream = build.log
        await create_group(self._around.logs, group)
        log = LogStream(self._around.logs, group, stream)
        async with scratch(self._platform.directory) as directory:
            source = directory / "src"
            source.mkdir()
            async with Shell(directory, source, self._environment(directory, source)) as shell:
                copying = asyncio.create_task(log.copy(shell.output))
                try:
                    return await self._unless_stopped(shell, source)
                finally:
                    await shell.kill()
                    await copying

    async def _unless_stopped(self, shell: Shell, source: Path) -> str:
        """The work, or as much of it as is done before it is stopped or out of time."""
        stop = asyncio.create_task(self._build.stop_requested.wait())
        working = asyncio.create_task(self._work(shell, source))
        minutes = self._build.describe()["timeoutInMinutes"]
        try:
            await asyncio.wait(
                {stop, working}, timeout=minutes * _SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            if working.done():
                return working.result()
            status = "STOPPED" if stop.done() else "TIMED_OUT"
            self._build.fail_phase(status, f"Build {status.lower().replace('_', ' ')}", status)
            return status
        finally:
            await cancelled(stop, working)

    async def _work(self, shell: Shell, source: Path) -> str:
        """All phases: SUCCEEDED or FAILED."""
        self._build.enter("DOWNLOAD_SOURCE")
        try:
            await self._fetch(source)
            spec = self._buildspec(source)
        except (JobFailure, BuildspecError) as error:
            code = "YAML_FILE_ERROR" if isinstance(error, BuildspecError) else "CLIENT_ERROR"
            await self._fail(shell, code, str(error))
            return "FAILED"
        await shell.run(_said("Phase complete: DOWNLOAD_SOURCE State: SUCCEEDED"), self._exports(spec))
        succeeded = await self._run_phases(shell, spec.phases)
        if succeeded:
            self._build.enter("UPLOAD_ARTIFACTS")
        self._build.enter("FINALIZING")
        return "SUCCEEDED" if succeeded else "FAILED"

    async def _run_phases(self, shell: Shell, phases: Sequence[Phase]) -> bool:
        succeeded = True
        for phase in phases:
            if await self._run_phase(shell, phase):
                continue
            succeeded = False
            if phase.is_last_if_it_fails:
                break
        return succeeded

    async def _run_phase(self, shell: Shell, phase: Phase) -> bool:
        """Whether all of its commands have succeeded."""
        name = phase.name.upper()
        self._build.enter(name)
        await shell.run(_said(f"Entering phase {name}"))
        failed = await self._run_commands(shell, phase.commands)
        failed = await self._run_commands(shell, phase.at_the_end) or failed
        if failed:
            command, code = failed
            message = f"Error while executing command: {command}. Reason: exit status {code}"
            await self._fail(shell, "COMMAND_EXECUTION_ERROR", message)
            return False
        await shell.run(_said(f"Phase complete: {name} State: SUCCEEDED"))
        return True

    async def _run_commands(self, shell: Shell, commands: Sequence[str]) -> tuple[str, int] | None:
        """The first that fails, and its exit code; none is run behind it."""
        for command in commands:
            if code := await shell.run(_said(f"Running command {command}"), command):
                return command, code
        return None

    async def _fail(self, shell: Shell, code: str, message: str) -> None:
        self._build.fail_phase(code, message)
        await shell.run(_said(f"Phase complete: {self._build.phases[-1].name} State: FAILED"))
        await shell.run(_said(f"Phase context status code: {code} Message: {message}"))

    async def _fetch(self, source: Path) -> None:
        """Download and unpack the source.

        Raises:
            JobFailure: it cannot be had.
        """
        location = Location.of(f"s3://{self._build.request['source']['location']}")
        archive = source.parent / "source.zip"
        with failing_as("error while downloading the source"):
            await self._around.storage.download(location, archive)
            await asyncio.to_thread(_unzip, archive, source)

    def _buildspec(self, source: Path) -> Buildspec:
        """A file of the source, or the text itself.

        Raises:
            BuildspecError: there is none, or none that can be read.
        """
        given = self._build.request["source"].get("buildspec") or "buildspec.yml"
        if "\n" in given or given.lstrip().startswith(("{", "version")):
            return parse(given)
        file = source / given
        if not file.is_file():
            raise BuildspecError(f"there is no {given}")
        return parse(file.read_text(encoding="utf-8"))

    def _exports(self, spec: Buildspec) -> str:
        """A command: variables of the buildspec give way to those of the project."""
        own = {one["name"] for one in self._build.request["environment"].get("environmentVariables", ())}
        pairs = [f"{name}={value}" for name, value in spec.variables.items() if name not in own]
        return shlex.join(["export", *pairs]) if pairs else ":"

    def _environment(self, directory: Path, source: Path) -> dict[str, str]:
        """Those of the machine, for its engine; those of the build; and the way to the service."""
        outside = {name: text for name, text in os.environ.items() if not name.startswith(_SERVICES_OWN)}
        given = self._build.request["environment"].get("environmentVariables", ())
        region, build = self._around.region, self._build
        return {
            **outside,
            **self._around.reach(),
            "AWS_REGION": region,
            "AWS_DEFAULT_REGION": region,
            "CODEBUILD_BUILD_ID": build.id,
            "CODEBUILD_BUILD_NUMBER": str(build.number),
            "CODEBUILD_SRC_DIR": str(source),
            "PATH": f"{_tools(directory / 'bin')}:{os.environ.get('PATH', os.defpath)}",
            "SMEXEC_LOCAL_ENGINE": self._platform.config.engine,
            **{one["name"]: one["value"] for one in given},
        }


def _tools(directory: Path) -> Path:
    """The programs that a build image has, and that lead to this machine's engine here."""
    directory.mkdir()
    for name in _TOOLS:
        program = "from smexec.local.build_tools import main; main()"
        command = shlex.join([sys.executable, "-I", "-c", program, name])
        tool = directory / name
        tool.write_text(f'#!/bin/sh\nexec {command} "$@"\n', encoding="utf-8")
        tool.chmod(0o755)
    return directory


def _unzip(archive: Path, directory: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as file:
            file.extractall(directory)
    except zipfile.BadZipFile as error:
        raise ValueError(f"the source is no ZIP file: {error}") from None


def _said(text: str) -> str:
    """A line of the build's own."""
    now = time.time()
    moment = time.strftime("%Y/%m/%d %H:%M:%S", time.gmtime(now))
    return f"[Container] {moment}.{int(now % 1 * 1e6):06d} {text}"
