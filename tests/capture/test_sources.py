from __future__ import annotations

import io
import os
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smexec.capture.sources import data, folder, name_in, pack
from smexec.core.work import Folder, Layer
from smexec.errors import ScriptError


def names(source: Layer) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(source.content)) as tar:
        return tar.getnames()


def write(directory: Path, **files: str) -> None:
    for name, text in files.items():
        (directory / name).write_text(text)


def test_the_same_files_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        write(tmp_path / name, **{"train.R": "1", "library.R": "2"})
    os.utime(tmp_path / "one" / "train.R", (0, 0))
    assert pack("train.R", tmp_path / "one") == pack("train.R", tmp_path / "other")
    write(tmp_path / "other", **{"library.R": "3"})
    assert pack("train.R", tmp_path / "one") != pack("train.R", tmp_path / "other")


def test_a_script_without_a_directory_goes_alone(tmp_path: Path) -> None:
    write(tmp_path, **{"train.R": "1", "library.R": "2"})
    assert names(pack(str(tmp_path / "train.R"), None)) == ["train.R"]


def test_a_script_that_is_ignored_is_said_to_be(tmp_path: Path) -> None:
    write(tmp_path, **{"train.R": "1", ".gitignore": "*.R"})
    with pytest.raises(ScriptError, match="stays out"):
        pack("train.R", tmp_path)


def test_a_script_may_be_given_by_its_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "src" / "lib").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for directory in (Path("src"), tmp_path / "src"):
        assert name_in(directory, tmp_path / "src" / "lib" / "train.R") == "lib/train.R"
        assert name_in(directory, "train.R") == "train.R"
    assert name_in(None, tmp_path / "train.R") == str(tmp_path / "train.R")


def test_a_script_elsewhere_is_said_to_be_there(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    write(tmp_path, **{"train.R": "1"})
    for program in (str(tmp_path / "train.R"), "../train.R"):
        with pytest.raises(ScriptError, match="does not lie in"):
            pack(program, tmp_path / "src")


def test_a_link_into_itself_is_said_to_be_one(tmp_path: Path) -> None:
    write(tmp_path, **{"train.R": "1"})
    (tmp_path / "again").symlink_to(tmp_path)
    with pytest.raises(ScriptError, match="link"):
        pack("train.R", tmp_path)


def test_nothing_of_data_is_left_out(tmp_path: Path) -> None:
    for name in ("data", "data/.git", "elsewhere"):
        (tmp_path / name).mkdir()
    write(tmp_path / "data", **{".gitignore": "*", ".git/HEAD": "1", "a.csv": "2"})
    write(tmp_path / "elsewhere", **{"b.csv": "3"})
    (tmp_path / "data" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "c.csv").symlink_to(tmp_path / "elsewhere" / "b.csv")
    names = [".git/HEAD", ".gitignore", "a.csv", "c.csv", "linked/b.csv"]
    assert sorted(data(tmp_path / "data").files) == names
    assert list(data(tmp_path / "elsewhere" / "b.csv").files) == ["b.csv"]


def test_data_are_named_by_what_is_in_them(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        write(tmp_path / name, **{"a.csv": "1", "b.csv": "2"})
    assert data(tmp_path / "one").sha256 == data(tmp_path / "other").sha256
    assert data(tmp_path / "one").sha256 == Folder({"a.csv": b"1", "b.csv": b"2"}).sha256
    write(tmp_path / "other", **{"b.csv": "3"})
    assert data(tmp_path / "one").sha256 != data(tmp_path / "other").sha256


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gone", "there is no .*gone"),
        ("empty", "there are no files in .*empty"),
        ("round", "is a link to a directory that it is in"),
        ("dangling", "a link to nothing"),
    ],
)
def test_data_that_cannot_be_had_are_said_to_be(tmp_path: Path, name: str, said: str) -> None:
    for directory in ("empty", "round", "dangling"):
        (tmp_path / directory).mkdir()
    (tmp_path / "round" / "again").symlink_to(tmp_path / "round")
    (tmp_path / "dangling" / "a.csv").symlink_to(tmp_path / "gone")
    with pytest.raises(ScriptError, match=said):
        data(tmp_path / name)


FILES = ["a", "b.csv", "d/a", "d/b.csv", "d/e/a", "d/e/!c", "x y", "d/e/f/[z]"]
PIECES = st.sampled_from([*"abdef*/?!# ", "**", ".csv", "[a-c]", "[!a]", "\\"])
LINES = st.lists(st.lists(PIECES, min_size=1, max_size=5).map("".join), max_size=4).map("\n".join)


@settings(max_examples=60)
@given(LINES, LINES)
def test_what_stays_out_is_what_git_leaves_out(top: str, below: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        for name in ["keep", *FILES]:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text("")
        (root / ".gitignore").write_text(top + "\n!/keep\n")
        (root / "d" / ".gitignore").write_text(below + "\n")
        subprocess.run(["git", "init", "-q", directory], check=True)
        listing = ["git", "-C", directory, "ls-files", "-z", "--others", "--exclude-per-directory=.gitignore"]
        listed = subprocess.run(listing, check=True, capture_output=True, text=True).stdout
        assert sorted(names(pack("keep", root))) == sorted(filter(None, listed.split("\0")))


def test_a_folder_has_the_files_that_an_archive_has(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    write(tmp_path, **{"report.R": "1", "lib/sum.R": "2", "data.csv": "3", ".gitignore": "*.csv\n"})
    assert dict(folder("report.R", tmp_path).files) == {
        "report.R": b"1",
        "lib/sum.R": b"2",
        ".gitignore": b"*.csv\n",
    }
    assert names(pack("report.R", tmp_path)) == sorted(folder("report.R", tmp_path).files)
    assert dict(folder(str(tmp_path / "report.R"), None).files) == {"report.R": b"1"}


def test_a_directory_that_is_left_out_itself_can_be_asked_for(tmp_path: Path) -> None:
    """A package in an environment that lies in a repository, say."""
    inner = tmp_path / ".venv" / "lib" / "code"
    inner.mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    write(tmp_path, **{".gitignore": ".venv/\n*.csv\n"})
    write(inner, **{"train.R": "1", "a.csv": "2", "b.log": "3", ".gitignore": "*.log\n"})
    assert names(pack("train.R", inner)) == [".gitignore", "a.csv", "train.R"]
