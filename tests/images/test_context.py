from __future__ import annotations

import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from smexec.errors import SettingsError
from smexec.images.context import ARCHIVE, Context, archive, context, files


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for name in ("Dockerfile", "run.sh", "data/large.csv", "data/small.csv", "r/a.R"):
        path = tmp_path / "image" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path / "image"


def packed(context: Context) -> tuple[list[str], tarfile.TarFile]:
    """Names in the ZIP file, and the archive in it."""
    file = io.BytesIO()
    archive(context, file)
    source = zipfile.ZipFile(file)
    return source.namelist(), tarfile.open(fileobj=io.BytesIO(source.read(ARCHIVE)))


def test_all_of_the_directory_counts(directory: Path) -> None:
    (directory / "empty").mkdir()
    names, tar = packed(context(directory, []))
    assert names == ["Dockerfile", ARCHIVE]
    assert set(tar.getnames()) == {
        *("Dockerfile", "run.sh", "data", "data/large.csv", "data/small.csv", "empty", "r", "r/a.R"),
    }


def test_what_dockerignore_leaves_out_stays_here(directory: Path) -> None:
    (directory / ".dockerignore").write_text("*\n!r\n")
    names, tar = packed(context(directory, []))
    assert names == ["Dockerfile", ARCHIVE]
    assert tar.getnames() == ["r", "r/a.R"]


def test_a_directory_is_there_for_what_is_in_it(directory: Path) -> None:
    (directory / ".dockerignore").write_text("data\n!data/small.csv\n")
    assert [path for path in files(context(directory, [])) if "data" in path] == ["data", "data/small.csv"]


def test_a_dockerfile_may_have_rules_of_its_own(directory: Path) -> None:
    (directory / "Dockerfile.gpu").write_text("")
    (directory / "Dockerfile.gpu.dockerignore").write_text("data")
    (directory / ".dockerignore").write_text("r")
    assert "data" not in files(context(directory, ["-f", str(directory / "Dockerfile.gpu")]))
    assert "r" not in files(context(directory, []))


def test_modes_and_links_are_kept(directory: Path) -> None:
    (directory / "run.sh").chmod(0o755)
    (directory / "link").symlink_to("run.sh")
    (directory / "broken").symlink_to("nowhere")
    os.mkfifo(directory / "pipe")
    _, tar = packed(context(directory, []))
    assert tar.getmember("run.sh").mode == 0o755
    assert tar.getmember("run.sh").uid == 0
    assert tar.getmember("link").linkname == "run.sh"
    assert tar.getmember("broken").issym()
    assert "pipe" not in tar.getnames()


def test_files_older_than_zip_files_can_tell_go_in(directory: Path) -> None:
    os.utime(directory / "Dockerfile", (0, 0))
    names, tar = packed(context(directory, []))
    assert names == ["Dockerfile", ARCHIVE]
    assert tar.getmember("Dockerfile").mtime == 0


@pytest.mark.parametrize("flags", [["-f", "D"], ["--file", "D"], ["--file=D"], ["-f", "X", "-f", "D"]])
def test_the_dockerfile_that_is_meant(
    directory: Path, flags: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (directory / "D").write_text("FROM scratch")
    found = context(directory, ["--label", "a=b", *flags, "--no-cache"])
    assert found.dockerfile == directory / "D"
    assert found.flags == ("--label", "a=b", "--no-cache")
    monkeypatch.chdir(directory.parent)
    (directory.parent / "D").write_text("FROM elsewhere")
    outside = context(directory, flags)
    assert outside.text.startswith("FROM elsewhere")
    assert packed(outside)[0] == ["D", ARCHIVE]


def test_what_may_name_other_images(directory: Path) -> None:
    (directory / "Dockerfile").write_text("# not a\nFROM b\n  # nor c\nCOPY --from=d /x /x\n")
    text = context(directory, ["--build-arg", "BASE=e"]).text
    assert text == "FROM b\nCOPY --from=d /x /x\n--build-arg\nBASE=e"


@pytest.mark.parametrize("flags", [["-f", "none"], ["--file"]])
def test_what_is_not_there_is_said_at_once(directory: Path, flags: list[str]) -> None:
    with pytest.raises(SettingsError, match=r"none|needs a path"):
        context(directory, flags)
    with pytest.raises(SettingsError, match="no directory"):
        context(directory / "nowhere", [])
    (directory / "Dockerfile").unlink()
    with pytest.raises(SettingsError, match="no Dockerfile"):
        context(directory, [])
