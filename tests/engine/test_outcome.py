from __future__ import annotations

import io
import tarfile
import tracemalloc
from collections.abc import Mapping

import pytest

from smexec.engine.outcome import from_archive
from smexec.errors import SignatureError

MIB = 1 << 20


def packed(files: Mapping[str, bytes], *others: tarfile.TarInfo) -> io.BytesIO:
    """An output.tar.gz."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz", compresslevel=1) as tar:
        for other in others:
            tar.addfile(other)
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    archive.seek(0)
    return archive


def test_envelopes_are_told_from_what_the_user_left() -> None:
    link, folder = tarfile.TarInfo("smexec/3"), tarfile.TarInfo("smexec/4")
    link.type, link.linkname = tarfile.SYMTYPE, "/elsewhere"
    folder.type = tarfile.DIRTYPE
    files = {
        "1": b"users",
        "smexec/0": b"zero",
        "./smexec/1": b"one",
        "smexec/2.part": b"",
        "model": b"users",
    }
    assert from_archive(packed(files, link, folder), "job") == {0: b"zero", 1: b"one"}


@pytest.mark.parametrize("damage", [lambda _: b"not an archive", lambda whole: whole[:-300], lambda _: b""])
def test_an_archive_that_cannot_be_read_is_nothing_of_ours(damage: object) -> None:
    assert callable(damage)
    whole = packed({"smexec/0": bytes(range(256)) * 8}).getvalue()
    with pytest.raises(SignatureError, match="was not written by this run's worker") as caught:
        from_archive(io.BytesIO(damage(whole)), "job")
    assert caught.value.job_name == "job"


def test_what_the_user_left_is_not_held() -> None:
    archive = packed({"large": bytes(64 * MIB), "smexec/0": b"zero"})
    tracemalloc.start()
    assert from_archive(archive, "job") == {0: b"zero"}
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * MIB
