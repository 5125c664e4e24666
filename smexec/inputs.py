"""Inputs of programs: what lies in S3, and what lies here and is uploaded for them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from smexec.capture import sources
from smexec.core import checks
from smexec.core.work import Folder
from smexec.errors import ScriptError

Source: TypeAlias = str | Path | Mapping[str, Any]


class Inputs(NamedTuple):
    """Inputs by name.

    :ivar given: members that the API has for an input
    :ivar remote: S3 URIs
    :ivar local: paths of files and directories
    """

    given: Mapping[str, Mapping[str, Any]]
    remote: Mapping[str, str]
    local: Mapping[str, Path]

    @classmethod
    def of(cls, sources: Mapping[str, Source] | None) -> Inputs:
        """Sorted, in their order.

        :raises ScriptError: one of them is neither in S3 nor here
        """
        inputs: tuple[dict[str, Any], dict[str, str], dict[str, Path]] = ({}, {}, {})
        for name, source in (sources or {}).items():
            if isinstance(source, Mapping):
                inputs[0][name] = source
            elif _is_uri(source):
                inputs[1][name] = _uri(name, str(source))
            else:
                inputs[2][name] = _path(name, source)
        return cls(*inputs)

    def read(self) -> dict[str, Folder]:
        """What lies here, as it is now.

        :raises ScriptError: there is nothing
        """
        return {name: _read(name, path) for name, path in self.local.items()}


def _read(name: str, path: Path) -> Folder:
    try:
        return sources.data(path)
    except ScriptError as error:
        raise ScriptError(f"inputs={{{name!r}: {str(path)!r}}}: {error}") from None


def _is_uri(source: str | Path) -> bool:
    return isinstance(source, str) and "://" in source


def _uri(name: str, uri: str) -> str:
    try:
        checks.s3_uri(uri)
    except ValueError as error:
        raise ScriptError(f"inputs={{{name!r}: {uri!r}}}: {error}") from None
    return uri


def _path(name: str, source: str | Path) -> Path:
    path = Path(source)
    if not path.exists():
        raise ScriptError(
            f"inputs={{{name!r}: {str(source)!r}}}: it is neither an S3 URI (s3://bucket/…) nor a file or "
            "directory here"
        )
    return path
