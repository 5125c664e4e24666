"""What builds find as ``docker`` and ``aws``."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from smexec.local.build_tools import manifest, own_cache


def run(tool: str, *arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from smexec.local.build_tools import main; main()", tool, *arguments],
        env={**os.environ, "SMEXEC_LOCAL_ENGINE": "podman", **environment},
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A PATH on which the tools come first, and then an engine and an aws that tell what they are told."""
    for name in ("podman", "aws"):
        program = tmp_path / name
        program.write_text('#!/bin/sh\necho "$(basename "$0") $*"\n')
        program.chmod(0o755)
    return os.pathsep.join(["/the/tools", str(tmp_path), os.environ["PATH"]])


def test_other_commands_are_the_engines_own(path: str) -> None:
    assert run("docker", "tag", "a", "b c", PATH=path).stdout == "podman tag a b c\n"
    assert run("aws", "s3", "ls", PATH=path).stdout == "aws s3 ls\n"


def test_podman_has_a_cache_of_its_own(path: str) -> None:
    assert own_cache(["build", "--cache-from", "x:1", "--tag", "y", "."]) == ["build", "--tag", "y", "."]
    build = ("build", "--cache-from", "x:1", ".")
    assert run("docker", *build, PATH=path).stdout == "podman build .\n"


def test_without_a_password_nobody_is_let_in() -> None:
    refused = run("docker", "login", "--username", "AWS", "--password-stdin", "host")
    assert refused.returncode == 1
    assert "no password" in refused.stderr
    assert run("docker", "login", stdin="secret").stdout == "Login Succeeded\n"


def test_an_engine_that_is_not_there(tmp_path: Path) -> None:
    missing = run("docker", "build", ".", PATH=f"/the/tools:{tmp_path}")
    assert (missing.returncode, missing.stderr) == (1, "podman: command not found\n")


def test_an_image_that_is_not_there_cannot_be_pushed(path: str, tmp_path: Path) -> None:
    (tmp_path / "podman").write_text("#!/bin/sh\necho no such image >&2; exit 125\n")
    refused = run("docker", "push", "host/name:1", PATH=path)
    assert (refused.returncode, refused.stderr) == (1, "ERROR: no such image\n")


def test_a_manifest_names_what_is_in_the_store() -> None:
    image = {"Id": "7" * 64, "Size": 9, "RootFS": {"Layers": ["sha256:1", "sha256:2"]}}
    document = json.loads(manifest(image))
    assert document["config"]["digest"] == f"sha256:{'7' * 64}"
    assert [layer["digest"] for layer in document["layers"]] == ["sha256:1", "sha256:2"]
    same = manifest({**image, "Id": f"sha256:{'7' * 64}"})
    assert hashlib.sha256(same.encode()).digest() == hashlib.sha256(manifest(image).encode()).digest()
