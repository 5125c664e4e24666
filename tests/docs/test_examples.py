"""Every Python example of the documentation is run. A page's blocks are one program, in their order.

A page says what it needs in comments: ``<!-- in: DIRECTORY -->`` runs it in a copy of one of the project's,
and ``<!-- needs: PROGRAM -->`` leaves it out where there is no such program; its shell blocks are run, too.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import smexec.images
import smexec.testing
from smexec import Processing, SageMakerExecutor, Transform

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(
    r"(<!-- (?P<note>[^>]*) -->\n)?```(?P<language>\w+)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE
)


def blocks(page: Path, language: str) -> Iterator[tuple[str, str]]:
    """Note and code of a page's blocks: the note is an HTML comment right before the block, or empty."""
    for match in BLOCK.finditer(page.read_text(encoding="utf-8")):
        if match["language"] == language:
            yield match["note"] or "", match["code"]


def program(page: Path, language: str = "python") -> str:
    examples = [code for note, code in blocks(page, language) if not note.startswith("not run:")]
    return "\n\n".join(examples)


def said(page: Path, what: str) -> str | None:
    """What a page says that it needs."""
    found = re.search(rf"^<!-- {what}: (.*) -->$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else None


@pytest.fixture
def place(page: Path, tmp_path: Path) -> Path:
    """The working directory of a page's examples."""
    needed = said(page, "needs")
    if needed and not shutil.which(needed):
        pytest.skip(f"there is no {needed} here")
    directory = said(page, "in")
    if directory:
        shutil.copytree(ROOT / directory, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture(scope="module")
def service() -> Iterator[smexec.testing.LocalService]:
    with smexec.testing.local_service() as service:
        yield service


@pytest.mark.parametrize("page", [page for page in PAGES if program(page)], ids=lambda page: page.stem)
def test_examples_run(page: Path, place: Path, service: smexec.testing.LocalService) -> None:
    script = place / f"{page.stem}_page.py"  # a name that hides no library's
    script.write_text(program(page), encoding="utf-8")
    environment = {**os.environ, **service.environment}
    command = [sys.executable, "-W", "error", str(script)]
    run = subprocess.run(
        command, env=environment, cwd=place, capture_output=True, text=True, timeout=110, check=False
    )
    assert run.returncode == 0, run.stderr
    assert not run.stderr


@pytest.mark.parametrize("page", [page for page in PAGES if said(page, "needs")], ids=lambda page: page.stem)
def test_a_tutorial_can_be_followed(
    page: Path, place: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Its shell blocks, one after the other in one shell; a service that they start is their own."""
    script = "set -euo pipefail\ntrap 'smexec local --stop' EXIT\n" + program(page, "sh")
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path_factory.mktemp("runtime"))}
    command = ["bash", "-c", script]
    run = subprocess.run(
        command, env=environment, cwd=place, capture_output=True, text=True, timeout=110, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_json_is_json(page: Path) -> None:
    for _, code in blocks(page, "json"):
        json.loads(code)


def allowed(policy: str) -> set[str]:
    """Actions that one of the policies of docs/real-aws.md allows."""
    notes = {note: code for note, code in blocks(ROOT / "docs" / "real-aws.md", "json") if note}
    actions = [statement["Action"] for statement in json.loads(notes[f"policy: {policy}"])["Statement"]]
    return {action for item in actions for action in ([item] if isinstance(item, str) else item)}


# What an API is called in a policy, where it is not called by its own name.
ACTIONS = {
    "s3:HeadBucket": "s3:ListBucket",
    "s3:HeadObject": "s3:GetObject",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:DeleteObjects": "s3:DeleteObject",
    "sagemaker-runtime:InvokeEndpoint": "sagemaker:InvokeEndpoint",
}
NEEDS_NO_PERMISSION = {"sts:GetCallerIdentity"}


def test_the_policies_allow_what_building_an_image_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(ROOT / "tests" / "images"), prepend=os.pathsep)  # a docker for tests
    monkeypatch.setenv("DOCKER_TOLD", str(tmp_path))
    (tmp_path / "Dockerfile").write_text("FROM base")
    with smexec.testing.local_service(engine="docker") as service, service.environ():
        service.reset_requests()
        assert smexec.images.build(tmp_path, repository="image", using="codebuild").result().digest
        called = {name.replace(".", ":", 1) for name in service.requests()}
    # Who stops it, or has much to upload, calls these too.
    asked = {*called, "codebuild:StopBuild", "s3:AbortMultipartUpload", "ecr:DescribeRepositories"}
    needed = {ACTIONS.get(action, action) for action in asked} - NEEDS_NO_PERMISSION
    user, role = allowed("image"), allowed("image role")
    assert needed <= user | role
    assert {"ecr:PutImage", "ecr:GetAuthorizationToken"} <= role


def test_the_policies_allow_what_is_called(tmp_path: Path) -> None:
    with smexec.testing.local_service() as service:
        environment = {**os.environ, **service.environment}
        call = (
            "import os, time\n"
            "from smexec import SageMakerExecutor\n"
            "with SageMakerExecutor(instance_type='ml.m5.large') as executor:\n"
            "    assert executor.submit(abs, -1).result() == 1\n"
            "    assert executor.submit(os._exit, 7).exception() is not None\n"
            "    future = executor.submit(time.sleep, 60)\n"
            "    while not future.running(): time.sleep(0.05)\n"
            "    future.stop()\n"
        )
        service.reset_requests()
        subprocess.run([sys.executable, "-c", call], env=environment, cwd=tmp_path, check=True, timeout=110)
        called = {name.replace(".", ":", 1) for name in service.requests()}
    needed = {ACTIONS.get(action, action) for action in called} - NEEDS_NO_PERMISSION
    assert needed <= allowed("user") | allowed("role")
    assert "sagemaker:CreateTrainingJob" in needed


MAKE = """
cd "${SMEXEC_OPT_ML:-/opt/ml}/processing/output/out"
echo 1 > rows.csv
printf iris > model.txt
tar -czf model.tar.gz model.txt
"""


def test_the_policies_allow_what_programs_call(tmp_path: Path) -> None:
    (tmp_path / "make.sh").write_text(MAKE)
    (tmp_path / "fail.sh").write_text("echo no; exit 1")
    image = {"server:1": str(ROOT / "tests" / "local" / "image")}
    with smexec.testing.local_service(image=image) as service, service.environ():
        service.reset_requests()
        with SageMakerExecutor(image_uri="server:1") as executor:
            assert executor.submit(Processing(tmp_path / "fail.sh")).exception() is not None
            made = executor.submit(Processing(tmp_path / "make.sh", outputs={"out": None})).result()
            ask = Transform(f"{made.outputs['out']}/model.tar.gz", content_type="a/b", accept="a/b")
            assert executor.submit(ask, f"{made.outputs['out']}/rows.csv").exception() is None
        called = {name.replace(".", ":", 1) for name in service.requests()}
    needed = {ACTIONS.get(action, action) for action in called} - NEEDS_NO_PERMISSION
    assert needed <= allowed("user") | allowed("programs")
    assert {f"sagemaker:{verb}TransformJob" for verb in ("Create", "Describe")} <= needed


DEPLOY = """
import sys, smexec
scaling = {"min": 1, "max": 2, "invocations_per_instance": 70}
with smexec.deploy(sys.argv[1], image_uri="server:1", autoscaling=scaling) as endpoint:
    endpoint.predict([1])
    endpoint.update(instance_count=2)
    try:
        endpoint.predict("fail")
    except smexec.errors.ModelError:
        pass
"""


def test_the_policies_allow_what_endpoints_need(tmp_path: Path) -> None:
    image = {"server:1": str(ROOT / "tests" / "image")}
    packed = tmp_path / "model.tar.gz"
    with tarfile.open(packed, "w:gz") as tar:
        tar.add(ROOT / "tests" / "image" / "image.json", "model.txt")
    with smexec.testing.local_service(image=image) as service:
        environment = {**os.environ, **service.environment}
        service.client("s3").upload_file(str(packed), service.bucket, "model.tar.gz")
        service.reset_requests()
        command = [sys.executable, "-c", DEPLOY, f"s3://{service.bucket}/model.tar.gz"]
        subprocess.run(command, env=environment, cwd=tmp_path, check=True, timeout=110)
        called = {name.replace(".", ":", 1) for name in service.requests()}
    needed = {ACTIONS.get(action, action) for action in called} - NEEDS_NO_PERMISSION
    assert needed <= allowed("user") | allowed("role") | allowed("endpoints")
    assert "sagemaker:InvokeEndpoint" in needed
