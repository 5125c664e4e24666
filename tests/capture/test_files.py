from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import pytest

from smexec.capture import files
from smexec.core.work import File


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that was changed long ago."""
    path = tmp_path / "data.csv"
    path.write_bytes(b"abc" * 1_000_000)
    os.utime(path, (0, 0))
    return path


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of what was hashed."""
    paths: list[str] = []
    real = files._hashed

    def counting(path: str) -> File:
        paths.append(path)
        return real(path)

    monkeypatch.setattr(files, "_hashed", counting)
    return paths


def test_a_file_is_known_by_its_digest(path: Path) -> None:
    content = path.read_bytes()
    assert files.known(path) == File(str(path), len(content), hashlib.sha256(content).hexdigest())


def test_a_file_is_hashed_once(path: Path, hashed: list[str]) -> None:
    threads = [threading.Thread(target=files.known, args=(path,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert hashed == [str(path)]


def test_a_file_that_was_changed_is_another(path: Path) -> None:
    before = files.known(path)
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, (0, 0))  # as who restores a backup does
    assert files.known(path) != before


def test_what_was_just_changed_may_be_changed_again_in_the_same_moment(path: Path, hashed: list[str]) -> None:
    os.utime(path, (2**33, 2**33))  # no moment is later
    for _ in range(2):
        files.known(path)
    assert hashed == [str(path)] * 2
