"""What a ``.dockerignore`` leaves out of a build's context, by docker's rules."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from smexec.errors import SettingsError


@dataclass(frozen=True)
class Rule:
    """A line of it.

    :ivar pattern: of paths below the context's directory
    :ivar negated: what it matches is taken all the same
    """

    pattern: re.Pattern[str]
    negated: bool


def rules(text: str) -> list[Rule]:
    """Those of a file.

    :raises SettingsError: a line is no pattern
    """
    return [_rule(line.strip()) for line in text.splitlines() if line.strip() and not line.startswith("#")]


def is_ignored(path: str, rules: Sequence[Rule]) -> bool:
    """Whether a file is left out: the last rule that matches it, or a directory that it is in, says so."""
    parts = path.split("/")
    chain = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
    for rule in reversed(rules):
        if any(rule.pattern.fullmatch(one) for one in chain):
            return not rule.negated
    return False


def _rule(line: str) -> Rule:
    negated = line.startswith("!")
    glob = line.removeprefix("!").strip()
    if not glob:
        raise SettingsError(f".dockerignore: {line!r} is no pattern")
    cleaned = posixpath.normpath(glob)
    try:
        return Rule(re.compile("".join(_translated(cleaned.lstrip("/"))), re.DOTALL), negated)
    except (re.error, IndexError):
        raise SettingsError(f".dockerignore: {line!r} is no pattern") from None


def _translated(glob: str) -> Iterator[str]:
    at = 0
    while at < len(glob):
        regex, length = _token(glob, at)
        yield regex
        at += length


def _token(glob: str, at: int) -> tuple[str, int]:
    """The regular expression for what begins there, and how long that is."""
    if glob[at:] == "**":
        return ".*", 2
    if glob.startswith("**", at):
        return "(?:.*/)?", 3 if glob.startswith("**/", at) else 2
    if glob[at] == "*":
        return "[^/]*", 1
    if glob[at] == "?":
        return "[^/]", 1
    if glob[at] == "[":
        return _characters(glob, at)
    if glob[at] == "\\":
        return re.escape(glob[at + 1]), 2
    return re.escape(glob[at]), 1


def _characters(glob: str, at: int) -> tuple[str, int]:
    """``[a-z]`` and ``[^a-z]``."""
    found = re.match(r"\[(\^?)((?:\\.|[^\]\\])+)\]", glob[at:], re.DOTALL)
    if found is None:
        raise re.error("no end of [")
    negated, members = found.groups()
    inside = re.sub(r"\\(.)|([\[\]^&~|])", lambda one: "\\" + (one[1] or one[2]), members)
    return f"[{negated}{inside}]", found.end()
