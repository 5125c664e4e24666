"""Containers, for real: commands in namespaces as this system allows them, and in podman where it is."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import gc
import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smexec.local import containers, shim
from smexec.local.containers import (
    HOSTS_VARIABLE,
    KILLED,
    LEVELS,
    OPT_ML_VARIABLE,
    CommandEngine,
    Container,
    ProcessEngine,
    Spec,
    without_mounts,
)
from smexec.local.layout import JobFailure

pytestmark = pytest.mark.anyio
linux = pytest.mark.skipif(sys.platform != "linux", reason="namespaces and /proc are Linux's")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def spec(tmp_path: Path) -> Spec:
    for name in ("ml", "ml/input", "ml/model", "work"):
        (tmp_path / name).mkdir()
    return Spec(
        name="job-algo-1",
        image="image:tag",
        entrypoint=["true"],
        arguments=[],
        environment={},
        opt_ml=tmp_path / "ml",
        workdir=tmp_path / "work",
        hosts={"algo-1": "127.0.0.1", "algo-2": "127.0.0.2"},
    )


class Leveled(ProcessEngine):
    """An engine that is told how much this system allows."""

    def __init__(self, level: tuple[str, ...]) -> None:
        super().__init__()
        self._told = level

    async def namespaces(self) -> tuple[str, ...]:
        return self._told


@functools.cache
def allowed(level: tuple[str, ...]) -> bool:
    return not level or asyncio.run(containers._works(level))


def engine_of(level: tuple[str, ...]) -> ProcessEngine:
    if not allowed(level):
        pytest.skip(f"not allowed here: {', '.join(level)}")
    return Leveled(level)


@pytest.fixture(params=LEVELS, ids=lambda level: "+".join(level) or "none")
def engine(request: pytest.FixtureRequest) -> ProcessEngine:
    return engine_of(request.param)


async def run(engine: containers.Engine, spec: Spec, script: str, *arguments: str) -> tuple[int, str]:
    """Exit code and output of a shell script."""
    spec = dataclasses.replace(spec, entrypoint=["sh", "-c", script], arguments=arguments)
    return await finish(await engine.start(spec))


async def finish(container: Container) -> tuple[int, str]:
    output = (await container.output.read()).decode()
    return await container.wait(), output


async def started(engine: containers.Engine, spec: Spec, script: str) -> Container:
    """A container that has written a line, ``up``."""
    container = await engine.start(dataclasses.replace(spec, entrypoint=["sh", "-c", script]))
    assert await container.output.readline() == b"up\n"
    return container


def processes(text: str) -> list[int]:
    """Pids of what has this in its command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if text.encode() in (entry / "cmdline").read_bytes() and int(entry.name) != os.getpid():
                found.append(int(entry.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def gone(text: str, seconds: float = 60.0) -> bool:
    """Wait until no process has this in its command line."""
    deadline = time.monotonic() + seconds
    while processes(text):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


class TestTheWorldOfACommand:
    async def test_opt_ml(self, engine: ProcessEngine, spec: Spec) -> None:
        (spec.opt_ml / "input" / "x").write_text("from the platform")
        code, output = await run(engine, spec, "cat /opt/ml/input/x && echo made > /opt/ml/model/m")
        assert (code, output) == (0, "from the platform")
        assert (spec.opt_ml / "model" / "m").read_text() == "made\n"

    async def test_nothing_appears_on_the_host(self, engine: ProcessEngine, spec: Spec) -> None:
        before = Path("/opt/ml").exists()
        await run(engine, spec, "true")
        assert Path("/opt/ml").exists() == before

    async def test_what_lies_beside_opt_ml_stays(self, engine: ProcessEngine, spec: Spec) -> None:
        beside = sorted(path.name for path in Path("/opt").iterdir() if path.name != "ml")
        _, output = await run(engine, spec, "ls -A /opt")
        assert sorted(set(output.split()) - {"ml"}) == beside

    async def test_environment(
        self, engine: ProcessEngine, spec: Spec, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SECRET_OF_THE_SERVICE", "1")
        spec = dataclasses.replace(spec, environment={"GIVEN": "a b\n c", "HOSTNAME": "algo-1"})
        code, output = await run(engine, spec, 'env -0; test "$GIVEN" = "a b\n c"')
        names = {line.partition("=")[0] for line in output.split("\0")}
        shells = {"PWD", "OLDPWD", "SHLVL", "_", ""}
        assert code == 0
        given = names - shells - {OPT_ML_VARIABLE, HOSTS_VARIABLE}
        assert given == {"GIVEN", "HOSTNAME", "PATH", "HOME", "LANG", "TMPDIR"}
        assert f"PATH={os.environ['PATH']}\0" in output

    async def test_the_requests_path_decides(self, engine: ProcessEngine, spec: Spec) -> None:
        program = spec.workdir / "program"
        program.write_text("#!/bin/sh\necho mine")
        program.chmod(0o755)
        spec = dataclasses.replace(spec, entrypoint=["program"], environment={"PATH": str(spec.workdir)})
        assert await finish(await engine.start(spec)) == (0, "mine\n")

    async def test_working_directory_and_temporary_files(self, engine: ProcessEngine, spec: Spec) -> None:
        code, output = await run(engine, spec, 'pwd; echo x > file; echo y > "$TMPDIR/z"')
        assert (code, output) == (0, f"{spec.workdir}\n")
        assert (spec.workdir / "file").exists()
        assert (spec.workdir / "tmp" / "z").exists()

    async def test_stdin_is_empty_and_both_outputs_are_one(self, engine: ProcessEngine, spec: Spec) -> None:
        assert await run(engine, spec, "cat; echo a; echo b >&2; echo c") == (0, "a\nb\nc\n")

    async def test_signals_have_their_defaults(self, engine: ProcessEngine, spec: Spec) -> None:
        # Python ignores SIGPIPE, and whoever is started inherits that.
        code, _ = await run(engine, spec, "kill -PIPE $$; exit 0")
        assert code == 128 + signal.SIGPIPE


@linux
class TestNamespaces:
    @pytest.fixture(params=[level for level in LEVELS if "pid" in level], ids="+".join)
    def engine(self, request: pytest.FixtureRequest) -> ProcessEngine:
        return engine_of(request.param)

    async def test_processes_are_its_own(self, engine: ProcessEngine, spec: Spec) -> None:
        code, output = await run(engine, spec, "readlink /proc/self/ns/pid; ls -d /proc/[0-9]*")
        assert code == 0
        assert output.count("/proc/") <= 5
        assert str(Path("/proc/self/ns/pid").readlink()) not in output

    async def test_shared_memory_is_its_own(self, engine: ProcessEngine, spec: Spec) -> None:
        name = f"/dev/shm/smexec-test-{os.getpid()}"
        code, _ = await run(engine, spec, f"echo x > {name}")
        assert code == 0
        assert not Path(name).exists()

    async def test_hosts_have_names(self, engine: ProcessEngine, spec: Spec) -> None:
        code, output = await run(engine, spec, "uname -n; grep algo-2 /etc/hosts")
        assert (code, output) == (0, "algo-1\n127.0.0.2 algo-2\n")

    async def test_read_only_channels(self, engine: ProcessEngine, spec: Spec) -> None:
        (spec.opt_ml / "input" / "fast").mkdir()
        spec = dataclasses.replace(spec, read_only=["/opt/ml/input/fast"])
        code, _ = await run(engine, spec, "touch /opt/ml/input/ok && ! touch /opt/ml/input/fast/x")
        assert code == 0

    async def test_network_isolation(self, engine: ProcessEngine, spec: Spec) -> None:
        with_network = await run(engine, spec, "readlink /proc/self/ns/net")
        spec = dataclasses.replace(spec, network=False, hosts={"algo-1": "127.0.0.1"})
        code, output = await run(engine, spec, "readlink /proc/self/ns/net; cut -d: -f1 -s /proc/net/dev")
        namespace, *devices = output.split()
        assert code == 0
        assert with_network[1].strip() == str(Path("/proc/self/ns/net").readlink()) != namespace
        assert "lo" in devices
        assert not [name for name in devices if name.startswith(("eth", "en", "wl", "docker"))]


class TestEnds:
    @pytest.mark.parametrize("code", [0, 1, 77, 255])
    async def test_exit_code(self, engine: ProcessEngine, spec: Spec, code: int) -> None:
        assert await run(engine, spec, f"exit {code}") == (code, "")

    async def test_killed_by_itself(self, engine: ProcessEngine, spec: Spec) -> None:
        assert await run(engine, spec, "kill -9 $$") == (KILLED, "")

    async def test_no_such_program(self, engine: ProcessEngine, spec: Spec) -> None:
        container = await engine.start(dataclasses.replace(spec, entrypoint=["no-such-program"]))
        code, output = await finish(container)
        assert code == shim.NOT_FOUND
        assert "exec no-such-program failed: No such file" in output

    async def test_no_program(self, engine: ProcessEngine, spec: Spec) -> None:
        container = await engine.start(dataclasses.replace(spec, entrypoint=[str(spec.workdir)]))
        code, output = await finish(container)
        assert code == shim.NOT_EXECUTABLE
        assert "Permission denied" in output

    async def test_a_world_that_cannot_be_made(self, engine: ProcessEngine, spec: Spec) -> None:
        (spec.workdir / "tmp").mkdir()
        plan = engine.plan(spec, await engine.namespaces())
        plan["workdir"] = "/no/such/directory"
        code, output = await finish(await containers._start(plan))
        assert code == shim.BROKEN
        assert "cannot make the container" in output

    async def test_terminate_reaches_a_command_that_does_not_expect_it(
        self, engine: ProcessEngine, spec: Spec
    ) -> None:
        container = await started(engine, spec, "echo up; exec sleep 1000")
        container.terminate()
        assert await finish(container) == (128 + signal.SIGTERM, "")

    async def test_terminate_can_be_handled(self, engine: ProcessEngine, spec: Spec) -> None:
        container = await started(
            engine, spec, "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.01; done"
        )
        container.terminate()
        assert await finish(container) == (3, "bye\n")

    async def test_terminate_before_the_command_runs(self, engine: ProcessEngine, spec: Spec) -> None:
        container = await engine.start(dataclasses.replace(spec, entrypoint=["sleep", "1000"]))
        container.terminate()
        assert await finish(container) == (128 + signal.SIGTERM, "")

    async def test_kill_cannot(self, engine: ProcessEngine, spec: Spec) -> None:
        container = await started(engine, spec, "trap '' TERM; echo up; while :; do sleep 0.01; done")
        container.terminate()
        container.kill()
        assert (await finish(container))[0] == KILLED

    async def test_orders_after_the_end_are_no_error(self, engine: ProcessEngine, spec: Spec) -> None:
        container = await started(engine, spec, "echo up")
        await container.output.read()
        await container.wait()
        container.terminate()
        container.kill()
        assert await container.wait() == 0

    async def test_kill_before_the_command_runs(self, engine: ProcessEngine, spec: Spec) -> None:
        container = await engine.start(dataclasses.replace(spec, entrypoint=["sleep", "1000"]))
        container.kill()
        assert (await finish(container))[0] == KILLED


# A service that starts one container, tells that it is up, and waits to be killed.
SERVICE = """
import asyncio, sys
from pathlib import Path
from smexec.local.containers import ProcessEngine, Spec, _start

async def main(level, script, directory):
    spec = Spec("n", "", ["sh", "-c", script], [], {}, Path(directory), Path(directory))
    container = await _start(ProcessEngine().plan(spec, tuple(filter(None, level.split(",")))))
    print((await container.output.readline()).decode(), end="", flush=True)
    await asyncio.sleep(1000)

asyncio.run(main(*sys.argv[1:]))
"""
RUNAWAYS = "setsid sleep {0} & (setsid setsid sleep {0} &) ; sleep {0} &"


@linux
class TestNothingIsLeft:
    @pytest.fixture
    def mark(self) -> str:
        """A duration that no other test's sleep has."""
        return f"1000.{time.monotonic_ns()}"

    async def test_after_the_end(self, engine: ProcessEngine, spec: Spec, mark: str) -> None:
        code, _ = await run(engine, spec, RUNAWAYS.format(mark) + " sleep 0.05; exit 5")
        assert code == 5
        assert not processes(mark)

    async def test_after_a_kill(self, engine: ProcessEngine, spec: Spec, mark: str) -> None:
        container = await started(engine, spec, RUNAWAYS.format(mark) + f" echo up; sleep {mark}")
        container.kill()
        assert (await finish(container))[0] == KILLED
        assert not processes(mark)

    async def test_after_the_services_death(self, engine: ProcessEngine, spec: Spec, mark: str) -> None:
        level = ",".join(await engine.namespaces())
        job = RUNAWAYS.format(mark) + f" echo up; sleep {mark}"
        command = [sys.executable, "-c", SERVICE, level, job, str(spec.workdir)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as service:
            assert service.stdout is not None
            assert service.stdout.readline() == b"up\n"
            service.kill()
        assert gone(mark)

    async def test_after_the_shims_death(self, engine: ProcessEngine, spec: Spec, mark: str) -> None:
        if "pid" not in await engine.namespaces():
            pytest.skip("without a PID namespace, nobody else can find what has left its session")
        container = await started(engine, spec, RUNAWAYS.format(mark) + f" echo up; sleep {mark}")
        container._process.kill()
        await finish(container)
        assert gone(mark)


class TestWithoutMounts:
    def test_names_of_opt_ml_become_names_of_the_real_place(self, spec: Spec) -> None:
        spec = dataclasses.replace(
            spec,
            entrypoint=["python", "/opt/ml/input/data/worker/worker.pyz"],
            arguments=["--out=/opt/ml/model", "cat /opt/ml/input/x >/opt/ml"],
            environment={"CACHE": "/opt/ml/checkpoints"},
        )
        moved = without_mounts(spec)
        place = str(spec.opt_ml)
        assert moved.entrypoint == ["python", f"{place}/input/data/worker/worker.pyz"]
        assert moved.arguments == [f"--out={place}/model", f"cat {place}/input/x >{place}"]
        assert moved.environment == {
            "CACHE": f"{place}/checkpoints",
            OPT_ML_VARIABLE: place,
            HOSTS_VARIABLE: '{"algo-1": "127.0.0.1", "algo-2": "127.0.0.2"}',
        }

    @pytest.mark.parametrize(
        "text", ["/opt/mlx", "/data/opt/ml", "x/opt/ml", "/opt/ml-2", "/opt/ml.d", "opt/ml"]
    )
    def test_other_names_stay(self, spec: Spec, text: str) -> None:
        assert without_mounts(dataclasses.replace(spec, entrypoint=[text])).entrypoint == [text]


def test_no_entry_point_is_refused_clearly(spec: Spec) -> None:
    with pytest.raises(JobFailure, match=r"ClientError: the process engine has no image image:tag"):
        ProcessEngine().plan(dataclasses.replace(spec, entrypoint=[]), ())


def test_a_mount_elsewhere_is_refused_clearly(spec: Spec) -> None:
    spec = dataclasses.replace(spec, mounts={"/checkpoints": spec.workdir})
    with pytest.raises(JobFailure, match=r"only below /opt/ml, not /checkpoints"):
        ProcessEngine().plan(spec, ())


@pytest.mark.parametrize(
    ("level", "hosts"), [((), 1), (("mount",), 2)], ids=["no namespace is allowed", "hosts that must meet"]
)
def test_isolation_that_is_not_to_be_had_is_told(
    spec: Spec, caplog: pytest.LogCaptureFixture, level: tuple[str, ...], hosts: int
) -> None:
    names = {f"algo-{number}": f"127.0.0.{number}" for number in range(1, hosts + 1)}
    plan = ProcessEngine().plan(dataclasses.replace(spec, network=False, hosts=names), level)
    assert plan["namespaces"] == [*level]
    assert "without its network isolation" in caplog.text


class TestTheEnginesCommand:
    @pytest.mark.parametrize(
        ("entrypoint", "arguments", "end"),
        [
            ([], [], ["image:tag"]),
            ([], ["a", "b"], ["image:tag", "a", "b"]),
            (["e"], [], ["--entrypoint", "e", "image:tag"]),
            (["e", "f"], ["a"], ["--entrypoint", "e", "image:tag", "f", "a"]),
        ],
    )
    def test_entry_point(
        self, spec: Spec, entrypoint: list[str], arguments: list[str], end: list[str]
    ) -> None:
        spec = dataclasses.replace(spec, entrypoint=entrypoint, arguments=arguments)
        assert CommandEngine("podman").command(spec)[-len(end) :] == end

    def test_options(self, spec: Spec) -> None:
        spec = dataclasses.replace(
            spec,
            environment={"A": "b=c"},
            mounts={"/opt/ml/input": spec.opt_ml / "input", "/elsewhere": spec.workdir},
            read_only=["/opt/ml/input/data/fast"],
        )
        command = " ".join(CommandEngine("docker", memory="512m").command(spec))
        assert command.startswith("docker run --rm --name job-algo-1 ")
        for option in (
            "--network host",
            "--init",
            "--memory 512m",
            "--add-host algo-2:127.0.0.2",
            "--env HOME=/root",
            "--env A=b=c",
            f"--volume {spec.opt_ml}/input:/opt/ml/input",
            f"--volume {spec.workdir}:/elsewhere",
            f"--volume {spec.opt_ml}/input/data/fast:/opt/ml/input/data/fast:ro",
        ):
            assert option in command
        alone = dataclasses.replace(spec, network=False, hosts={"algo-1": "127.0.0.1"})
        isolated = CommandEngine("docker").command(alone)
        assert isolated[isolated.index("--network") + 1] == "none"

    async def test_no_such_engine(self, spec: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(spec.workdir))
        with pytest.raises(JobFailure, match="engine podman"):
            await CommandEngine("podman").start(spec)


# Says what it is told on 8080, to whoever connects.
LISTEN = """
use IO::Socket::INET;
my $listening = IO::Socket::INET->new(Listen => 1, LocalPort => 8080) or die "8080 is taken";
while (my $client = $listening->accept) { print $client "$ARGV[0]\\n" }
"""
ASK = """
use IO::Socket::INET;
my $service = IO::Socket::INET->new("127.0.0.1:$ARGV[0]") or die "not reached";
print <$service>;
"""
perl = pytest.mark.skipif(not shutil.which("perl"), reason="there is no perl here")


def joined(spec: Spec, number: int, *outward: str) -> Spec:
    """With a network of its own, whose 8080 is at a socket."""
    relays = [str(spec.workdir / f"{number}"), "127.0.0.1:8080", *outward]
    return dataclasses.replace(spec, name=f"{spec.name}-{number}", relays=relays)


async def said_by(path: str) -> bytes:
    """What comes from a socket, as soon as something does."""
    while True:
        reader, writer = await asyncio.open_unix_connection(path)
        try:
            if said := await reader.read():
                return said
        finally:
            writer.close()


async def check_networks(engine: containers.Engine, spec: Spec) -> None:
    """Two at a time listen on one port, which nobody has on this machine, and reach what they may."""
    if not await engine.gives_networks():
        pytest.skip("no network namespace is allowed here")
    gate = spec.workdir / "gate"
    service = await asyncio.start_unix_server(lambda _, writer: answer(writer), gate)
    two = [joined(spec, number) for number in range(2)]
    running = [await engine.start(command_of(one, LISTEN, one.name)) for one in two]
    try:
        for one, container in zip(two, running, strict=True):
            while not Path(one.relays[0]).exists():
                assert not container.output.at_eof()
                await asyncio.sleep(0.01)
            assert await said_by(one.relays[0]) == f"{one.name}\n".encode()
        inside = command_of(joined(spec, 2, "127.0.0.1:4566", str(gate)), ASK, "4566")
        assert await finish(await engine.start(inside)) == (0, "from the service")
        alone = command_of(joined(spec, 3), ASK, "4566")
        assert "not reached" in (await finish(await engine.start(alone)))[1]
    finally:
        for container in running:
            container.kill()
            await finish(container)
        service.close()
        await service.wait_closed()


def command_of(spec: Spec, program: str, *arguments: str) -> Spec:
    return dataclasses.replace(spec, entrypoint=["perl", "-e", program], arguments=arguments)


def answer(writer: asyncio.StreamWriter) -> None:
    writer.write(b"from the service")
    writer.close()


@perl
@linux
async def test_networks_of_their_own(engine: ProcessEngine, spec: Spec) -> None:
    await check_networks(engine, spec)


async def test_a_relay_that_cannot_be_made_is_the_containers_end(spec: Spec) -> None:
    engine = ProcessEngine()
    if not await engine.gives_networks():
        pytest.skip("no network namespace is allowed here")
    spec = dataclasses.replace(spec, relays=["/no/such/directory", "127.0.0.1:8080"])
    code, said = await run(engine, spec, "echo never")
    assert code == shim.BROKEN
    assert "No such file or directory" in said
    assert "never" not in said


IMAGE_VARIABLE = "TEST_CONTAINER_IMAGE"


@functools.cache
def container_image(program: str) -> tuple[str, str]:
    """An image with a shell in the engine's own store, nothing is pulled; or why there is none."""

    def ask(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([program, *command], capture_output=True, text=True, check=False)

    if shutil.which(program) is None:
        return "", f"{program} is not installed"
    wanted = os.environ.get(IMAGE_VARIABLE, "smexec")
    listed = ask("images", "--format", "{{.Repository}}:{{.Tag}}")
    images = [name for name in listed.stdout.split() if wanted in name]
    if not images:
        return "", f"{program} has no image for the tests ({IMAGE_VARIABLE} may name one): {listed.stderr}"
    tried = ask("run", "--rm", "--network", "host", images[0], "true")
    return images[0], f"{program} does not work here: {tried.stderr}" if tried.returncode else ""


@pytest.mark.parametrize("program", ["podman", "docker"])
class TestRealContainers:
    @pytest.fixture
    def real(self, program: str, spec: Spec) -> tuple[CommandEngine, Spec]:
        image, reason = container_image(program)
        if reason:
            pytest.skip(reason)
        return CommandEngine(program), dataclasses.replace(
            spec,
            name=f"smexec-test-{os.getpid()}-{time.monotonic_ns()}",
            image=image,
            mounts={f"/opt/ml/{name}": spec.opt_ml / name for name in ("input", "model")},
        )

    def left(self, program: str, spec: Spec) -> str:
        command = [program, "ps", "--all", "--quiet", "--filter", f"name={spec.name}"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    async def test_opt_ml_and_exit_code(self, program: str, real: tuple[CommandEngine, Spec]) -> None:
        engine, spec = real
        (spec.opt_ml / "input" / "x").write_text("from the platform")
        code, output = await run(engine, spec, "cat /opt/ml/input/x; echo made > /opt/ml/model/m; exit 7")
        assert (code, output) == (7, "from the platform")
        assert (spec.opt_ml / "model" / "m").read_text() == "made\n"
        assert not self.left(program, spec)

    async def test_terminate(self, program: str, real: tuple[CommandEngine, Spec]) -> None:
        engine, spec = real
        container = await started(
            engine, spec, "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.01; done"
        )
        container.terminate()
        assert await finish(container) == (3, "bye\n")
        assert not self.left(program, spec)

    async def test_kill(self, program: str, real: tuple[CommandEngine, Spec]) -> None:
        engine, spec = real
        container = await started(engine, spec, "trap '' TERM; echo up; while :; do sleep 0.01; done")
        container.kill()
        assert (await finish(container))[0] == KILLED
        assert not self.left(program, spec)

    async def test_the_services_death(self, program: str, real: tuple[CommandEngine, Spec]) -> None:
        engine, spec = real
        container = await started(engine, spec, "trap '' TERM; echo up; while :; do sleep 0.01; done")
        container._lifeline.close()  # what the kernel does for a service that is killed
        assert (await finish(container))[0] == KILLED
        assert not self.left(program, spec)

    async def test_out_of_memory(self, program: str, real: tuple[CommandEngine, Spec]) -> None:
        engine, spec = CommandEngine(program, memory="32m"), real[1]
        code, _ = await run(engine, spec, "tail /dev/zero")
        assert code == KILLED
        assert not self.left(program, spec)

    async def test_a_whole_job(
        self, program: str, real: tuple[CommandEngine, Spec], start_service: Any
    ) -> None:
        with start_service(f"--engine={program}", "--memory=64m") as service:
            request = service.job(
                "sh", "-c", "cat /opt/ml/input/config/hyperparameters.json > /opt/ml/model/m"
            )
            request["AlgorithmSpecification"]["TrainingImage"] = real[1].image
            request["HyperParameters"] = {"a": "1"}
            sagemaker = service.client("sagemaker")
            sagemaker.create_training_job(**request)
            service.wait(request["TrainingJobName"])
            job = sagemaker.describe_training_job(TrainingJobName=request["TrainingJobName"])
            assert job["TrainingJobStatus"] == "Completed", job
            key = job["ModelArtifacts"]["S3ModelArtifacts"].split("/", 3)[3]
            archive = service.client("s3").get_object(Bucket=service.info["bucket"], Key=key)["Body"].read()
            with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
                made = tar.extractfile("m")
                assert made is not None
                assert made.read() == b'{"a": "1"}'

    async def test_networks_of_their_own(self, program: str, real: tuple[CommandEngine, Spec]) -> None:
        await check_networks(*real)

    async def test_no_such_image(self, program: str, real: tuple[CommandEngine, Spec]) -> None:
        engine, spec = real
        spec = dataclasses.replace(spec, image="localhost/no-such-image:tag")
        code, output = await finish(await engine.start(spec))
        assert code == shim.BROKEN
        assert "no-such-image" in output


@given(status=st.integers(0, 255), number=st.sampled_from([1, 2, 9, 15]))
def test_exit_codes_are_those_of_shells(status: int, number: int) -> None:
    assert shim.exit_code(status << 8) == status
    assert shim.exit_code(number) == 128 + number


def test_one_engine_for_each_name() -> None:
    make: Callable[[str], containers.Engine] = containers.engine_named
    assert isinstance(make("process"), ProcessEngine)
    assert make("docker") == CommandEngine("docker")


async def test_the_probe_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    probes = 0

    async def probe(scratch: Path | None) -> tuple[str, ...]:
        nonlocal probes
        probes += 1
        return ()

    monkeypatch.setattr(containers, "_probe", probe)
    engine = ProcessEngine()
    engine.prepare()
    assert set(await asyncio.gather(engine.namespaces(), engine.namespaces())) == {()}
    assert probes == 1


def has_ended(process: int) -> bool:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


@linux
async def test_an_order_that_comes_too_late_is_nobodys_error(spec: Spec) -> None:
    """Python 3.10 tells of exceptions that nobody asked for."""
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    container = await containers._start(ProcessEngine().plan(spec, ()))
    while not has_ended(container._process.pid):  # of which the loop has yet to hear
        time.sleep(0.01)
    container.kill()
    container.kill()
    await container.wait()
    del container
    gc.collect()
    await asyncio.sleep(0)
    assert not told
