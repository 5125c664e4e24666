from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from smexec.core.command import arguments
from smexec.errors import ScriptError


def test_numbers_and_paths_are_texts() -> None:
    items = ["a b", 1, 2.5, np.int64(3), np.float32(0.5), Path("x/y")]
    assert arguments(items) == ["a b", "1", "2.5", "3", "0.5", "x/y"]


@pytest.mark.parametrize("item", [None, True, np.True_, b"x", ["x"], "x" * 257, "a\nb"])
def test_what_is_no_argument(item: object) -> None:
    with pytest.raises(ScriptError, match="argument"):
        arguments([item])


def test_a_container_takes_so_many() -> None:
    assert len(arguments(["x"] * 100)) == 100
    with pytest.raises(ScriptError, match="100 arguments"):
        arguments(["x"] * 101)
