"""What takes an Executor takes this one: what the page about that does not show."""

from __future__ import annotations

import asyncio
import functools
import io
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, wait
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest
from dask.delayed import delayed
from tqdm.asyncio import tqdm

from smexec import Future, SageMakerExecutor
from smexec.testing import LocalService


@pytest.fixture(autouse=True)
def _optuna_says_little() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(before)


class Overdrawn(Exception):
    pass


def withdraw(amount: int) -> int:
    if amount > 7:
        raise Overdrawn(amount)
    return amount


def withdraw_late(path: Path, amount: int) -> int:
    """Once there is a file."""
    while not path.exists():
        time.sleep(0.01)
    return withdraw(amount)


def jobs(service: LocalService) -> int:
    return service.requests()["sagemaker.CreateTrainingJob"]


def graph(amounts: range, withdraw: Callable[[int], int] = withdraw) -> Any:
    """A sum of withdrawals, in levels of four to one."""
    level = [delayed(withdraw)(amount) for amount in amounts]
    while len(level) > 1:
        level = [delayed(sum)(level[start : start + 4]) for start in range(0, len(level), 4)]
    return level[0]


def test_calls_that_can_be_under_way_are_those_of_all_jobs() -> None:
    assert SageMakerExecutor(2)._max_workers == 2
    assert SageMakerExecutor(2, calls_per_job=8)._max_workers == 16


def test_dasks_tasks_share_jobs(smexec_service: LocalService, tmp_path: Path) -> None:
    """However long those of the first level take to come: those of its first job wait for them all."""
    here = tmp_path / "here"

    def let_go(executor: SageMakerExecutor) -> None:
        while sum(executor._engine.counts().values()) < 16:
            time.sleep(0.01)
        here.touch()

    with SageMakerExecutor(max_workers=1, calls_per_job=100) as executor:
        letting_go = threading.Thread(target=let_go, args=(executor,), daemon=True)
        letting_go.start()
        total = graph(range(-8, 8), functools.partial(withdraw_late, here))
        assert total.compute(scheduler=executor) == -8
        letting_go.join()
    assert 3 <= jobs(smexec_service) <= 2 + 4 + 1  # of 16 + 4 + 1 tasks


def test_what_a_dask_task_raises_comes_as_itself(smexec_service: LocalService) -> None:
    with SageMakerExecutor(max_workers=2, calls_per_job=2) as executor:
        with pytest.raises(Overdrawn, match="8") as caught:
            graph(range(8, 9)).compute(scheduler=executor)
        assert "raise Overdrawn(amount)" in str(caught.value.__cause__)
        assert graph(range(4)).compute(scheduler=executor) == 6


def test_after_the_first_exception_the_rest_is_stopped(smexec_service: LocalService) -> None:
    with SageMakerExecutor(max_workers=1) as executor:
        failing: Future[Any] = executor.submit(withdraw, 8)
        sleeping: set[Future[Any]] = {executor.submit(time.sleep, 600) for _ in range(8)}
        done, rest = wait({failing, *sleeping}, return_when=FIRST_EXCEPTION)
        assert (done, rest) == ({failing}, sleeping)
        while not any(future.running() for future in sleeping):
            time.sleep(0.01)
        for future in sorted(sleeping, key=Future.running):  # it comes last: none is to take its place
            future.stop()
        assert wait(sleeping, timeout=60).done == sleeping
    assert jobs(smexec_service) == 2


def test_a_bar_in_async_code(smexec_service: LocalService) -> None:
    async def run() -> tuple[list[int], list[int]]:
        async with SageMakerExecutor(max_workers=1, calls_per_job=3) as executor:
            bar = tqdm(executor.map(withdraw, range(3)), total=3, file=io.StringIO())
            mapped = [value async for value in bar]
            assert bar.n == 3
            futures = [executor.submit(withdraw, amount) for amount in range(3)]
            return mapped, await tqdm.gather(*futures, file=io.StringIO())

    assert asyncio.run(run()) == ([0, 1, 2], [0, 1, 2])


def test_a_study_on_threads(smexec_service: LocalService) -> None:
    study = optuna.create_study()
    with SageMakerExecutor(max_workers=4, calls_per_job=4) as executor:

        def objective(trial: Any) -> float:
            return float(executor.submit(withdraw, trial.suggest_int("amount", 0, 9)).result())

        study.optimize(objective, n_trials=12, n_jobs=4, catch=[Overdrawn])
    told = {trial.params["amount"]: trial.value for trial in study.trials}
    assert told == {amount: None if amount > 7 else amount for amount in told}
    assert jobs(smexec_service) <= 12


def test_the_groups_of_a_frame_share_jobs(smexec_service: LocalService, unhurried: None) -> None:
    frame = pd.DataFrame({"key": [number % 10 for number in range(1000)], "value": range(1000)})

    def total(key: int, rows: Any) -> tuple[int, int]:
        return key, int(rows["value"].sum())

    with SageMakerExecutor(max_workers=2) as executor:
        totals = dict(executor.starmap(total, frame.groupby("key")))
    assert totals == frame.groupby("key")["value"].sum().to_dict()
    assert jobs(smexec_service) == 2
