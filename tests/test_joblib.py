"""joblib and scikit-learn on jobs of the local service."""

from __future__ import annotations

import inspect
import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from joblib import Parallel, delayed, parallel_config
from sklearn import datasets
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from smexec.errors import CallDied, CallNotPicklable, RemoteTraceback, SettingsError
from smexec.future import Future
from smexec.joblib import SageMakerBackend, _Calls, register_sagemaker
from smexec.testing import LocalService

register_sagemaker()


def square(number: int) -> int:
    return number * number


def create_jobs(service: LocalService) -> int:
    return service.requests()["sagemaker.CreateTrainingJob"]


def objects(service: LocalService) -> dict[str, int]:
    """Key → bytes of what the bucket has, but for what jobs have told."""
    pages = service.client("s3").get_paginator("list_objects_v2").paginate(Bucket=service.bucket)
    found = {item["Key"]: item["Size"] for page in pages for item in page.get("Contents", [])}
    return {key: size for key, size in found.items() if "/events/" not in key}


def names(service: LocalService, prefix: str) -> list[str]:
    listed = service.client("sagemaker").list_training_jobs(NameContains=prefix)
    return [str(job["TrainingJobName"]) for job in listed["TrainingJobSummaries"]]


takes_settings = pytest.mark.skipif(
    "backend_kwargs" not in inspect.signature(Parallel).parameters, reason="joblib 1.5 began to give them on"
)
unordered = pytest.param(
    "generator_unordered",
    marks=pytest.mark.skipif(joblib.__version__ < "1.4", reason="joblib 1.4 began to know it"),
)


def settings(**more: Any) -> parallel_config:
    return parallel_config(backend="sagemaker", instance_type="ml.m5.large", max_workers=2, **more)


@pytest.fixture
def backend(smexec_service: LocalService) -> Iterator[LocalService]:
    with settings():
        yield smexec_service


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Has so many calls of a Parallel wait for each other, however long this machine holds up who submits."""
    submit = _Calls.submit

    def wait_for(count: int) -> None:
        numbers = itertools.count(1)

        def submit_and_flush(calls: _Calls, *call: Any) -> Future[Any]:
            future = submit(calls, *call)
            if next(numbers) == count:
                calls._executor._engine.flush(calls._kind)
            return future

        monkeypatch.setattr(_Calls, "submit", submit_and_flush)

    for name in ("_LINGER", "_PATIENCE"):
        monkeypatch.setattr(f"smexec.joblib.{name}", 600.0)
    return wait_for


# -- batches -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{}, {"batch_size": 1}, {"batch_size": 7}, {"pre_dispatch": "all"}, {"pre_dispatch": "n_jobs"}],
    ids=str,
)
def test_a_thousand_calls_are_a_few_jobs(
    backend: LocalService, together: Callable[[int], None], options: dict[str, Any]
) -> None:
    together(1000)
    assert Parallel(**options)(delayed(square)(n) for n in range(1000)) == [n * n for n in range(1000)]
    requests = backend.requests()
    assert requests["sagemaker.CreateTrainingJob"] == 2
    assert requests["s3.PutObject"] + requests["s3.GetObject"] < 500  # 20 or so, and two for each second


def test_calls_that_one_machine_has_room_for_are_one_job(
    backend: LocalService, together: Callable[[int], None]
) -> None:
    together(2)
    assert Parallel()(delayed(square)(n) for n in range(2)) == [0, 1]
    assert create_jobs(backend) == 1


def test_more_than_may_wait_go_as_results_come(backend: LocalService) -> None:
    results = Parallel(pre_dispatch=20)(delayed(square)(n) for n in range(50))
    assert results == [n * n for n in range(50)]


def test_a_number_of_pre_dispatch_is_kept(backend: LocalService) -> None:
    taken = itertools.count()
    parallel = Parallel(pre_dispatch=5, return_as="generator")
    results = parallel(delayed(time.sleep)(60 * (next(taken) >= 0)) for _ in itertools.count())
    assert next(taken) == 5
    with pytest.warns(UserWarning, match="tasks which were still being processed"):
        results.close()


def test_a_large_array_travels_once(backend: LocalService) -> None:
    table, before = np.arange(1_000_000.0), objects(backend)
    sums = Parallel()(delayed(np.ndarray.sum)(table, where=table % 4 == row) for row in range(4))
    assert sum(sums) == table.sum()
    large = [size for key, size in objects(backend).items() if key not in before and size >= table.nbytes]
    assert len(large) == 1


# -- settings ------------------------------------------------------------------------------------------------


def test_settings_are_checked_where_they_are_given(smexec_service: LocalService) -> None:
    with pytest.raises(SettingsError, match="did you mean instance_type"):
        parallel_config(backend="sagemaker", instance_typo="ml.m5.large")
    with pytest.raises(ValueError, match="max_workers"):
        parallel_config(backend="sagemaker", max_workers=0)
    assert not smexec_service.requests()


@takes_settings
def test_settings_may_be_parallels_own(smexec_service: LocalService) -> None:
    with pytest.raises(SettingsError, match="did you mean slots"):
        Parallel(backend="sagemaker", slot=3)([])
    parallel = Parallel(backend="sagemaker", n_jobs=2, job_name_prefix="mine")
    assert parallel(delayed(square)(n) for n in range(3)) == [0, 1, 4]
    assert names(smexec_service, "mine-")


@pytest.mark.parametrize(
    ("given", "n_jobs", "expected"),
    [
        pytest.param({}, -1, 16, id="four jobs of four vCPUs"),
        pytest.param({}, None, 16, id="the same"),
        pytest.param({}, 100, 100, id="as many jobs as it needs"),
        pytest.param({"max_workers": 2}, 100, 8, id="what there is"),
        pytest.param({"max_workers": 2, "slots": 3}, -1, 6, id="slots as told"),
        pytest.param({"max_workers": 1, "instance_count": 3}, -1, 12, id="of each instance"),
        pytest.param({"max_workers": 1, "slots": 1}, -1, 2, id="not 1, which would run the calls here"),
        pytest.param({}, 1, 1, id="here, as joblib says"),
    ],
)
def test_n_jobs_are_calls_at_a_time(given: dict[str, Any], n_jobs: int | None, expected: int) -> None:
    with parallel_config(backend="sagemaker", instance_type="ml.m5.xlarge", **given):
        assert joblib.effective_n_jobs(n_jobs) == expected


def threads(_: int) -> str:
    return os.environ["OMP_NUM_THREADS"]


def test_no_more_calls_run_at_a_time_than_n_jobs_says(smexec_service: LocalService, tmp_path: Path) -> None:
    def count_running(number: int) -> int:
        mark = tmp_path / str(number)
        mark.touch()
        time.sleep(0.05)
        running = len(list(tmp_path.iterdir()))
        mark.unlink()
        return running

    with parallel_config(backend="sagemaker", instance_type="ml.m5.24xlarge", n_jobs=3):
        assert max(Parallel()(delayed(count_running)(n) for n in range(12))) <= 3


def test_threads_of_libraries_are_limited(smexec_service: LocalService) -> None:
    with parallel_config(backend="sagemaker", inner_max_num_threads=7):
        assert Parallel()(delayed(threads)(n) for n in range(1)) == ["7"]


# -- results -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("return_as", ["list", "generator", unordered])
def test_results_come_as_they_are_wanted(backend: LocalService, return_as: str) -> None:
    results = Parallel(return_as=return_as)(delayed(square)(n) for n in range(20))
    assert sorted(results) == [n * n for n in range(20)]


def test_results_stream_while_others_run(backend: LocalService, gate: Path) -> None:
    def wait_at_the_gate(number: int) -> object:
        return gate.read_text() if number else "first"

    results = Parallel(return_as="generator")(delayed(wait_at_the_gate)(n) for n in range(2))
    assert next(results) == "first"
    gate.write_text("second")
    assert next(results) == "second"


def test_a_parallel_can_be_used_again(backend: LocalService) -> None:
    with Parallel() as parallel:
        for _ in range(3):
            assert parallel(delayed(square)(n) for n in range(3)) == [0, 1, 4]


# -- what goes wrong -----------------------------------------------------------------------------------------


def fail(number: int) -> int:
    if number == 3:
        raise KeyError(number)
    return number


@pytest.mark.parametrize("batch_size", ["auto", 4])
def test_exceptions_are_themselves(backend: LocalService, batch_size: Any) -> None:
    with pytest.raises(KeyError, match="3") as raised:
        Parallel(batch_size=batch_size)(delayed(fail)(n) for n in range(20))
    assert isinstance(raised.value.__cause__, RemoteTraceback)
    assert "raise KeyError(number)" in str(raised.value.__cause__)


def test_a_call_that_dies_says_so(backend: LocalService) -> None:
    with pytest.raises(CallDied):
        Parallel()(delayed(os._exit)(n) for n in [5])


@pytest.mark.parametrize("return_as", ["list", unordered])
def test_what_cannot_be_pickled_is_told(backend: LocalService, return_as: str) -> None:
    with pytest.raises(CallNotPicklable, match="argument 0"):
        list(Parallel(return_as=return_as)(delayed(square)(lock) for lock in [1, threading.Lock(), 2]))
    assert Parallel()(delayed(square)(n) for n in range(2)) == [0, 1]


def test_what_cannot_be_pickled_is_told_though_it_comes_late(backend: LocalService) -> None:
    numbers = [*range(8), threading.Lock(), *range(8)]
    with pytest.raises(CallNotPicklable, match="argument 0"):
        Parallel(pre_dispatch=2)(delayed(square)(number) for number in numbers)


def test_an_error_stops_the_jobs_and_leaves_the_backend_usable(backend: LocalService) -> None:
    def work(number: int) -> None:
        if number == 0:
            raise ValueError
        time.sleep(60)

    with settings(job_name_prefix="failing"), pytest.raises(ValueError):  # noqa: PT011  # it has no text
        Parallel()(delayed(work)(n) for n in range(8))
    assert Parallel()(delayed(square)(n) for n in range(3)) == [0, 1, 4]
    jobs = names(backend, "failing-")
    assert jobs
    for job in jobs:
        assert backend.wait(job)["TrainingJobStatus"] in {"Stopped", "Failed"}


def test_a_timeout_stops_the_jobs(backend: LocalService) -> None:
    timeouts = (TimeoutError, joblib.parallel.TimeoutError)
    with settings(job_name_prefix="late"), pytest.raises(timeouts):
        Parallel(timeout=0.5)(delayed(time.sleep)(60) for _ in range(2))
    for job in names(backend, "late-"):
        assert backend.wait(job)["TrainingJobStatus"] in {"Stopped", "Failed"}


# -- inside --------------------------------------------------------------------------------------------------


def nested(number: int) -> tuple[int, int, str]:
    inner = joblib.Parallel(n_jobs=2)(joblib.delayed(square)(n) for n in range(number))
    backend, _ = joblib.parallel.get_active_backend()
    return sum(inner), joblib.cpu_count(), type(backend).__name__


def test_nested_calls_use_the_containers_cores(
    backend: LocalService, together: Callable[[int], None]
) -> None:
    cpus = len(os.sched_getaffinity(0))
    together(2)
    with settings(slots=cpus):
        results = Parallel()(delayed(nested)(n) for n in [3, 4])
    assert results == [(5, max(1, cpus // 2), "LokyBackend"), (14, max(1, cpus // 2), "LokyBackend")]
    together(1)
    assert Parallel()(delayed(nested)(n) for n in [3]) == [(5, cpus, "LokyBackend")]


def test_the_container_needs_no_joblib(backend: LocalService) -> None:
    code = (
        "import sys; from joblib import Parallel, delayed; from smexec.joblib import register_sagemaker\n"
        "def loaded(_): import sys; return [name for name in sys.modules if 'joblib' in name]\n"
        "register_sagemaker()\n"
        "assert Parallel(backend='sagemaker')(delayed(loaded)(n) for n in range(2)) == [[], []]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100)


def test_without_joblib_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['joblib'] = None; import smexec.joblib"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "pip install 'smexec[joblib]'" in run.stderr


def test_the_backend_is_known_by_its_name(smexec_service: LocalService) -> None:
    with parallel_config(backend="sagemaker"):
        backend, n_jobs = joblib.parallel.get_active_backend()
    assert isinstance(backend, SageMakerBackend)
    assert n_jobs is None


# -- scikit-learn --------------------------------------------------------------------------------------------


@pytest.fixture
def many_cores(smexec_service: LocalService, loky: None) -> Iterator[LocalService]:
    with parallel_config(backend="sagemaker", instance_type="ml.m5.xlarge", max_workers=2):
        yield smexec_service


def test_a_grid_search_finds_what_it_finds_under_loky(
    many_cores: LocalService, together: Callable[[int], None]
) -> None:
    data, target = datasets.load_digits(return_X_y=True)
    search = GridSearchCV(SVC(random_state=0), {"C": [0.1, 1, 10], "gamma": [1e-4, 1e-3]}, cv=3)
    with parallel_config(backend="loky", n_jobs=2):
        expected = clone(search).fit(data, target)
    before = objects(many_cores)
    together(18)
    search.fit(data, target)
    assert create_jobs(many_cores) == 2  # of 18 fits
    assert len(objects(many_cores).keys() - before.keys()) < 8
    assert search.best_params_ == expected.best_params_
    for split in range(3):
        name = f"split{split}_test_score"
        np.testing.assert_array_equal(search.cv_results_[name], expected.cv_results_[name])


def test_scores_are_those_under_loky(many_cores: LocalService, together: Callable[[int], None]) -> None:
    data, target = datasets.load_iris(return_X_y=True)
    model = make_pipeline(StandardScaler(), LogisticRegression(random_state=0))
    with parallel_config(backend="loky", n_jobs=2):
        expected = cross_val_score(model, data, target, cv=10)
    together(10)
    np.testing.assert_array_equal(cross_val_score(model, data, target, cv=10), expected)
    assert create_jobs(many_cores) == 2  # of 10 fits


def test_a_forest_is_the_one_that_grows_under_loky(
    many_cores: LocalService, together: Callable[[int], None]
) -> None:
    data, target = datasets.load_breast_cancer(return_X_y=True)
    forest = RandomForestClassifier(n_estimators=100, random_state=0)
    with parallel_config(backend="loky", n_jobs=2):
        expected = clone(forest).fit(data, target).predict_proba(data)
    together(100)
    forest.fit(data, target)
    assert create_jobs(many_cores) == 2  # of 100 trees
    np.testing.assert_array_equal(forest.predict_proba(data), expected)
