"""The directory that an image is built of: what of it counts, and its archive for a build elsewhere."""

from __future__ import annotations

import os
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from smexec.errors import SettingsError
from smexec.images.ignored import Rule, is_ignored, rules

ARCHIVE = "context.tar.gz"
_DOCKERFILE = "Dockerfile"
_FILE_FLAGS = ("-f", "--file")


@dataclass(frozen=True)
class Context:
    """What ``docker build`` is told.

    :ivar directory: whose files the build may copy
    :ivar dockerfile: which need not be one of them
    :ivar flags: of ``docker build``; not ``--file``
    """

    directory: Path
    dockerfile: Path
    flags: tuple[str, ...]

    @property
    def text(self) -> str:
        """The Dockerfile's, and of the flags: what may name other images. Comments name none."""
        lines = self.dockerfile.read_text(encoding="utf-8").splitlines()
        return "\n".join([line for line in lines if not line.lstrip().startswith("#")] + [*self.flags])


def context(directory: Path, flags: Sequence[str]) -> Context:
    """What these flags and this directory mean.

    :raises SettingsError: there is no such directory, or no such Dockerfile
    """
    if not directory.is_dir():
        raise SettingsError(f"{directory} is no directory")
    given, others = _file_flag(flags)
    # From where the user is, as docker has it, or from the directory.
    places = [Path(given), directory / given] if given else [directory / _DOCKERFILE]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise SettingsError(f"there is no {given or _DOCKERFILE} in {directory}: name it by -- --file PATH")
    return Context(directory, found, tuple(others))


def _file_flag(flags: Sequence[str]) -> tuple[str, list[str]]:
    """The last path that ``--file`` gives, and the other flags."""
    given, others, rest = "", list[str](), iter(flags)
    for flag in rest:
        name, equals, value = flag.partition("=")
        if flag in _FILE_FLAGS:
            given = next(rest, "")
            if not given:
                raise SettingsError(f"{flag} needs a path")
        elif name in _FILE_FLAGS and equals:
            given = value
        else:
            others.append(flag)
    return given, others


def archive(context: Context, file: BinaryIO) -> None:
    """A ZIP file of :data:`ARCHIVE`, which keeps modes and links, and the Dockerfile under its own name.

    :raises SettingsError: ``.dockerignore`` says what cannot be
    """
    with zipfile.ZipFile(file, "w", strict_timestamps=False) as target:
        target.write(context.dockerfile, context.dockerfile.name)
        with (
            target.open(ARCHIVE, "w", force_zip64=True) as member,
            tarfile.open(fileobj=member, mode="w|gz") as tar,
        ):
            for path in files(context):
                tar.add(context.directory / path, path, recursive=False, filter=_owned_by_root)


def files(context: Context) -> list[str]:
    """Paths of all that is not left out, and of the directories it is in, by name."""
    left_out = _rules(context)
    kept = {path for path in _below(context.directory) if not is_ignored(path, left_out)}
    parents = {parent.as_posix() for path in kept for parent in Path(path).parents}
    return sorted(kept | (parents - {"."}))


def _rules(context: Context) -> list[Rule]:
    """A Dockerfile may have one of its own, which comes before that of the directory."""
    own = context.dockerfile.with_name(f"{context.dockerfile.name}.dockerignore")
    found = next((place for place in (own, context.directory / ".dockerignore") if place.is_file()), None)
    return rules(found.read_text(encoding="utf-8")) if found else []


def _below(directory: Path) -> Iterator[str]:
    """Files, links, and directories; links are not followed."""
    for folder, folders, names in os.walk(directory):
        for name in (*folders, *names):
            yield Path(folder, name).relative_to(directory).as_posix()


def _owned_by_root(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """As docker sends it; sockets and the like cannot be sent."""
    if not (member.isfile() or member.isdir() or member.issym() or member.islnk()):
        return None
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member
