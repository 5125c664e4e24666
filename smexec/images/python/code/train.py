"""An example, to be changed: predicts the last column of CSV files from the others, by gradient descent.

It goes in rounds, so that a job that is stopped in the middle has a model all the same.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
from pathlib import Path


def main() -> None:
    """Train, and write the model."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--rate", type=float, default=0.1)
    given, _ = parser.parse_known_args()
    if given.rounds < 1:
        raise ValueError(f"rounds must be at least 1, not {given.rounds}")
    x, y = read_rows(Path(os.environ["SM_CHANNEL_TRAIN"]))
    weights = [0.0] * len(x[0])
    done = 0
    try:
        while done < given.rounds:
            rmse = descend(weights, x, y, given.rate)
            done += 1
            if not done & (done - 1):  # 1, 2, 4, 8
                print(f"round {done}: rmse={rmse:.4f}", flush=True)
    except KeyboardInterrupt:  # stopping a job is what Ctrl-C is at home
        print("stopped after round", done)
    model = {"intercept": weights[0], "weights": weights[1:], "rounds": done}
    Path(os.environ["SM_MODEL_DIR"], "model.json").write_text(json.dumps(model), encoding="utf-8")


def read_rows(directory: Path) -> tuple[list[list[float]], list[float]]:
    """All but the last column, with a 1 before them for the intercept; and the last."""
    rows = []
    for path in sorted(directory.iterdir()):
        with path.open(newline="", encoding="utf-8") as file:
            rows += [[float(cell) for cell in row] for row in list(csv.reader(file))[1:]]
    return [[1.0, *row[:-1]] for row in rows], [row[-1] for row in rows]


def descend(weights: list[float], x: list[list[float]], y: list[float], rate: float) -> float:
    """One round, in which the weights change where they are; the error before it."""
    errors = [sum(w * cell for w, cell in zip(weights, row)) - target for row, target in zip(x, y)]
    for column in range(len(weights)):
        slope = sum(error * row[column] for error, row in zip(errors, x)) / len(y)
        weights[column] -= rate * slope
    return math.sqrt(sum(error**2 for error in errors) / len(y))


if __name__ == "__main__":
    main()
