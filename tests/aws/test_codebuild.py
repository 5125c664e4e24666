from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from smexec.aws import codebuild
from smexec.aws.border import NotFound
from smexec.testing import LocalService

Ask = Callable[..., Any]


def test_a_build_that_is_not_found_is_looked_for_again(
    ask: Ask, smexec_service: LocalService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codebuild, "_PAUSE", 0.0)
    smexec_service.reset_requests()
    with pytest.raises(NotFound, match="there is no build project:1"):
        ask(codebuild.describe, "project:1")
    assert smexec_service.requests()["codebuild.BatchGetBuilds"] == codebuild._TRIES
