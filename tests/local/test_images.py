"""Directories that stand for images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from smexec.local.images import Image, find_image, parse
from smexec.local.layout import JobFailure


@pytest.mark.parametrize(
    ("entrypoint", "arguments", "command"),
    [
        ([], [], ["run", "it", "train"]),
        ([], ["serve"], ["run", "it", "serve"]),
        (["other"], [], ["other"]),
        (["other"], ["a"], ["other", "a"]),
    ],
)
def test_the_command_follows_docker(entrypoint: list[str], arguments: list[str], command: list[str]) -> None:
    image = Image(Path(), entrypoint=["run", "it"], cmd=["train"])
    assert image.command(entrypoint, arguments) == command


def test_files_are_put_beside_those_of_the_platform(tmp_path: Path) -> None:
    source, opt_ml = tmp_path / "image", tmp_path / "ml"
    (source / "lib").mkdir(parents=True)
    (source / "lib" / "a").write_text("a")
    (source / "run.sh").write_text("#!/bin/sh\n")
    (source / "run.sh").chmod(0o755)
    (opt_ml / "model").mkdir(parents=True)
    (opt_ml / "model" / "platform").touch()
    parse(source, {"files": {"/opt/ml/run.sh": "run.sh", "/opt/ml/model": "lib"}}).place(opt_ml)
    assert (opt_ml / "run.sh").stat().st_mode & 0o111
    assert sorted(path.name for path in (opt_ml / "model").iterdir()) == ["a", "platform"]


def test_an_image_that_the_service_does_not_have_is_none(tmp_path: Path) -> None:
    assert find_image({"r": str(tmp_path)}, "python") is None


@pytest.mark.parametrize(
    ("manifest", "problem"),
    [
        ([], "must hold an object"),
        ({"entry": ["x"]}, "'entry', not one of"),
        ({"entrypoint": "x"}, "entrypoint must be a list of strings"),
        ({"env": {"A": 1}}, "env must be a dict of strings"),
        ({"files": {"/usr/bin/x": "x"}}, "below /opt/ml, not at /usr/bin/x"),
        ({"files": {"/opt/ml/../x": "x"}}, r"below /opt/ml, not at /opt/ml/\.\./x"),
    ],
)
def test_a_manifest_that_is_none_is_named(tmp_path: Path, manifest: Any, problem: str) -> None:
    (tmp_path / "image.json").write_text(json.dumps(manifest))
    with pytest.raises(JobFailure, match=f"ClientError: the image r cannot be read: .*{problem}"):
        find_image({"r": str(tmp_path)}, "r")


def test_a_directory_without_a_manifest_is_no_image(tmp_path: Path) -> None:
    with pytest.raises(JobFailure, match=r"ClientError: the image r cannot be read: .*No such file"):
        find_image({"r": str(tmp_path)}, "r")
