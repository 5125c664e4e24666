from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from smexec.core.run import NAME_LIMIT, Keys, Run, slug
from smexec.worker import protocol
from smexec.worker.protocol import Event

JOB_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")  # botocore's model
prefixes = st.text() | st.from_regex(r"[a-zA-Z0-9-]{40,80}") | st.text("-aé", max_size=70)
numbers = st.integers(1, 10**9)


@given(prefixes, numbers)
def test_every_name_is_legal(prefix: str, number: int) -> None:
    run = Run()
    name = run.job_name(prefix, number)
    assert JOB_NAME.fullmatch(name)
    assert len(name) <= NAME_LIMIT
    assert run.id in name  # ListTrainingJobs finds it by that
    assert "--" not in name


@given(st.lists(st.tuples(prefixes, numbers), min_size=2, max_size=5, unique_by=lambda item: item[1]))
def test_no_two_names_are_alike(calls: list[tuple[str, int]]) -> None:
    run = Run()
    names = [run.job_name(prefix, number) for prefix, number in calls]
    assert len(set(names)) == len(names)


@given(prefixes, numbers)
def test_a_name_can_be_part_of_an_event(prefix: str, number: int) -> None:
    event = Event(1, Run().job_name(prefix, number), 7)
    assert Event.parse(event.name) == event


def test_runs_differ() -> None:
    runs = [Run() for _ in range(100)]
    assert len({run.id for run in runs}) == len({run.key for run in runs}) == 100
    assert all(re.fullmatch("[a-z0-9]{8}", run.id) for run in runs)
    assert all(len(run.key) == 32 for run in runs)


def test_the_key_does_not_show() -> None:
    run = Run("abcdefgh", b"secret" * 6)
    assert "secret" not in repr(run)


def test_names_for_people() -> None:
    run = Run("x7k2x7k2")
    assert run.job_name("smexec-train", 3) == "smexec-train-x7k2x7k2-00003"
    assert run.job_name("my-job-", 3) == "my-job-x7k2x7k2-00003"
    assert run.job_name("smexec-" + "a" * 80, 1).startswith("smexec-aaaa")


def test_slugs() -> None:
    texts = ["train", "<lambda>", "Model.fit", "日本語", "", "tränen_lachen", "--a--b--"]
    slugs = ["train", "lambda", "Model-fit", "call", "call", "tr-nen-lachen", "a-b"]
    assert [slug(text) for text in texts] == slugs


@given(st.text(), st.text())
def test_a_slug_is_a_slug_already(one: str, other: str) -> None:
    assert slug(slug(one + other)) == slug(one + other)


def test_every_key_there_is() -> None:
    keys = Keys("s3://b/p", "run1")
    assert keys.worker_file("d1") == "s3://b/p/layers/d1/worker.pyz"
    assert keys.run_key == "s3://b/p/runs/run1/key/key"
    assert keys.batch("job") == "s3://b/p/runs/run1/batches/job/batch"
    assert keys.manifest("job") == "s3://b/p/runs/run1/batches/job/manifest"
    assert keys.values("job") == "s3://b/p/runs/run1/batches/job/values"
    assert keys.shared == "s3://b/p/runs/run1/shared/"
    assert keys.events == "s3://b/p/runs/run1/events/"
    assert keys.output_archive("job") == keys.output + "/job/output/output.tar.gz"
    assert keys.output_file("job", "x") == "s3://b/p/runs/run1/output/job/output/data/x"


def test_what_another_key_has_encrypted_lies_elsewhere() -> None:
    keys = [Keys("s3://b/p", "run1", kms_key) for kms_key in (None, "alias/ours", "alias/theirs")]
    assert len({each.worker_file("d1") for each in keys}) == 3
    for each in keys:
        assert each.worker_file("d1").startswith("s3://b/p/layers/")
        assert each.worker_file("d1").endswith("/d1/worker.pyz")
        assert each.folder("d1") + "a/b" == each.layer_file("d1", "a/b")


def test_files_are_called_what_the_worker_calls_them() -> None:
    """A channel's S3Uri that names one object lands as that file."""
    keys = Keys("s3://b", "r")
    assert keys.batch("j").endswith("/" + protocol.BATCH_FILE)
    assert keys.run_key.endswith("/" + protocol.KEY_FILE)
    assert keys.worker_file("d").endswith("/" + protocol.WORKER_FILE)


@given(
    st.sampled_from(["s3://b", "s3://b/p/q"]), st.sampled_from(["j1", "j10"]), st.sampled_from(["j1", "j10"])
)
def test_no_jobs_key_is_the_beginning_of_anothers(root: str, job: str, other: str) -> None:
    """S3Uri is a prefix: what begins alike would be downloaded as well."""
    keys = Keys(root, "r")
    assert keys.batch(other).startswith(keys.batch(job)) == (job == other)
