from __future__ import annotations

import copy
import inspect
import pickle
import re
import signal
from collections.abc import Iterator
from typing import Any

import pytest

import smexec
from smexec import errors
from smexec.errors import SmexecError

ALL = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, SmexecError)]
ARGUMENTS: dict[type, tuple[Any, ...]] = {
    errors.MissingModule: ("pandas",),
    errors.CallExited: (3,),
    errors.CallDied: (7,),
    errors.CallKilled: (signal.SIGSEGV,),
    errors.OutOfMemory: (signal.SIGKILL,),
}


def make(kind: type[SmexecError]) -> SmexecError:
    return kind(*ARGUMENTS.get(kind, ("what happened",)))


@pytest.fixture(params=ALL, ids=lambda kind: kind.__name__)
def error(request: pytest.FixtureRequest) -> SmexecError:
    return make(request.param)


# -- all of them ---------------------------------------------------------------------------------------------


def test_every_error_is_documented(error: SmexecError) -> None:
    assert type(error).__doc__
    assert not re.search(r"\bTODO\b", type(error).__doc__ or "")


def test_every_error_stands_in_the_tree_that_the_module_shows() -> None:
    shown = set(re.findall(r"\b[A-Z][a-zA-Z]+\b", errors.__doc__ or ""))
    assert {kind.__name__ for kind in ALL} <= shown


def test_the_tree_that_is_shown_is_the_tree_that_there_is() -> None:
    for child, parent in shown_pairs():
        assert parent in [base.__name__ for base in getattr(errors, child).__mro__[1:]], child


def shown_pairs() -> Iterator[tuple[str, str]]:
    """Each class with the one that it hangs from, as the drawing has them."""
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"\s+([│├└─\s]*)([A-Z]\w+)", line)
        if not found or not line.strip(" │├└─"):
            continue
        depth = found.start(2)
        if "─ " not in found[1] and found[2] != "SmexecError":
            continue
        above = [(column, name) for column, name in above if column < depth]
        if above:
            yield found[2], above[-1][1]
        above.append((depth, found[2]))


def test_the_drawing_is_read_at_all() -> None:
    pairs = dict(shown_pairs())
    assert pairs["OutOfMemory"] == "CallKilled"
    assert pairs["EngineFailed"] == "SmexecError"
    assert len(pairs) > 20


@pytest.mark.parametrize("again", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_errors_travel(error: SmexecError, again: Any) -> None:
    """Between processes, and out of a job that ran an executor of its own."""
    error.locate("job", "reason", ["one", "two"])
    back = again(error)
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert vars(back) == vars(error)
    assert (back.job_name, back.failure_reason, back.log_tail) == ("job", "reason", ("one", "two"))


def test_every_error_tells_where_it_happened(error: SmexecError) -> None:
    before = str(error)
    assert before
    error.locate("smexec-f-1", "AlgorithmError: no", ["last line"])
    assert str(error) == (
        before
        + "\n  job: smexec-f-1"
        + "\n  FailureReason: AlgorithmError: no"
        + "\n  last log lines:\n    last line"
    )


def test_every_error_can_be_raised_and_caught_as_one_of_ours(error: SmexecError) -> None:
    with pytest.raises(SmexecError):
        raise error


# -- where ---------------------------------------------------------------------------------------------------


def test_what_is_known_already_stays() -> None:
    error = SmexecError("x")
    error.locate("one")
    error.locate("two", "reason")
    error.locate("three", "another reason", ["line"])
    error.locate(log_tail=["another line"])
    assert (error.job_name, error.failure_reason, error.log_tail) == ("one", "reason", ("line",))


def test_nothing_is_said_of_what_is_not_known() -> None:
    error = SmexecError("x")
    error.locate()
    assert str(error) == "x"


def test_a_reason_that_the_text_has_is_not_repeated() -> None:
    error = errors.JobFailed("the job failed: AlgorithmError: no")
    error.locate(failure_reason="AlgorithmError: no")
    assert str(error) == "the job failed: AlgorithmError: no"


def test_one_errors_place_is_not_anothers() -> None:
    one, other = SmexecError("x"), SmexecError("x")
    one.locate("job", log_tail=["line"])
    assert (other.job_name, other.log_tail) == (None, ())


# -- each ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.SettingsError, ValueError),
        (errors.CallNotPicklable, TypeError),
        (errors.MissingModule, ImportError),
        (errors.MaxRuntimeExceeded, TimeoutError),
        (errors.AccessDenied, PermissionError),
        (errors.BucketNotFound, FileNotFoundError),
        (errors.InvalidRequest, ValueError),
    ],
)
def test_errors_are_what_python_calls_such_errors_too(kind: type, builtin: type) -> None:
    assert issubclass(kind, builtin)


def test_a_missing_module_says_what_to_do() -> None:
    error = errors.MissingModule("my_package.sub")
    assert error.name == "my_package.sub"
    assert "no module 'my_package.sub'" in str(error)
    assert "register_pickle_by_value(my_package)" in str(error)
    assert pickle.loads(pickle.dumps(error)).name == "my_package.sub"


@pytest.mark.parametrize(
    ("code", "text"),
    [(3, "sys.exit(3)"), (None, "sys.exit()"), ("bye", "sys.exit('bye')"), (0, "sys.exit(0)")],
)
def test_exits(code: int | str | None, text: str) -> None:
    error = errors.CallExited(code)
    assert (error.code, str(error)) == (code, f"the call ended itself by {text}")


def test_deaths() -> None:
    assert errors.CallDied(7).exit_code == 7
    assert "exit code 7" in str(errors.CallDied(7))
    assert errors.CallKilled(11).signal == 11
    assert str(errors.CallKilled(11)) == "the call's process was killed by SIGSEGV"
    assert "larger instance_type" in str(errors.OutOfMemory(9))


def test_signals_have_names_where_this_machine_knows_them() -> None:
    assert [errors.signal_name(number) for number in (9, 15, 200)] == ["SIGKILL", "SIGTERM", "signal 200"]


def test_the_remote_traceback() -> None:
    cause = errors.RemoteTraceback("Traceback ...\nValueError: x\n", "job-1")
    assert str(cause) == '\n"""in job job-1\nTraceback ...\nValueError: x\n"""'
    assert str(errors.RemoteTraceback("T\n")) == '\n"""\nT\n"""'
    again = pickle.loads(pickle.dumps(cause))
    assert (again.traceback, again.job_name, str(again)) == (cause.traceback, "job-1", str(cause))


def test_the_module_is_public() -> None:
    assert smexec.errors is errors
