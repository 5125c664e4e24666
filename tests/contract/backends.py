"""The backend for joblib's suite, which gives it no settings."""

from __future__ import annotations

from typing import Any

from joblib.parallel import register_parallel_backend

from smexec.joblib import SageMakerBackend


class LocalBackend(SageMakerBackend):
    """Jobs on the local service."""

    def __init__(self, nesting_level: Any = None, inner_max_num_threads: Any = None, **settings: Any) -> None:
        super().__init__(nesting_level, inner_max_num_threads, instance_type="local", **settings)


register_parallel_backend("sagemaker", LocalBackend)
