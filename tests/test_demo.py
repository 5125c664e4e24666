from __future__ import annotations

import struct
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smexec.demo import Combination, Score, cross_validate, draw_heat_map, grid, ranked

SCORES = [Score(combination, index / 10) for index, combination in enumerate(grid([1, 10], [0.1, 0.2, 0.3]))]


def test_the_grid_has_every_combination_once() -> None:
    combinations = grid([1.0, 10.0], [0.1, 0.2, 0.3])
    assert combinations[:3] == [(1.0, 0.1), (1.0, 0.2), (1.0, 0.3)]
    assert len(set(combinations)) == 6


@given(st.lists(st.builds(Score, st.sampled_from(grid()), st.sampled_from([0.1, 0.5, 0.9]))))
def test_ranking_puts_better_first_and_the_simpler_of_equals(scores: list[Score]) -> None:
    order = ranked(scores)
    assert sorted(order) == sorted(scores)
    for first, second in pairwise(order):
        assert first.accuracy > second.accuracy or (
            first.accuracy == second.accuracy and first.combination <= second.combination
        )


def test_digits_can_be_told_apart() -> None:
    good = cross_validate(Combination(C=10.0, gamma=0.001))
    bad = cross_validate(Combination(C=0.1, gamma=0.01))
    assert 0.9 < good <= 1.0
    assert bad < 0.5


def test_the_heat_map_is_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "map.png"
    draw_heat_map(SCORES, path)
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", content[16:24])
    assert (width, height) == (1050, 630)


def test_the_heat_map_needs_the_whole_grid(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        draw_heat_map(SCORES[:-1], tmp_path / "map.png")
