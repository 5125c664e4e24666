"""What ``smexec image init`` writes."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from smexec import Processing, SageMakerExecutor, errors, images
from smexec.local.images import find_image
from smexec.testing import LocalService

HAS_R = pytest.mark.skipif(not shutil.which("Rscript"), reason="there is no R here")
LANGUAGES = ("r", "python", "any")
PURPOSES = ("processing", "training", "serving", "all")


def instruction(dockerfile: str, name: str) -> str:
    (found,) = re.findall(rf"^{name} (.*)$", dockerfile, re.MULTILINE)
    return str(found)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("purpose", PURPOSES)
def test_the_dockerfile_and_the_directory_say_the_same(tmp_path: Path, language: str, purpose: str) -> None:
    images.init(language, tmp_path / "image", purpose=purpose)
    dockerfile = (tmp_path / "image" / "Dockerfile").read_text()
    image = find_image({"it": str(tmp_path / "image")}, "it")
    assert image is not None
    assert json.loads(instruction(dockerfile, "ENTRYPOINT")) == image.entrypoint
    assert dict(item.split("=") for item in instruction(dockerfile, "ENV").split()) == image.env
    *names, target = instruction(dockerfile, "COPY").split()
    assert {target + name: name for name in names} == image.files
    image.place(tmp_path)  # all of them are there
    assert image.entrypoint[-1] in image.files


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_the_image_does_not_copy_stays_out_of_its_context(tmp_path: Path, language: str) -> None:
    images.init(language, tmp_path)
    first, *others = [
        line for line in (tmp_path / ".dockerignore").read_text().splitlines() if not line.startswith("#")
    ]
    names = instruction((tmp_path / "Dockerfile").read_text(), "COPY").split()[:-1]
    assert (first, others) == ("*", [f"!{name}" for name in names])


@pytest.mark.parametrize(
    ("purpose", "packages", "code"),
    [
        ("processing", {"r-base-core"}, {"process.R"}),
        ("training", {"r-base-core", "r-cran-jsonlite", "curl", "ca-certificates"}, {"train.R"}),
        ("serving", {"r-base-core", "r-cran-jsonlite", "r-cran-plumber"}, {"deploy.R"}),
    ],
)
def test_a_purpose_has_what_it_needs(
    tmp_path: Path, purpose: str, packages: set[str], code: set[str]
) -> None:
    written = images.init("r", tmp_path, purpose=purpose)
    assert set(written) == {path for path in tmp_path.rglob("*") if path.is_file()}
    found = re.findall(r"^        (\S+) \\$", (tmp_path / "Dockerfile").read_text(), re.MULTILINE)
    assert set(found) == packages
    assert {path.name for path in (tmp_path / "code").iterdir()} == code
    assert (tmp_path / "fetch.sh").exists() is (purpose == "training")


def test_the_directory_is_called_like_the_language(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Path("r/Dockerfile") in images.init("r")


def test_programs_can_be_executed(tmp_path: Path) -> None:
    images.init("any", tmp_path)
    assert (tmp_path / "code" / "train.pl").stat().st_mode & 0o111
    assert not (tmp_path / "Dockerfile").stat().st_mode & 0o111


def test_nothing_is_overwritten_unless_told(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("mine")
    with pytest.raises(errors.ImageError, match="Dockerfile: there already"):
        images.init("r", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["Dockerfile"]
    assert (tmp_path / "Dockerfile").read_text() == "mine"
    images.init("r", tmp_path, force=True)
    assert "r-base-core" in (tmp_path / "Dockerfile").read_text()


def test_where_nothing_can_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "r").write_text("")
    for directory in (tmp_path / "r", tmp_path / "r" / "image"):
        with pytest.raises(errors.ImageError, match="cannot be written"):
            images.init("r", directory)


@pytest.mark.parametrize("language", [pytest.param("r", marks=HAS_R), "python", "any"])
@pytest.mark.parametrize("command", [None, ()], ids=["by its interpreter", "by the image"])
def test_the_example_of_a_processing_can_be_submitted(
    smexec_service: LocalService, tmp_path: Path, language: str, command: tuple[str, ...] | None
) -> None:
    images.init(language, tmp_path / "image")
    smexec_service.configure(image={"image:1": str(tmp_path / "image")})
    (tmp_path / "rows.csv").write_text("length,rings\n0.5,9\n0.4,7\n")
    (program,) = (tmp_path / "image" / "code").glob("process.*")
    inputs, outputs = {"data": tmp_path / "rows.csv"}, {"out": None}
    process = Processing(program, inputs=inputs, outputs=outputs, command=command, image_uri="image:1")
    with SageMakerExecutor() as executor:
        out = executor.submit(process).result(60).outputs["out"]
    bucket, _, prefix = out.removeprefix("s3://").partition("/")
    listed = smexec_service.client("s3").list_objects_v2(Bucket=bucket, Prefix=prefix)
    (written,) = (item["Key"].rpartition("/")[2] for item in listed["Contents"])
    assert written == ("rows.csv.lines" if language == "any" else "rows.csv")


def test_what_there_is_no_template_for_is_said(tmp_path: Path) -> None:
    with pytest.raises(errors.ImageError, match="'julia' is no language: r, python, any"):
        images.init("julia", tmp_path)
    with pytest.raises(errors.ImageError, match="'train' is no purpose: processing, training, serving, all"):
        images.init("r", tmp_path, purpose="train")
