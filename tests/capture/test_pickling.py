from __future__ import annotations

import functools
import importlib.util
import math
import operator
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smexec.capture import pickling
from smexec.capture.pickling import (
    calling_module,
    dump_arguments,
    dump_function,
    load,
    name_of,
    sources_of,
)
from smexec.errors import CallNotPicklable

FACTOR = 3


def dump_call(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], caller: str | None
) -> tuple[list[Any], list[Any]]:
    """What travels for a call: the function's sections and its arguments'."""
    return list(dump_function(function, caller).sections), list(
        dump_arguments(function, args, kwargs, caller).sections
    )


def sent(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], caller: str | None
) -> Any:
    """Function, args and kwargs as they arrive."""
    pickled, arguments = dump_call(function, args, kwargs, caller)
    return (load(pickled), *load(arguments))


def triple(x: int) -> int:
    return x * FACTOR


class Scale:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    def __call__(self, x: int) -> int:
        return x * self.factor

    def times(self, x: int) -> int:
        return x * self.factor

    @classmethod
    def named(cls, x: int) -> str:
        return f"{cls.__name__}{x}"

    @staticmethod
    def twice(x: int) -> int:
        return 2 * x


def closure(factor: int) -> Callable[[int], int]:
    def scaled(x: int) -> int:
        return x * factor

    return scaled


@functools.wraps(triple)
def wrapped(x: int) -> int:
    return triple(x) + 1


CALLABLES: list[tuple[Callable[..., Any], tuple[Any, ...], Any]] = [
    (triple, (2,), 6),
    (lambda x: x + FACTOR, (2,), 5),
    (closure(5), (2,), 10),
    (Scale(4), (2,), 8),
    (Scale(4).times, (2,), 8),
    (Scale.named, (2,), "Scale2"),
    (Scale.twice, (2,), 4),
    (functools.partial(pow, 2), (3,), 8),
    (functools.partial(functools.partial(triple), 2), (), 6),
    (functools.partial(Scale(4).times, x=2), (), 8),
    (max, ([1, 3, 2],), 3),
    (math.sqrt, (9,), 3.0),
    ([1, 2, 1].count, (1,), 2),
    (dict, ([("a", 1)],), {"a": 1}),
    (operator.itemgetter(1), ("ab",), "b"),
    (np.add, (1, 2), 3),
    (str.upper, ("a",), "A"),
]


@pytest.mark.parametrize(("function", "args", "value"), CALLABLES)
def test_every_callable_that_cloudpickle_takes(
    function: Callable[..., Any], args: tuple[Any, ...], value: Any
) -> None:
    loaded, positional, named = sent(function, args, {}, __name__)
    assert loaded(*positional, **named) == value


def test_classes_can_be_called() -> None:
    loaded, args, _ = sent(Scale, (7,), {}, None)
    assert loaded(*args)(2) == 14


@given(st.dictionaries(st.text(), st.integers(), max_size=5), st.lists(st.integers(), max_size=5))
def test_arguments_of_any_number_and_name(named: dict[str, int], args: list[int]) -> None:
    assert sent(print, args, named, None) == (print, tuple(args), named)


def test_what_is_shared_stays_shared() -> None:
    one: list[int] = []
    _, (first, second), _ = sent(print, (one, one), {}, None)
    assert first is second


def test_arrays_lie_outside_the_pickle() -> None:
    arrays = [np.arange(1000.0), np.zeros((0, 3)), np.eye(3, order="F")]
    sections = dump_arguments(print, arrays, {}, None).sections
    assert sum(np.shares_memory(np.frombuffer(section, "u1"), arrays[0]) for section in sections[1:]) == 1
    received = [bytearray(section) for section in sections]  # as it comes from a file
    loaded, _ = load(received)
    for array, again in zip(arrays, loaded, strict=True):
        np.testing.assert_array_equal(again, array)
        again[...] = 0  # writable


def test_an_array_that_is_not_to_be_changed_stays_so() -> None:
    array = np.arange(3)
    array.flags.writeable = False
    sections = dump_arguments(print, (array,), {}, None).sections
    (again,), _ = load([bytearray(section) for section in sections])
    assert not again.flags.writeable


# -- code that only the client has ---------------------------------------------------------------------------

PACKAGE = {
    "__init__.py": "",
    "helpers.py": "BASE = 10\ndef add(x):\n    return BASE + x\n",
    "model.py": (
        "import functools\n"
        "from mine_only import helpers\n"
        "def compute(x):\n    return helpers.add(x)\n"
        "class Model:\n"
        "    def __init__(self, w):\n        self.w = w\n"
        "    def predict(self, x):\n        return self.w * helpers.add(x)\n"
        "    def __call__(self, x):\n        return self.predict(x)\n"
        "    @classmethod\n    def build(cls, w):\n        return cls(w)\n"
        "nested = functools.partial(functools.partial(compute), 1)\n"
    ),
}
ALONE = "import mine_only_single\ndef call(f, *args):\n    return f(*args)\nclass Point:\n    x = 5\n"

# Unpickles and calls what it gets on stdin, where nothing of the user's can be imported.
CONTAINER = """
import pickle, sys
function, (args, kwargs) = pickle.load(sys.stdin.buffer), pickle.load(sys.stdin.buffer)
print(function(*args, **kwargs))
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A package of the user's own, and a module."""
    folder = tmp_path / "src" / "mine_only"
    folder.mkdir(parents=True)
    for name, source in PACKAGE.items():
        (folder / name).write_text(source)
    (tmp_path / "src" / "mine_only_single.py").write_text(ALONE)
    monkeypatch.syspath_prepend(tmp_path / "src")
    importlib.import_module("mine_only.model")
    yield importlib.import_module("mine_only_single")
    for name in [name for name in sys.modules if name.startswith("mine_only")]:
        del sys.modules[name]


def elsewhere(function: Callable[..., Any], *args: Any, caller: str | None = None) -> str:
    (pickled,), (arguments,) = dump_call(function, args, {}, caller)
    command = [sys.executable, "-c", CONTAINER]
    done = subprocess.run(command, input=bytes(pickled) + bytes(arguments), capture_output=True, check=False)
    return (done.stdout or done.stderr.splitlines()[-1]).decode().strip()


def test_a_package_of_the_users_travels_with_its_function(mine: ModuleType) -> None:
    model = sys.modules["mine_only.model"]
    assert elsewhere(model.compute, 1) == "11"
    assert elsewhere(model.nested) == "11"
    assert elsewhere(model.Model(2).predict, 1) == "22"
    assert elsewhere(model.Model(2), 1) == "22"
    assert elsewhere(functools.partial(model.Model(2), 1)) == "22"
    assert "Model" in elsewhere(model.Model.build, 1)


def test_the_module_that_submits_travels_too(mine: ModuleType) -> None:
    assert elsewhere(getattr, mine.Point, "x", caller="mine_only_single") == "5"
    assert elsewhere(mine.call, len, "abc") == "3"


def test_a_module_that_neither_submits_nor_has_the_function_is_referred_to(mine: ModuleType) -> None:
    assert elsewhere(getattr, mine.Point, "x") == "ModuleNotFoundError: No module named 'mine_only_single'"


def test_this_module_travels() -> None:
    assert elsewhere(triple, 2) == "6"
    assert elsewhere(Scale(4).times, 2) == "8"
    assert elsewhere(lambda: Scale(4)(2)) == "8"


def test_a_module_of_a_package_that_is_made_up(
    mine: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As pytest makes them for the folders of tests."""
    path = tmp_path / "inner.py"
    path.write_text("def double(x):\n    return 2 * x\n")
    spec = importlib.util.spec_from_file_location("mine_only_made_up.inner", path)
    assert spec is not None
    assert spec.loader is not None
    inner = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(inner)
    monkeypatch.setitem(sys.modules, "mine_only_made_up", ModuleType("mine_only_made_up"))
    monkeypatch.setitem(sys.modules, "mine_only_made_up.inner", inner)
    assert elsewhere(inner.double, 2) == "4"


@pytest.mark.parametrize("name", ["math", "json.decoder", "numpy", "smexec.errors", "__main__"])
def test_what_an_image_may_have_is_referred_to(name: str) -> None:
    module = sys.modules[name] if name in sys.modules else __import__(name)
    assert not pickling._is_users(module)


def test_the_users_own_registrations_are_left_alone(mine: ModuleType) -> None:
    model = sys.modules["mine_only.model"]
    cloudpickle.register_pickle_by_value(mine)
    cloudpickle.register_pickle_by_value(model)
    before = cloudpickle.list_registry_pickle_by_value()
    try:
        dump_call(mine.call, (len, model.compute), {}, "mine_only.model")
        assert (
            cloudpickle.list_registry_pickle_by_value() == before == {"mine_only_single", "mine_only.model"}
        )
    finally:
        cloudpickle.unregister_pickle_by_value(mine)
        cloudpickle.unregister_pickle_by_value(model)


def test_nothing_is_registered_after_a_failure(mine: ModuleType) -> None:
    with pytest.raises(CallNotPicklable):
        dump_call(mine.call, (threading.Lock(),), {}, None)
    assert cloudpickle.list_registry_pickle_by_value() == set()


def test_a_registration_holds_while_another_thread_pickles(mine: ModuleType) -> None:
    """The registry is one for all: whoever is ready first must not take the module away from the other."""
    inside, go_on = threading.Event(), threading.Event()

    class Slow:
        def __reduce__(self) -> Any:
            inside.set()
            assert go_on.wait(60)
            return int, (1,)

    results: list[str] = []
    slow = threading.Thread(target=lambda: results.append(elsewhere(mine.call, len, "abc")))
    holder = threading.Thread(target=lambda: dump_call(mine.call, (Slow(),), {}, None))
    holder.start()
    assert inside.wait(60)
    slow.start()
    go_on.set()
    holder.join()
    slow.join()
    assert results == ["3"]


# -- what cannot be pickled ----------------------------------------------------------------------------------


def refusal(function: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    with pytest.raises(CallNotPicklable) as caught:
        dump_call(function, args, kwargs, None)
    assert isinstance(caught.value, TypeError)
    assert caught.value.__cause__ is not None
    return str(caught.value)


def test_the_culprit_is_named() -> None:
    lock = threading.Lock()
    assert refusal(lambda: lock).startswith("the function <lambda> (function) cannot be pickled")
    assert refusal(print, 1, lock).startswith("argument 1 (lock) cannot be pickled, so it cannot be sent")
    assert refusal(print, 1, sep=lock).startswith("argument sep= (lock) cannot be pickled")
    told = refusal(print, [{"well": 1}, {"deep": lock}])
    assert told.startswith(
        "argument 0 (list), at [1]['deep'] (lock), cannot be pickled, so it cannot be sent"
    )
    assert "TypeError: cannot pickle" in refusal(print, lock)


def test_any_exception_of_the_users_pickling_is_told() -> None:
    class Refuses:
        def __reduce__(self) -> Any:
            raise KeyError("mine")

    assert "KeyError: 'mine'" in refusal(print, Refuses())


def test_the_way_to_the_culprit_leads_through_objects() -> None:
    scale = Scale(1)
    scale.__dict__["guards"] = ("none", {3: threading.Lock()})
    assert refusal(print, end=[scale]).startswith("argument end= (list), at [0].guards[1][3] (lock), cannot")
    bound = functools.partial(pow, 2, mod=threading.Lock())
    assert refusal(print, bound).startswith("argument 0 (partial), at ['mod'] (lock), cannot")


def test_a_culprit_that_has_nothing_in_it_is_named_alone() -> None:
    class Refuses:
        def __init__(self) -> None:
            self.well = 1

        def __reduce__(self) -> Any:
            raise KeyError("mine")

    assert refusal(print, Refuses()).startswith("argument 0 (Refuses) cannot be pickled")


def test_the_culprit_is_not_looked_for_without_end() -> None:
    lock = threading.Lock()
    endless: dict[str, Any] = {"lock": lock}
    endless["self"] = {"again": endless}
    assert refusal(print, endless).startswith("argument 0 (dict), at ['lock'] (lock), cannot be pickled")
    many = [*range(20_000), lock]
    assert refusal(print, many).startswith("argument 0 (list) cannot be pickled")


def test_recursion_without_end() -> None:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    assert "argument 0 (list)" in refusal(print, nested)
    while nested:
        nested = nested.pop()  # or its end would be a recursion as well


# -- for people ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (triple, "triple"),
        (lambda: 0, "<lambda>"),
        (closure(1), "scaled"),
        (Scale(1), "Scale"),
        (Scale(1).times, "Scale.times"),
        (Scale.named, "Scale.named"),
        (Scale, "Scale"),
        (functools.partial(functools.partial(triple), 2), "triple"),
        (max, "max"),
        (operator.itemgetter(1), "itemgetter"),
        (np.add, "add"),
    ],
)
def test_names(function: Callable[..., Any], name: str) -> None:
    assert name_of(function) == name


@pytest.mark.parametrize("function", [triple, Scale(1).times, functools.partial(triple), wrapped, closure(1)])
def test_the_source_travels(function: Callable[..., Any]) -> None:
    assert sources_of(function) == {__file__: Path(__file__).read_text(encoding="utf-8")}


class Everything:
    """Has every attribute that it is asked for."""

    def __getattr__(self, name: str) -> Any:
        return self

    def __call__(self) -> None: ...


@pytest.mark.parametrize("function", [max, Scale, Scale(1), functools.reduce, functools.wraps, Everything()])
def test_no_source_where_there_is_none(function: Callable[..., Any]) -> None:
    assert sources_of(function) == {}


def test_code_without_a_file_has_no_source() -> None:
    namespace: dict[str, Any] = {}
    exec(compile("def f(): pass", "<nowhere>", "exec"), namespace)
    assert sources_of(namespace["f"]) == {}


def test_very_long_files_stay_here(tmp_path: Path) -> None:
    path = tmp_path / "long.py"
    path.write_text("def f(): pass\n" + "#" * pickling.SOURCE_LIMIT)
    namespace: dict[str, Any] = {}
    exec(compile(path.read_text(), str(path), "exec"), namespace)
    assert sources_of(namespace["f"]) == {}


@pytest.mark.parametrize("library", ["smexec.somewhere", "smexec.executor", "pytest", "json"])
def test_the_calling_module_is_the_first_that_is_the_users(library: str) -> None:
    frame = sys._getframe()
    assert calling_module(frame) == __name__
    namespace: dict[str, Any] = {"__name__": library, "sys": sys, "calling_module": calling_module}
    exec("def submit():\n    return calling_module(sys._getframe())", namespace)
    assert namespace["submit"]() == __name__
    assert calling_module(None) is None


def test_a_script_calls_too() -> None:
    namespace: dict[str, Any] = {"__name__": "__main__", "sys": sys, "calling_module": calling_module}
    exec("def submit():\n    return calling_module(sys._getframe())", namespace)
    assert namespace["submit"]() == "__main__"


def test_what_cannot_be_loaded_raises_what_pickle_raises() -> None:
    with pytest.raises(pickle.UnpicklingError):
        load([b"junk"])


def test_a_pickle_that_is_to_be_quick_has_a_limit() -> None:
    few, many = [1, 2], list(range(10_000))
    assert dump_arguments(len, [few], {}, None, most=1_000).sections
    with pytest.raises(pickling.TooLarge):
        dump_arguments(len, [many], {}, None, most=1_000)
    array = np.zeros(10_000)
    assert dump_arguments(len, [array], {}, None, most=1_000).sections  # it is not copied


def test_dumps_on_several_threads_share_the_registry() -> None:
    """One that ends while another goes on takes nothing from it."""
    begun, ended = threading.Event(), threading.Event()

    class Slow:
        def __reduce__(self) -> Any:
            begun.set()
            assert ended.wait(60)
            return (str, ("slow",))

    dumped: list[Any] = []
    slow = threading.Thread(
        target=lambda: dumped.append(dump_arguments(triple, [Slow(), triple], {}, __name__))
    )
    slow.start()
    assert begun.wait(60)
    dump_arguments(triple, [1], {}, __name__)
    ended.set()
    slow.join()
    assert b"_make_function" in dumped[0].sections[0]  # by value, not by its name
    assert not cloudpickle.list_registry_pickle_by_value()
