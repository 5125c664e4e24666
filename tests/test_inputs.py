from __future__ import annotations

import tracemalloc
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from smexec import Processing, SageMakerExecutor, Script, errors
from smexec.core.settings import Settings
from smexec.inputs import Inputs
from smexec.testing import LocalService

LIST = ["sh", "-c", "cd /opt/ml/input/data/train && find . -type f | sort > /opt/ml/model/found"]


def test_inputs_are_told_apart(tmp_path: Path) -> None:
    members: dict[str, object] = {"DataSource": {"FileSystemDataSource": {}}}
    inputs = Inputs.of({"a": "s3://bucket/a", "b": str(tmp_path), "c": tmp_path, "d": members})
    assert inputs == ({"d": members}, {"a": "s3://bucket/a"}, {"b": tmp_path, "c": tmp_path})


@pytest.mark.parametrize("source", ["s3:/bucket/a", "bucket/a", "http://bucket/a"])
def test_what_is_neither_in_s3_nor_here(source: str) -> None:
    with pytest.raises(errors.ScriptError, match="train"):
        Script("train.R", inputs={"train": source})
    with pytest.raises(errors.ScriptError, match="train"):
        Processing("report.R", inputs={"train": source})


def test_a_file_and_a_directory_are_channels(smexec_service: LocalService, tmp_path: Path) -> None:
    (tmp_path / "data" / "deep").mkdir(parents=True)
    (tmp_path / "data" / ".gitignore").write_text("*.csv\n")  # data are seldom under version control
    (tmp_path / "data" / "deep" / "a.csv").write_text("1\n")
    (tmp_path / "train.sh").write_text("")
    found = {}
    root = f"s3://{smexec_service.bucket}/channels"
    with SageMakerExecutor(2, s3_root_uri=root) as executor:
        for source in ("data", "data/deep/a.csv"):
            script = Script(
                tmp_path / "train.sh", inputs={"train": tmp_path / source}, container_entry_point=LIST
            )
            found[source] = executor.submit(script).result().model
    s3 = smexec_service.client("s3")
    assert found["data"]
    assert found["data/deep/a.csv"]
    listed = s3.list_objects_v2(Bucket=smexec_service.bucket, Prefix="channels/layers/")["Contents"]
    keys = [item["Key"] for item in listed]
    uploaded = sorted(key.rpartition("/layers/")[2].partition("/")[2] for key in keys)
    assert uploaded == [".gitignore", "a.csv", "deep/a.csv", "sourcedir.tar.gz"]


@pytest.fixture
def held(smexec_service: LocalService, gate: Path) -> Iterator[SageMakerExecutor]:
    """Its one job is taken until the test writes to the gate."""
    with SageMakerExecutor(1, s3_root_uri=f"s3://{smexec_service.bucket}/{uuid.uuid4()}") as executor:
        executor.submit(gate.read_text)
        yield executor


def test_a_file_that_is_changed_while_its_call_waits(
    held: SageMakerExecutor, gate: Path, tmp_path: Path
) -> None:
    (tmp_path / "data.csv").write_text("1\n")
    future = held.submit(Processing(command=["true"], inputs={"data": tmp_path / "data.csv"}))
    (tmp_path / "data.csv").write_text("2\n")
    gate.write_text("")
    with pytest.raises(errors.ScriptError, match=r"data\.csv was changed after it was submitted"):
        future.result(60)


def test_calls_that_wait_hold_no_input(held: SageMakerExecutor, gate: Path, tmp_path: Path) -> None:
    path, size = tmp_path / "data.bin", 64 << 20
    with path.open("wb") as stream:
        stream.truncate(size)
    tracemalloc.start()
    futures = [held.submit(Processing(command=["true"], inputs={"data": path})) for _ in range(4)]
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert all(future.cancel() for future in futures)
    gate.write_text("")
    assert most < size


def test_an_input_that_is_there_no_more(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "train.sh").touch()
    for program in (
        Script(tmp_path / "train.sh", inputs={"train": tmp_path / "data"}, image_uri="a:1"),
        Processing(tmp_path / "train.sh", inputs={"train": tmp_path / "data"}),
    ):
        with pytest.raises(errors.ScriptError, match=r"inputs=\{'train': .*: there are no files in"):
            program.prepare(Settings())


def test_many_calls_upload_their_input_once(smexec_service: LocalService, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("1\n")
    program = tmp_path / "count.sh"
    program.write_text(
        "wc -l < /opt/ml/processing/input/data/data.csv > /opt/ml/processing/output/out/lines\n"
    )
    count = Processing(program, inputs={"data": tmp_path / "data.csv"}, outputs={"out": None})
    with SageMakerExecutor(3, s3_root_uri=f"s3://{smexec_service.bucket}/once") as executor:
        results = list(executor.map(count, [[], [], []]))
    s3 = smexec_service.client("s3")
    listed = s3.list_objects_v2(Bucket=smexec_service.bucket, Prefix="once/")["Contents"]
    assert len([item for item in listed if item["Key"].endswith("/data.csv")]) == 1
    for result in results:
        bucket, _, prefix = result.outputs["out"].removeprefix("s3://").partition("/")
        answer = s3.get_object(Bucket=bucket, Key=f"{prefix}/lines")
        assert answer["Body"].read().strip() == b"1"
