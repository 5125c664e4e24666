from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from smexec import SageMakerExecutor, errors
from smexec.capture.images import located
from smexec.core.settings import make
from smexec.program import settle

LOCAL = {"instance_type": "local"}


@pytest.fixture
def image(tmp_path: Path) -> Path:
    directory = tmp_path / "r"
    directory.mkdir()
    (directory / "image.json").write_text("{}")
    return directory


@pytest.mark.parametrize("given", ["image:tag", "123456789012.dkr.ecr.eu-west-1.amazonaws.com/r:1", None])
def test_what_is_no_directory_is_an_image(given: str | None) -> None:
    settings = make({"image_uri": given}, {})
    assert located(settings) is settings


def test_a_directory_is_known_by_its_whole_path(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(image.parent)
    for given in ("r", "./r", image, Path("r")):
        assert located(make({"image_uri": given, **LOCAL}, {})).image_uri == str(image)
    assert settle({"image_uri": "r"}, make(LOCAL, {})).image_uri == str(image)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (LOCAL, r"r' is a directory without image\.json, and so no image: smexec image init"),
        ({}, r'is an image for instance_type="local" only: build one of it \(smexec image build\)'),
        ({"image_uri": "./none", **LOCAL}, r"there is no such directory"),
    ],
)
def test_what_is_no_image_there_is_said_where_it_is_given(
    image: Path, given: dict[str, Any], said: str
) -> None:
    (image / "image.json").unlink()
    with pytest.raises(errors.SettingsError, match=said):
        SageMakerExecutor(**{"image_uri": str(image), **given})
