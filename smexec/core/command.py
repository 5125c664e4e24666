"""Command lines of containers, as texts that the service takes. Limits: botocore's model."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from numbers import Real
from typing import Any

from smexec.errors import ScriptError

_MOST, _ITEM = 100, re.compile(r"[^\r\n\x85\u2028\u2029]{0,256}")


def arguments(items: Iterable[Any]) -> list[str]:
    """Numbers, numpy's too, and paths are taken as their texts.

    :raises ScriptError: the service would not take them
    """
    texts = [_text(item) for item in items]
    if len(texts) > _MOST:
        raise ScriptError(f"a container takes {_MOST} arguments, and these are {len(texts)}")
    return texts


def _text(item: Any) -> str:
    if isinstance(item, bool) or not isinstance(item, str | Real | os.PathLike):
        raise ScriptError(f"{item!r} is no argument of a command line: give texts and numbers")
    text = os.fspath(item) if isinstance(item, os.PathLike) else str(item)
    if not _ITEM.fullmatch(text):
        raise ScriptError(f"an argument has at most 256 characters and no line breaks: {text!r}")
    return text
