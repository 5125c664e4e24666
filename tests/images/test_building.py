"""Images built over the real wire, by a program that plays docker; tests/containers has a real engine."""

from __future__ import annotations

import asyncio
import base64
import concurrent.futures
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

import smexec.images
from smexec.errors import AccessDenied, BuildFailed, RoleError, SettingsError
from smexec.images import Build
from smexec.testing import LocalService, local_service

Begin = Callable[..., Build]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What docker was told: ``commands``, ``context``, ``config.json``."""
    return tmp_path_factory.mktemp("told")


@pytest.fixture(scope="module")
def machine(told: Path) -> Iterator[LocalService]:
    """A service on a machine that has docker."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{Path(__file__).parent}:{os.environ['PATH']}")
        patch.setenv("DOCKER_TOLD", str(told))
        with local_service(engine="docker") as service:
            yield service


@pytest.fixture
def service(machine: LocalService, told: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalService]:
    for file in told.iterdir():
        file.unlink()
    monkeypatch.setenv("PATH", f"{Path(__file__).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("DOCKER_TOLD", str(told))
    with machine.restored(), machine.environ():
        yield machine


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for name, text in {"Dockerfile": "FROM base\nRUN well\n", "run.sh": "", "large": "", "a/b": ""}.items():
        path = tmp_path / "image" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "image" / "run.sh").chmod(0o755)
    (tmp_path / "image" / ".dockerignore").write_text("large\n.dockerignore\n")
    return tmp_path / "image"


@pytest.fixture
def begin(service: LocalService, directory: Path, request: pytest.FixtureRequest) -> Begin:
    """Begins to build by CodeBuild, under a name of the test's own."""

    def begin(**options: Any) -> Build:
        name = request.node.name.partition("[")[0].replace("_", "-")
        return smexec.images.build(directory, **{"repository": f"{name}:1", "using": "codebuild", **options})

    return begin


@pytest.fixture
def nothing_is_left(service: LocalService) -> Iterator[None]:
    yield
    assert service.client("codebuild").list_projects()["projects"] == []
    sources = service.client("s3").list_objects_v2(Bucket=service.bucket, Prefix="smexec/images/")
    assert sources.get("Contents") is None


def commands(told: Path, name: str) -> list[list[str]]:
    """The command lines that docker was given with this command."""
    lines = [shlex.split(line) for line in (told / "commands").read_text().splitlines()]
    return [line for line in lines if line[0] == name]


def instruct(directory: Path, instruction: str) -> None:
    (directory / "Dockerfile").write_text(f"FROM base\n{instruction}\n")


def images(service: LocalService, name: str) -> list[Any]:
    found: list[Any] = service.client("ecr").describe_images(repositoryName=name)["imageDetails"]
    return found


@pytest.mark.usefixtures("nothing_is_left")
class TestCodeBuild:
    def test_an_image_is_built_and_pushed(self, service: LocalService, begin: Begin, told: Path) -> None:
        lines: list[str] = []
        image = begin(tell=lines.append).result()
        (pushed,) = images(service, "test-an-image-is-built-and-pushed")
        assert image.digest == pushed["imageDigest"]
        assert pushed["imageTags"] == ["1"]
        host = f"123456789012.dkr.ecr.{service.region}.amazonaws.com"
        assert str(image) == image.uri == f"{host}/test-an-image-is-built-and-pushed:1"
        assert "Step 2/2 : RUN well" in lines
        assert any(f"docker login --username AWS --password-stdin {host}" in line for line in lines)
        context = (told / "context").read_text().split("\n")
        assert "run.sh 755" in context
        assert not any(line.startswith(("large", ".dockerignore")) for line in context)

    def test_the_next_build_uses_its_layers(self, begin: Begin, told: Path) -> None:
        first = begin().result()
        begin(repository="test-the-next-build-uses-its-layers:2").result()
        before, after = commands(told, "build")
        assert "--cache-from" not in before
        assert after[after.index("--cache-from") + 1] == first.uri

    def test_flags_are_docker_s(self, begin: Begin, told: Path) -> None:
        flags = ["--build-arg", "X=$(touch /tmp/no); 'a' \"b\"", "--label", "é"]
        begin(flags=flags).result()
        (command,) = commands(told, "build")
        assert command[-5:] == [*flags, "context"]

    def test_a_build_that_fails_says_where(
        self, service: LocalService, begin: Begin, directory: Path
    ) -> None:
        instruct(directory, "RUN fail")
        with pytest.raises(BuildFailed, match=r"failed at step 2/2: RUN fail \(exit code 5\)") as error:
            begin().result()
        assert error.value.step == "step 2/2: RUN fail"
        assert error.value.place.startswith("BUILD: Error while executing command: docker build ")
        assert any("non-zero code: 5" in line for line in error.value.log_tail)
        assert images(service, "test-a-build-that-fails-says-where") == []

    def test_want_of_memory_is_explained(self, begin: Begin, directory: Path) -> None:
        instruct(directory, "RUN memory")
        with pytest.raises(BuildFailed, match=r"out of memory. Give --compute-type BUILD_GENERAL1_MEDIUM"):
            begin().result()

    def test_a_build_that_does_not_begin_says_why(self, service: LocalService, begin: Begin) -> None:
        service.fault("GetAuthorizationToken", "denied", times=None)
        with pytest.raises(BuildFailed, match="failed at PRE_BUILD: Error while executing command: aws ecr"):
            begin().result()

    def test_answers_that_are_lost_cost_nothing(
        self, service: LocalService, begin: Begin, told: Path
    ) -> None:
        for operation in ("CreateRepository", "CreateProject", "StartBuild", "BatchGetBuilds"):
            service.fault(operation, "drop")
        begin().result()
        assert len(commands(told, "build")) == 1

    def test_a_log_that_may_not_be_read(self, service: LocalService, begin: Begin) -> None:
        service.fault("GetLogEvents", "denied", times=None)
        lines: list[str] = []
        assert begin(tell=lines.append).result().digest
        (line,) = lines
        assert line.startswith("(no log: ")

    def test_a_role_that_codebuild_may_not_take(self, begin: Begin) -> None:
        with pytest.raises(RoleError, match=r"codebuild\.amazonaws\.com"):
            begin(role="arn:aws:iam::123456789012:role/nobody").result()

    def test_a_refused_start_leaves_nothing(self, service: LocalService, begin: Begin) -> None:
        service.fault("StartBuild", "denied")
        with pytest.raises(AccessDenied):
            begin().result()

    def test_cancelling_stops_the_build(self, service: LocalService, begin: Begin, directory: Path) -> None:
        instruct(directory, "RUN hang")
        up = threading.Event()
        build = begin(tell=lambda line: up.set() if line == "up" else None)
        assert up.wait(60)
        build.cancel()
        build.cancel()
        with pytest.raises(concurrent.futures.CancelledError):
            build.result()
        assert build.done()
        assert service.requests()["codebuild.StopBuild"] == 1

    def test_who_does_not_wait_for_it_ends_when_it_has(self, service: LocalService, directory: Path) -> None:
        program = (
            "import sys, smexec.images\n"
            "smexec.images.build(sys.argv[1], repository='unwaited', using='codebuild')\n"
        )
        subprocess.run([sys.executable, "-c", program, str(directory)], check=True, timeout=60)
        assert len(images(service, "unwaited")) == 1

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
    def test_a_signal_to_the_command_line(
        self, service: LocalService, directory: Path, number: signal.Signals
    ) -> None:
        instruct(directory, "RUN hang")
        arguments = ["image", "build", str(directory), "--repository", "signal", "--using", "codebuild"]
        command = [sys.executable, "-c", "from smexec.cli import main; main()", *arguments]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert any(line == "up\n" for line in process.stdout)
            process.send_signal(number)
            assert process.wait(60) != 0
        assert service.requests()["codebuild.StopBuild"] == 1

    @pytest.mark.parametrize("run", [asyncio.run, trio.run], ids=["asyncio", "trio"])
    def test_it_can_be_awaited(self, begin: Begin, run: Callable[..., Any]) -> None:
        async def wait() -> str:
            return (await begin()).uri

        assert run(wait if run is trio.run else wait()).endswith(":1")

    def test_cancelling_who_waits_stops_the_build(
        self, service: LocalService, begin: Begin, directory: Path
    ) -> None:
        instruct(directory, "RUN hang")

        async def wait() -> Build:
            up, loop = asyncio.Event(), asyncio.get_running_loop()
            build = begin(tell=lambda line: loop.call_soon_threadsafe(up.set) if line == "up" else None)

            async def waiting() -> None:
                await build

            task = asyncio.create_task(waiting())
            await up.wait()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            return build

        build = asyncio.run(wait())
        with pytest.raises(concurrent.futures.CancelledError):
            build.result(60)
        assert service.requests()["codebuild.StopBuild"] == 1


def test_what_cannot_be_deleted_is_told(service: LocalService, begin: Begin) -> None:
    service.fault("DeleteProject", "denied")
    lines: list[str] = []
    assert begin(tell=lines.append).result().digest
    (left,) = [line for line in lines if "left behind" in line]
    (name,) = service.client("codebuild").list_projects()["projects"]
    assert f"project {name}" in left
    service.client("codebuild").delete_project(name=name)


def test_docker_builds_here(service: LocalService, begin: Begin, directory: Path, told: Path) -> None:
    image = begin(using=None, repository="here", flags=["--label", "a b"]).result()
    assert (image.uri, image.digest) == ("here:latest", f"sha256:{7:064d}")
    (command,) = commands(told, "build")
    assert command[1:5] == ["--tag", "here:latest", "--file", str(directory / "Dockerfile")]
    assert command[-3:] == ["--label", "a b", str(directory)]
    assert not service.requests()


def test_docker_fails_here(begin: Begin, directory: Path) -> None:
    instruct(directory, "RUN memory")
    with pytest.raises(BuildFailed, match=r"step 2/2: RUN memory \(exit code 137\): it ran out of memory"):
        begin(using="docker").result()


def test_what_docker_has_built_is_pushed(service: LocalService, begin: Begin, told: Path) -> None:
    ecr = service.client("ecr")
    ecr.create_repository(repositoryName="pushed")
    manifest = json.dumps({"mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": []})
    digest = ecr.put_image(repositoryName="pushed", imageTag="1", imageManifest=manifest)["image"]["imageId"]
    image = begin(using="docker", repository="pushed:1", push=True).result()
    assert image.digest == digest["imageDigest"]
    assert commands(told, "push") == [["push", image.uri]]
    (registry,) = json.loads((told / "config.json").read_text())["auths"].items()
    assert registry[0] == image.uri.partition("/")[0]
    assert base64.b64decode(registry[1]["auth"]).startswith(b"AWS:")


@pytest.mark.parametrize(
    ("configuration", "host"), [({"currentContext": "colima"}, "unix:///colima.sock"), ({}, "")]
)
def test_an_image_is_pushed_by_the_daemon_that_has_it(
    service: LocalService,
    begin: Begin,
    told: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    configuration: dict[str, str],
    host: str,
) -> None:
    """Which one that is, docker's own configuration says."""
    (tmp_path / "config.json").write_text(json.dumps(configuration))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    service.fault("DescribeImages", "denied")  # there is no image: docker only plays
    with pytest.raises(AccessDenied):
        begin(using="docker", push=True).result()
    assert (told / "host").read_text().strip() == host
    assert json.loads((told / "config.json").read_text()).keys() == {"auths"}


def test_cancelling_ends_docker(begin: Begin, directory: Path) -> None:
    instruct(directory, "RUN hang")
    up = threading.Event()
    build = begin(using="docker", tell=lambda line: up.set() if line == "up" else None)
    assert up.wait(60)
    build.cancel()
    with pytest.raises(concurrent.futures.CancelledError):
        build.result(60)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"using": "kaniko"}, "codebuild, docker, podman"),
        ({"vpc_id": "vpc-1"}, "go together"),
        ({"repository": "A"}, "no name of an image"),
        ({"flags": ["-f", "none"]}, "there is no none"),
    ],
)
def test_what_cannot_be_is_refused_at_once(begin: Begin, options: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        begin(**options)


@pytest.mark.parametrize(
    ("repository", "said"),
    [
        ("ghcr.io/x", "no registry in ECR"),
        ("210987654321.dkr.ecr.us-east-1.amazonaws.com/x", "account 210987654321"),
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com/x", "in eu-west-1"),
    ],
)
def test_registries_that_are_not_the_callers(begin: Begin, repository: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        begin(repository=repository).result()


def test_an_engine_that_does_not_work(begin: Begin, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SettingsError, match="podman does not work here"):
        begin(using="podman").result()
