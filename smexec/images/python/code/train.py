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
    model = Model([0.0] * len(x[0]))
    # The loop is in a function of its own: in Python 3.13 an interrupt that falls on a loop's jump back gets
    # past a try around it.
    try:
        model.fit(x, y, given.rounds, given.rate)
    except KeyboardInterrupt:  # stopping a job is what Ctrl-C is at home
        print("stopped after round", model.rounds)
    Path(os.environ["SM_MODEL_DIR"], "model.json").write_text(json.dumps(model.told()), encoding="utf-8")


class Model:
    """Weights of columns, the first of which is that of the intercept."""

    def __init__(self, weights: list[float]) -> None:
        self.weights = weights
        self.rounds = 0

    def fit(self, x: list[list[float]], y: list[float], rounds: int, rate: float) -> None:
        """Go so many rounds, in each of which the weights change where they are."""
        while self.rounds < rounds:
            rmse = self.descend(x, y, rate)
            self.rounds += 1
            if not self.rounds & (self.rounds - 1):  # 1, 2, 4, 8
                print(f"round {self.rounds}: rmse={rmse:.4f}", flush=True)

    def descend(self, x: list[list[float]], y: list[float], rate: float) -> float:
        """One round; the error before it."""
        errors = [sum(w * cell for w, cell in zip(self.weights, row)) - target for row, target in zip(x, y)]
        for column in range(len(self.weights)):
            slope = sum(error * row[column] for error, row in zip(errors, x)) / len(y)
            self.weights[column] -= rate * slope
        return math.sqrt(sum(error**2 for error in errors) / len(y))

    def told(self) -> dict[str, object]:
        """As JSON has it."""
        return {"intercept": self.weights[0], "weights": self.weights[1:], "rounds": self.rounds}


def read_rows(directory: Path) -> tuple[list[list[float]], list[float]]:
    """All but the last column, with a 1 before them for the intercept; and the last."""
    rows = []
    for path in sorted(directory.iterdir()):
        with path.open(newline="", encoding="utf-8") as file:
            rows += [[float(cell) for cell in row] for row in list(csv.reader(file))[1:]]
    return [[1.0, *row[:-1]] for row in rows], [row[-1] for row in rows]


if __name__ == "__main__":
    main()
