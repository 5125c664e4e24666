"""An example, to be changed: serves the model of train.py.

``[[0.5, 1.2], [0.4, 1.1]]``, or the same as CSV, is answered with ``{"output": [9.3, 8.1]}``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def model_fn(model_dir: str) -> Any:
    """Read the model."""
    return json.loads(Path(model_dir, "model.json").read_text(encoding="utf-8"))


def predict_fn(data: list[list[float]], model: Any) -> dict[str, list[float]]:
    """A number for each row."""
    return {"output": [predicted(row, model) for row in data]}


def predicted(row: list[float], model: Any) -> float:
    """For one of them."""
    if len(row) != len(model["weights"]):
        raise ValueError(f"rows must have {len(model['weights'])} columns")
    return float(model["intercept"] + sum(w * cell for w, cell in zip(model["weights"], row)))
