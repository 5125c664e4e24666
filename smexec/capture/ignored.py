"""What ``.gitignore`` files leave out, by git's rules: a test holds them against git itself.

pathspec (1.1) differs where it matters to what leaves the machine: it lets ``[!a]`` match a slash, takes
``d/**`` for ``d`` as well, so that ``!d/keep`` comes too late, and refuses lines that git skips.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_SKIP = "(?!)"  # matches nothing
_ANY_FOLDERS, _WITHIN = "(?:.*/)?", ".+"


@dataclass(frozen=True)
class Rule:
    """A line of a ``.gitignore``.

    :ivar pattern: of paths below the directory that all rules are for
    :ivar negated: what it matches is taken all the same
    :ivar folders_only: it says nothing of files
    """

    pattern: re.Pattern[str]
    negated: bool
    folders_only: bool


def rules(text: str, folder: str) -> list[Rule]:
    """Those of one file.

    :param folder: that it is in: a path with a slash at its end, or nothing
    """
    return [_rule(line, folder) for line in map(_stripped, text.splitlines()) if line and line[0] != "#"]


def is_ignored(path: str, rules: Sequence[Rule], *, folder: bool) -> bool:
    """Whether a file, or a whole folder, is left out: the last rule that matches says so."""
    for rule in reversed(rules):
        if (folder or not rule.folders_only) and rule.pattern.fullmatch(path):
            return not rule.negated
    return False


def _stripped(line: str) -> str:
    """Without the blanks at its end, unless a backslash says that they are meant."""
    bare = line.rstrip(" ")
    is_kept = len(bare) < len(line) and (len(bare) - len(bare.rstrip("\\"))) % 2
    return bare + " " if is_kept else bare


def _rule(line: str, folder: str) -> Rule:
    negated, glob = line.startswith("!"), line.removeprefix("!")
    body = glob.removesuffix("/")
    is_anchored = "/" in body
    body = body.removeprefix("/")
    try:
        regex = "".join(_translated(body if is_anchored else f"**/{body}"))
    except _Malformed:
        regex = _SKIP
    pattern = re.compile(re.escape(folder) + regex, re.DOTALL)
    return Rule(pattern, negated, folders_only=glob.endswith("/"))


class _Malformed(Exception):
    """git takes such a line for one that matches nothing."""


def _translated(glob: str) -> Iterator[str]:
    at = 0
    while at < len(glob):
        regex, length = _token(glob, at)
        yield regex
        at += length


def _token(glob: str, at: int) -> tuple[str, int]:
    """The regular expression for what begins there, and how long that is."""
    begins = at == 0 or glob[at - 1] == "/"
    if begins and glob.startswith("**/", at):
        return _ANY_FOLDERS, 3
    if begins and glob[at:] == "**":
        return _WITHIN, 2
    if glob[at] == "*":
        stars = re.match(r"\*+", glob[at:])
        assert stars is not None
        return "[^/]*", stars.end()
    if glob[at] == "?":
        return "[^/]", 1
    if glob[at] == "[":
        return _characters(glob, at)
    if glob[at] == "\\":
        if at + 1 == len(glob):
            raise _Malformed
        return re.escape(glob[at + 1]), 2
    return re.escape(glob[at]), 1


def _characters(glob: str, at: int) -> tuple[str, int]:
    """``[a-z]`` and ``[!a-z]``, in which a bracket that comes first is one of the characters."""
    found = re.match(r"\[([!^]?)(\]?(?:\\.|[^\]\\])*)\]", glob[at:], re.DOTALL)
    if found is None:
        raise _Malformed
    negated, members = found.groups()
    inside = re.sub(r"\\(.)|([\[\]^&~|])", lambda one: "\\" + (one[1] or one[2]), members)
    try:
        re.compile(f"[{inside}]")
    except re.error as error:  # an empty range, say
        raise _Malformed from error
    return f"(?!/)[{'^' if negated else ''}{inside}]", found.end()
