from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smexec.worker.journal import Journal
from tests.worker.conftest import JOB, KEY


def journal(folder: Path, job: str = JOB) -> Journal:
    """Of a container that has just been started."""
    return Journal(folder, KEY, job)


def files(folder: Path) -> list[Path]:
    return list((folder / "smexec").iterdir())


def test_the_next_container_knows_what_all_before_it_have_delivered(tmp_path: Path) -> None:
    first = journal(tmp_path)
    first.note([0, 2])
    first.note([1])
    journal(tmp_path).note([5])
    journal(tmp_path).note([])
    assert journal(tmp_path).delivered() == {0, 1, 2, 5}


def test_another_job_with_the_same_checkpoints_is_not_meant(tmp_path: Path) -> None:
    journal(tmp_path).note([0])
    assert journal(tmp_path, JOB + "x").delivered() == set()


def test_what_the_user_keeps_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"weights")
    journal(tmp_path).note([0])
    assert journal(tmp_path).delivered() == {0}
    assert (tmp_path / "model.pt").read_bytes() == b"weights"


def test_without_checkpoints_nothing_is_written(tmp_path: Path) -> None:
    own = journal(tmp_path / "checkpoints")
    own.note([0])
    assert own.delivered() == set()
    assert list(tmp_path.iterdir()) == []


@given(st.data())
def test_damage_leaves_no_call_out(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("checkpoints")
    own = journal(folder)
    for calls in ([0, 1], [12, 3], [4]):
        own.note(calls)
    (path,) = files(folder)
    content = path.read_bytes()
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, len(content)))
    path.write_bytes(content[:start] + data.draw(st.binary(max_size=80)) + content[end:])
    assert journal(folder).delivered() <= {0, 1, 12, 3, 4}


def test_a_line_that_was_cut_off_does_not_count(tmp_path: Path) -> None:
    own = journal(tmp_path)
    own.note([0, 1])
    own.note([2, 34])
    (path,) = files(tmp_path)
    path.write_bytes(path.read_bytes()[:-2])
    assert journal(tmp_path).delivered() == {0, 1}


def test_a_folder_that_cannot_be_used_stops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "smexec").write_bytes(b"the user's own")
    own = journal(tmp_path)
    own.note([0])
    assert own.delivered() == set()
    assert "calls may run twice" in capsys.readouterr().err


def test_a_file_that_cannot_be_read_stops_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    journal(tmp_path).note([0])
    (tmp_path / "smexec" / "a").mkdir()
    assert journal(tmp_path).delivered() <= {0}
    assert "calls may run twice" in capsys.readouterr().err
