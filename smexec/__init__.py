"""smexec: ``concurrent.futures`` on Amazon SageMaker.

Importing it is cheap: everything is loaded when it is first used, AWS libraries last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smexec import errors
    from smexec.core.processing import ProcessingResult
    from smexec.core.transform import TransformResult
    from smexec.decorator import RemoteFunction, remote
    from smexec.deployment import Deployment, adeploy, deploy
    from smexec.endpoint import Endpoint
    from smexec.executor import SageMakerExecutor
    from smexec.future import Future
    from smexec.processing import Processing
    from smexec.script import Script
    from smexec.trained import TrainingResult
    from smexec.transform import Transform

__all__ = [
    "Deployment",
    "Endpoint",
    "Future",
    "Processing",
    "ProcessingResult",
    "RemoteFunction",
    "SageMakerExecutor",
    "Script",
    "TrainingResult",
    "Transform",
    "TransformResult",
    "adeploy",
    "deploy",
    "errors",
    "remote",
]
__version__ = "0.1.0.dev0"

_HOMES = {
    "Deployment": "smexec.deployment",
    "Endpoint": "smexec.endpoint",
    "Future": "smexec.future",
    "Processing": "smexec.processing",
    "ProcessingResult": "smexec.core.processing",
    "RemoteFunction": "smexec.decorator",
    "SageMakerExecutor": "smexec.executor",
    "Script": "smexec.script",
    "TrainingResult": "smexec.trained",
    "Transform": "smexec.transform",
    "TransformResult": "smexec.core.transform",
    "adeploy": "smexec.deployment",
    "deploy": "smexec.deployment",
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
