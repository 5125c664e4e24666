from __future__ import annotations

from pathlib import Path

import pytest

from smexec import Processing, SageMakerExecutor, Script, errors
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
