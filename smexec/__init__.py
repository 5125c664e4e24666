"""smexec: ``concurrent.futures`` on Amazon SageMaker.

Importing it is cheap: everything is loaded when it is first used, AWS libraries last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smexec import errors
    from smexec.core.processing import ProcessingResult
    from smexec.core.training import TrainingResult
    from smexec.core.transform import TransformResult
    from smexec.decorator import RemoteFunction, remote
    from smexec.executor import SageMakerExecutor
    from smexec.future import Future
    from smexec.processing import Processing
    from smexec.script import Script
    from smexec.transform import Transform

__all__ = [
    "Future",
    "Processing",
    "ProcessingResult",
    "RemoteFunction",
    "SageMakerExecutor",
    "Script",
    "TrainingResult",
    "Transform",
    "TransformResult",
    "errors",
    "remote",
]
__version__ = "0.1.0.dev0"

_HOMES = {
    "Future": "smexec.future",
    "Processing": "smexec.processing",
    "ProcessingResult": "smexec.core.processing",
    "RemoteFunction": "smexec.decorator",
    "SageMakerExecutor": "smexec.executor",
    "Script": "smexec.script",
    "TrainingResult": "smexec.core.training",
    "Transform": "smexec.transform",
    "TransformResult": "smexec.core.transform",
    "remote": "smexec.decorator",
}


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name == "errors":
        return import_module("smexec.errors")
    if name not in _HOMES:
        raise AttributeError(f"module 'smexec' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
