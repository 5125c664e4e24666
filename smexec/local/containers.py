"""What runs a job's command on one host: a process in namespaces of its own, or podman or docker.

All sit behind :class:`Engine` and :class:`Container`. All run under the shim (``shim.py``), which holds a
pipe to this service: when the service ends, however it ends, so does all that it has started.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
import os
import re
import shutil
import sys
import tempfile
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from smexec.local import shim
from smexec.local.images import Image, find_image
from smexec.local.layout import JobFailure

KILLED = 128 + 9
"""Exit code of a container that was ended by SIGKILL, as the engines report it."""

OPT_ML_VARIABLE = "SMEXEC_OPT_ML"
"""Tells a command where its /opt/ml is, on systems where it cannot be mounted there."""

HOSTS_VARIABLE = "SMEXEC_HOSTS"
"""Tells it the addresses of the job's hosts, where those cannot be given names."""

# From the most isolation to the least; the first that this system allows is taken. Root needs no user
# namespace, a container without privileges may not mount a /proc, which a PID namespace needs, and macOS
# has none at all.
LEVELS: tuple[tuple[str, ...], ...] = (
    ("mount", "ipc", "uts", "pid"),
    ("user", "mount", "ipc", "uts", "pid"),
    ("mount", "ipc", "uts"),
    ("user", "mount", "ipc", "uts"),
    (),
)

logger = logging.getLogger(__name__)

_OPT_ML = re.compile(r"(?<![\w./-])/opt/ml(?![\w.-])")


@dataclass(frozen=True)
class Spec:
    """One host's container.

    Attributes:
        name: unique on this machine.
        image: its name.
        entrypoint: empty: the image's own.
        arguments: empty: the image's own if the entry point is its own, too.
        environment: all variables of the command.
        opt_ml: the directory that it sees as /opt/ml.
        workdir: a directory of its own for a command that is not in an image.
        read_only: paths below /opt/ml that it must not change.
        mounts: directories by their path in the container; a real image keeps its other files of /opt/ml.
        hostname: as it calls itself; all of ``hosts`` can be reached by name.
        hosts: name to IP address.
        network: False under network isolation.
        relays: addresses, two and two, that join a network of its own with this machine (see ``relay.py``);
            none: it shares the machine's, unless isolated.
    """

    name: str
    image: str
    entrypoint: Sequence[str]
    arguments: Sequence[str]
    environment: Mapping[str, str]
    opt_ml: Path
    workdir: Path
    read_only: Sequence[str] = ()
    mounts: Mapping[str, Path] = field(default_factory=dict)
    hostname: str = "algo-1"
    hosts: Mapping[str, str] = field(default_factory=dict)
    network: bool = True
    relays: Sequence[str] = ()


class Container:
    """A running container. Its output is stdout and stderr, in the order in which they were written."""

    def __init__(self, process: Process) -> None:
        assert process.stdout is not None and process.stdin is not None  # noqa: PT018
        self.output: asyncio.StreamReader = process.stdout
        self._process = process
        self._lifeline = process.stdin

    def terminate(self) -> None:
        """SIGTERM to the command."""
        self._order(shim.TERMINATE)

    def kill(self) -> None:
        """SIGKILL to all that runs in the container."""
        self._order(shim.KILL)

    async def wait(self) -> int:
        """The exit code, as docker gives it. Nothing of the container runs any more then."""
        try:
            return await self._process.wait()
        finally:
            self._lifeline.close()
            with contextlib.suppress(ConnectionError):  # of an order that came too late
                await self._lifeline.wait_closed()

    def _order(self, order: bytes) -> None:
        # A container that has ended does not listen any more; that is no error.
        with contextlib.suppress(ConnectionError, RuntimeError):
            self._lifeline.write(order)


class Engine(Protocol):
    """Starts containers."""

    def prepare(self) -> None:
        """Begin to find out what can be known before the first job; within a running loop."""

    async def gives_networks(self) -> bool:
        """Whether each container can have a network of its own, joined with this machine by relays."""

    async def start(self, spec: Spec) -> Container:
        """Start one.

        Raises:
            JobFailure: nothing was started, and the reason is the request's or the machine's.
        """


class ProcessEngine:
    """Runs the command as a process of this machine, in namespaces as far as the system allows.

    The machine is the image: PATH and home directory are those of the service's user. ``scratch`` is for what
    it tries out, a directory that goes with the service even if that is killed. ``images`` gives the
    directories that stand for images, by name.
    """

    def __init__(
        self, scratch: Path | None = None, images: Callable[[], Mapping[str, str]] = dict[str, str]
    ) -> None:
        self._scratch = scratch
        self._images = images
        self._level: asyncio.Task[tuple[str, ...]] | None = None
        self._network: asyncio.Task[bool] | None = None

    def prepare(self) -> None:
        """See :class:`Engine`."""
        if self._level is None:
            self._level = asyncio.create_task(_probe(self._scratch))

    async def namespaces(self) -> tuple[str, ...]:
        """Those of :data:`LEVELS` that work here; found out once, by trying."""
        self.prepare()
        assert self._level is not None
        return await asyncio.shield(self._level)

    async def gives_networks(self) -> bool:
        """See :class:`Engine`; found out once, by trying."""
        level = await self.namespaces()
        if "mount" not in level:
            return False
        if self._network is None:
            self._network = asyncio.create_task(_works((*level, "network"), self._scratch))
        return await asyncio.shield(self._network)

    async def start(self, spec: Spec) -> Container:
        """See :class:`Engine`."""
        return await _start(self.plan(spec, await self.namespaces()))

    def plan(self, spec: Spec, namespaces: tuple[str, ...]) -> shim.Plan:
        """What the shim has to do. Writes what it needs for that into the container's directory."""
        image = find_image(self._images(), spec.image)
        if image:
            image.place(spec.opt_ml)
            spec = in_image(spec, image)
        if not spec.entrypoint:
            raise JobFailure(
                f"ClientError: the process engine has no image {spec.image}, so it cannot know its command. "
                "Give an entry point, or tell the service where the image's files are (--image NAME=DIR), "
                "or run it with the engine podman or docker."
            )
        outside = [path for path in spec.mounts if not _OPT_ML.match(path)]
        if outside:
            raise JobFailure(f"ClientError: the process engine mounts only below /opt/ml, not {outside[0]}")
        if "mount" not in namespaces:
            spec = without_mounts(spec)
        return {
            "command": [*spec.entrypoint, *spec.arguments],
            "environment": {**self.environment(spec), **spec.environment},
            "workdir": str(spec.workdir),
            "namespaces": [*namespaces, *_network_of(spec, namespaces)],
            "opt_ml": str(spec.opt_ml),
            "read_only": list(spec.read_only),
            "files": _own_hosts(spec) if "mount" in namespaces else {},
            "hostname": spec.hostname,
            "relays": list(spec.relays),
            "end": [],
        }

    def environment(self, spec: Spec) -> dict[str, str]:
        """What an image would set, and a place for temporary files that is gone after the job."""
        temporary = spec.workdir / "tmp"
        temporary.mkdir(exist_ok=True)
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(Path.home()),  # /root for root, as on the platform
            "LANG": os.environ.get("LANG", "C.UTF-8"),
            "TMPDIR": str(temporary),
        }


@dataclass(frozen=True)
class CommandEngine:
    """podman or docker, by its command line: real containers of real images."""

    program: str
    memory: str | None = None  # as the engine writes it: 512m, 4g

    def prepare(self) -> None:
        """See :class:`Engine`; there is nothing."""

    async def gives_networks(self) -> bool:
        """See :class:`Engine`: podman starts containers itself, so that they share what it was started in."""
        return self.program == "podman" and sys.platform == "linux" and await _works(("network",))

    async def start(self, spec: Spec) -> Container:
        """See :class:`Engine`."""
        if shutil.which(self.program) is None:
            raise JobFailure(f"ClientError: the service has the engine {self.program}, but not its program.")
        environment = dict(os.environ)  # for the engine's client; the container has its own
        return await start_here(self.command(spec), environment, Path("/"), self.end(spec), spec.relays)

    def command(self, spec: Spec) -> list[str]:
        """``run …``: the entry point's rules are those of the platform."""
        options = ["--rm", "--name", spec.name, "--hostname", spec.hostname]
        cut_off = _is_cut_off(spec) and not spec.relays
        options += ["--network", "none" if cut_off else "host"]
        options += ["--init"] if self.program == "docker" or _has_podman_init() else []
        options += ["--memory", self.memory] if self.memory else []
        for name, address in spec.hosts.items():
            options += ["--add-host", f"{name}:{address}"]
        for path, directory in spec.mounts.items():
            options += ["--volume", f"{directory}:{path}"]
        for path in spec.read_only:
            options += ["--volume", f"{spec.opt_ml / path.removeprefix(shim.OPT_ML + '/')}:{path}:ro"]
        for name, value in {"HOME": "/root", **spec.environment}.items():
            options += ["--env", f"{name}={value}"]
        if not spec.entrypoint:
            return [self.program, "run", *options, spec.image, *spec.arguments]
        first, *rest = spec.entrypoint
        return [self.program, "run", *options, "--entrypoint", first, spec.image, *rest, *spec.arguments]

    def end(self, spec: Spec) -> list[str]:
        """Kills and removes the container."""
        at_once = ["--time", "0"] if self.program == "podman" else []  # it would give it ten seconds first
        return [self.program, "rm", "--force", *at_once, spec.name]


def engine_named(
    name: str,
    memory: str | None = None,
    scratch: Path | None = None,
    images: Callable[[], Mapping[str, str]] = dict[str, str],
) -> Engine:
    """Of the service's configuration: process, podman or docker."""
    return ProcessEngine(scratch, images) if name == "process" else CommandEngine(name, memory)


def in_image(spec: Spec, image: Image) -> Spec:
    """The same container with what the image has for it: its command is all in the entry point."""
    return dataclasses.replace(
        spec,
        entrypoint=image.command(spec.entrypoint, spec.arguments),
        arguments=(),
        environment={**image.env, **spec.environment},
    )


def without_mounts(spec: Spec) -> Spec:
    """The same container where /opt/ml cannot be mounted: names in it become names of the real place.

    What finds the place by itself is told by :data:`OPT_ML_VARIABLE`, and what finds hosts by their names by
    :data:`HOSTS_VARIABLE`.
    """

    def moved(text: str) -> str:
        return _OPT_ML.sub(lambda _: str(spec.opt_ml), text)

    environment = {name: moved(value) for name, value in spec.environment.items()}
    return dataclasses.replace(
        spec,
        entrypoint=[moved(item) for item in spec.entrypoint],
        arguments=[moved(item) for item in spec.arguments],
        environment={
            **environment,
            OPT_ML_VARIABLE: str(spec.opt_ml),
            HOSTS_VARIABLE: json.dumps(dict(spec.hosts)),
        },
        read_only=(),
    )


def _is_cut_off(spec: Spec) -> bool:
    """Whether it reaches nothing. The hosts of one job reach each other under network isolation too."""
    must_meet = len(spec.hosts) > 1
    if must_meet and not spec.network:
        logger.warning("hosts share the machine's network here: a job runs without its network isolation")
    return not (spec.network or must_meet)


def _network_of(spec: Spec, namespaces: tuple[str, ...]) -> list[str]:
    if not (spec.relays or _is_cut_off(spec)):
        return []
    if not namespaces:
        logger.warning("no network namespace is allowed here: a job runs without its network isolation")
        return []
    return ["network"]


def _own_hosts(spec: Spec) -> dict[str, str]:
    """A file for /etc/hosts in which the hosts of the job have names."""
    if not Path("/etc/hosts").is_file():
        return {}
    path = spec.workdir / "hosts"
    own = "".join(f"{address} {name}\n" for name, address in spec.hosts.items())
    path.write_text(own + Path("/etc/hosts").read_text(encoding="utf-8"), encoding="utf-8")
    return {"/etc/hosts": str(path)}


def _has_podman_init() -> bool:
    """Debian recommends catatonit to podman but does not require it, and ``--init`` fails without."""
    path = "/usr/libexec/podman:/usr/lib/podman:" + os.environ.get("PATH", os.defpath)
    return shutil.which("catatonit", path=path) is not None


async def start_here(
    command: Sequence[str],
    environment: Mapping[str, str],
    workdir: Path,
    end: Sequence[str] = (),
    relays: Sequence[str] = (),
) -> Container:
    """A command in the world of the service itself, but for a network where there are relays.

    All that it starts ends with it.
    """
    return await _start(
        {
            "command": [*command],
            "environment": {**environment},
            "workdir": str(workdir),
            "namespaces": ["network"] if relays else [],
            "opt_ml": "",
            "read_only": [],
            "files": {},
            "hostname": "",
            "relays": [*relays],
            "end": [*end],
        }
    )


async def _start(plan: shim.Plan) -> Container:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        "-S",
        shim.__file__,
        stdin=PIPE,
        stdout=PIPE,
        stderr=STDOUT,
        start_new_session=True,  # a terminal's Ctrl-C is the service's affair
    )
    assert process.stdin is not None
    text = json.dumps(plan).encode()
    process.stdin.write(shim.LENGTH.pack(len(text)) + text)
    return Container(process)


async def _probe(scratch: Path | None) -> tuple[str, ...]:
    """The first of the levels at which a command really sees its /opt/ml."""
    if sys.platform != "linux":
        return ()
    for level in LEVELS:
        if level and await _works(level, scratch):
            return level
    return ()


async def _works(namespaces: tuple[str, ...], scratch: Path | None = None) -> bool:
    with tempfile.TemporaryDirectory(prefix="probe-", dir=scratch) as directory:
        witness = Path(directory, "witness")
        witness.touch()  # noqa: ASYNC240  (an empty file, once per service)
        spec = Spec(
            name="probe",
            image="",
            entrypoint=["test", "-e", f"{shim.OPT_ML}/{witness.name}"],
            arguments=[],
            environment={},
            opt_ml=Path(directory),
            workdir=Path(directory),
        )
        container = await _start(ProcessEngine().plan(spec, namespaces))
        try:
            said = await container.output.read()
        finally:
            container.kill()
            code = await container.wait()
        logger.debug("namespaces %s: exit code %d %s", namespaces, code, said.decode(errors="replace"))
        return code == 0
