"""A script and its directory → ``sourcedir.tar.gz``, or a folder: the same for the same files everywhere."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

from smexec.capture import files
from smexec.capture.ignored import Rule, is_ignored, rules
from smexec.core.training import SOURCE_FILE
from smexec.core.work import Folder, Layer
from smexec.errors import ScriptError

_IGNORE = ".gitignore"
_EXECUTABLE, _PLAIN = 0o755, 0o644


def name_in(directory: Path | None, program: str | Path) -> str:
    """A program's path in its directory, where it may be given by its whole path; in none, as it is."""
    path = Path(program)
    if directory is not None and path.is_absolute() and path.is_relative_to(directory.absolute()):
        path = path.relative_to(directory.absolute())
    return path.as_posix()


def pack(program: str, directory: Path | None) -> Layer:
    """The archive of a directory, or of the program alone.

    What ``.gitignore`` files leave out stays out, and ``.git`` itself. Links are followed.

    :param program: its path in the directory, or anywhere if there is none
    :raises ScriptError: there is no such program, or it would stay out
    """
    files = _chosen(program, directory)
    archive = io.BytesIO()
    with (
        gzip.GzipFile("", "wb", fileobj=archive, mtime=0) as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path in sorted(files):
            _add(tar, path, files[path])
    return Layer(SOURCE_FILE, archive.getvalue())


def folder(program: str, directory: Path | None) -> Folder:
    """The same files as they are; S3 keeps no modes."""
    return Folder({path: file.read_bytes() for path, file in _chosen(program, directory).items()})


def data(path: Path) -> Folder:
    """A file, or all files below a directory: nothing of data is left out. They are read when uploaded.

    :raises ScriptError: there are none, or something is neither a file nor a directory
    """
    found = {path.name: path} if path.is_file() else dict(_walk(path, "", None, ()))
    if not found:
        raise ScriptError(f"there are no files in {path}" if path.is_dir() else f"there is no {path}")
    return Folder({name: files.known(found[name]) for name in sorted(found)})


def _chosen(program: str, directory: Path | None) -> dict[str, Path]:
    files = {Path(program).name: Path(program)} if directory is None else dict(_files(directory))
    name = program if directory else Path(program).name
    if name not in files or not files[name].is_file():
        raise ScriptError(_missing(program, directory))
    return files


def _missing(program: str, directory: Path | None) -> str:
    if directory is None:
        return f"there is no file {program}"
    if not directory.is_dir():
        return f"source_dir={str(directory)!r} is not a directory"
    if Path(program).is_absolute() or ".." in Path(program).parts:
        return f"{program} does not lie in source_dir={str(directory)!r}"
    if (directory / program).is_file():
        return f"{program} stays out of the archive of {directory}: a {_IGNORE} says so"
    return f"there is no {program} in source_dir={str(directory)!r}"


def _add(tar: tarfile.TarFile, name: str, path: Path) -> None:
    content = path.read_bytes()
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    entry.mode = _EXECUTABLE if path.stat().st_mode & 0o100 else _PLAIN
    tar.addfile(entry, io.BytesIO(content))


def _files(directory: Path) -> Iterator[tuple[str, Path]]:
    """Names in the archive, and where the files are."""
    top = _repository(directory.resolve())
    outer: list[Rule] = []
    folder = ""
    for part in directory.resolve().relative_to(top).parts:
        outer += _rules_in(top / folder, folder)
        if is_ignored(folder + part, outer, folder=True):
            outer = []  # it was asked for all the same: what leaves out all of it says nothing of its parts
        folder += f"{part}/"
    for path, file in _walk(directory.resolve(), folder, outer, ()):
        yield path.removeprefix(folder), file


def _repository(directory: Path) -> Path:
    """The directory with ``.git`` that it is in; itself if there is none."""
    return next((path for path in (directory, *directory.parents) if (path / ".git").exists()), directory)


def _rules_in(directory: Path, folder: str) -> list[Rule]:
    file = directory / _IGNORE
    return rules(file.read_text(encoding="utf-8"), folder) if file.is_file() else []


def _walk(
    directory: Path, folder: str, outer: list[Rule] | None, above: tuple[Path, ...]
) -> Iterator[tuple[str, Path]]:
    """:param outer: what stays out; None: nothing may, nor what is neither a file nor a directory"""
    real = directory.resolve()
    if real in above:
        raise ScriptError(f"{directory} is a link to a directory that it is in")
    inner = None if outer is None else [*outer, *_rules_in(directory, folder)]
    for entry in directory.iterdir() if directory.is_dir() else ():
        path, is_folder = folder + entry.name, entry.is_dir()
        if inner is not None and (entry.name == ".git" or is_ignored(path, inner, folder=is_folder)):
            continue
        if is_folder:
            yield from _walk(entry, f"{path}/", inner, (*above, real))
        elif entry.is_file():
            yield path, entry
        elif inner is None:
            raise ScriptError(f"{entry} is neither a file nor a directory, or a link to nothing")
