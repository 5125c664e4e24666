"""``check``, with images that keep the contract and with such as do not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from smexec import errors, images
from smexec.images import Finding

HAS_R = pytest.mark.skipif(not shutil.which("Rscript"), reason="there is no R here")
CLAUSES = [
    "process",
    "train",
    "failure file",
    "SIGTERM",
    "serve",
    "ping",
    "invocations",
    "SIGTERM to a server",
]


def checked(directory: Path, **options: object) -> dict[str, Finding]:
    return {finding.clause: finding for finding in images.check(directory, **options)}  # type: ignore[arg-type]


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize("language", [pytest.param("r", marks=HAS_R), "python", "any"])
def test_what_init_writes_keeps_the_contract(tmp_path: Path, language: str) -> None:
    images.init(language, tmp_path)
    findings = checked(tmp_path)
    assert list(findings) == CLAUSES
    assert [finding for finding in findings.values() if not finding.holds] == []
    assert "rounds must be at least 1, not -1" in findings["failure file"].text


@pytest.mark.parametrize(
    ("purpose", "clauses"),
    [("processing", CLAUSES[:1]), ("training", CLAUSES[1:4]), ("serving", ["train", *CLAUSES[4:]])],
)
def test_an_image_for_one_thing_is_checked_for_that(tmp_path: Path, purpose: str, clauses: list[str]) -> None:
    images.init("python", tmp_path)
    assert list(checked(tmp_path, purpose=purpose)) == clauses


def test_what_an_image_does_not_do_is_found(tmp_path: Path) -> None:
    images.init("python", tmp_path)
    entrypoint = tmp_path / "entrypoint.py"
    edit(
        entrypoint,
        "signal.signal(signal.SIGTERM, interrupt)",
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
    )
    edit(entrypoint, "tell(command, failure(error))", "print(failure(error))")
    findings = checked(tmp_path, purpose="training", grace=0.5)
    assert {clause: finding.holds for clause, finding in findings.items()} == {
        "train": True,
        "failure file": False,
        "SIGTERM": False,
    }
    assert findings["failure file"].text == "FailureReason is: AlgorithmError: "
    assert findings["SIGTERM"].text.endswith("without a model")


def test_without_a_model_nothing_is_served(tmp_path: Path) -> None:
    images.init("python", tmp_path)
    manifest = json.loads((tmp_path / "image.json").read_text())
    (tmp_path / "image.json").write_text(json.dumps({**manifest, "entrypoint": ["false"]}))
    findings = checked(tmp_path)
    assert list(findings) == [*CLAUSES[:4], "serve"]
    assert not any(finding.holds for finding in findings.values())
    assert findings["SIGTERM"].text == "the training did not begin"


def test_a_server_that_fails_is_found(tmp_path: Path) -> None:
    images.init("python", tmp_path)
    edit(tmp_path / "entrypoint.py", "predict(data, type(self).model)", "predict(None, None)")
    findings = checked(tmp_path, purpose="serving")
    assert findings["ping"].holds
    assert not findings["invocations"].holds
    assert "TypeError: 'NoneType' object is not iterable" in findings["invocations"].text


def test_there_has_to_be_something_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(errors.ImageError, match="does not show its language"):
        checked(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(errors.ImageError, match="podman or docker"):
        checked(tmp_path, language="r")
