"""What is put aside, and where."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from smexec.worker import aside
from smexec.worker.aside import Aside

LINUX = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="Linux has such memory")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aside, "LEAST", 10)
    monkeypatch.setattr(aside, "LARGE", 100)


def put(size: int, file: Path, slots: int = 1) -> Aside | None:
    return aside.put([memoryview(bytes(size - 1)), memoryview(b"x")], file, slots)


def test_what_is_small_is_not(tmp_path: Path) -> None:
    assert put(9, tmp_path / "file") is None
    assert list(tmp_path.iterdir()) == []


def test_what_is_larger_is_in_a_file(tmp_path: Path) -> None:
    assert put(10, tmp_path / "file") == Aside(None, str(tmp_path / "file"))
    assert (tmp_path / "file").read_bytes() == bytes(9) + b"x"


@LINUX
def test_what_is_large_is_in_memory(tmp_path: Path) -> None:
    found = put(100, tmp_path / "file")
    assert found is not None
    assert found.descriptor is not None
    with os.fdopen(found.descriptor, "rb") as memory:
        memory.seek(0)
        assert memory.read() == bytes(99) + b"x"
    assert list(tmp_path.iterdir()) == []


@LINUX
@pytest.mark.parametrize(("free", "in_memory"), [(0, False), (799, False), (800, True)])
def test_memory_is_for_all_slots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, in_memory: bool
) -> None:
    """If each puts as much aside, half of what is free stays free."""
    monkeypatch.setattr(aside, "free_memory", lambda: free)
    found = put(100, tmp_path / "file", slots=4)
    assert found is not None
    assert (found.descriptor is not None) == in_memory
    assert (found.file is None) == in_memory
    if found.descriptor is not None:
        os.close(found.descriptor)


@LINUX
def test_where_memory_cannot_be_had_there_is_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_more(name: str) -> int:
        raise OSError(name)

    monkeypatch.setattr(os, "memfd_create", no_more)
    assert put(100, tmp_path / "file") == Aside(None, str(tmp_path / "file"))


def test_where_there_is_no_room_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert put(10, tmp_path / "gone" / "file") is None
    assert "cannot be written" in capsys.readouterr().err
