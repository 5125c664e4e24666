"""docker's rules; tests/containers holds them against podman itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smexec.errors import SettingsError
from smexec.images.ignored import is_ignored, rules


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a", "a"),
        ("a", "a/b/c"),
        ("/a", "a"),
        ("./a/", "a"),
        ("a/../b", "b"),
        ("*.csv", "x.csv"),
        ("*/x", "a/x"),
        ("**/x", "x"),
        ("**/x", "a/b/x"),
        ("a/**", "a/b/c"),
        ("**", "x"),
        ("a**c", "a/b/c"),
        ("?.txt", "a.txt"),
        ("[a-c]", "b"),
        ("[^a]", "b"),
        ("a\\*", "a*"),
        ("  a  ", "a"),
        ("!a\na", "a"),
        ("a\n!a/b\na/b/c", "a/b/c"),
    ],
)
def test_left_out(text: str, path: str) -> None:
    assert is_ignored(path, rules(text))


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a", "b/a"),
        ("a", "ab"),
        ("# a", "a"),
        ("", "a"),
        ("/", "a"),
        ("*.csv", "a/x.csv"),
        ("*/x", "x"),
        ("a/**", "a"),
        ("[^a]", "a"),
        ("a\\*", "ab"),
        ("a\n!a", "a/b"),
        ("a\n!a/b", "a/b/c"),
        ("**\n! x.R", "x.R"),
    ],
)
def test_taken(text: str, path: str) -> None:
    assert not is_ignored(path, rules(text))


@pytest.mark.parametrize("text", ["!", "a[", "a\\", "[z-a]"])
def test_lines_that_are_no_patterns(text: str) -> None:
    with pytest.raises(SettingsError, match="is no pattern"):
        rules(text)


PATHS = st.lists(st.text("ab.", min_size=1, max_size=3).filter(lambda part: set(part) != {"."}), min_size=1)


@given(PATHS.map("/".join))
def test_a_path_leaves_out_itself_and_all_below(path: str) -> None:
    assert is_ignored(path, rules(path))
    assert is_ignored(f"{path}/x", rules(path))
    assert not is_ignored(path, rules(f"{path}\n!{path}"))
    assert not is_ignored(f"x{path}", rules(path))
