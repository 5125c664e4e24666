"""What ``smexec demo`` computes: support vector machines on scikit-learn's digits, one job per combination.

A parameter grid is the commonest fan-out there is. Each combination of C and gamma is one call, and each
call trains and scores a classifier by cross-validation on the 1,797 digits that come with scikit-learn.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from smexec.executor import SageMakerExecutor

CS = (0.1, 1.0, 10.0, 100.0)
GAMMAS = (0.00001, 0.0001, 0.001, 0.003, 0.01)
FOLDS = 4
DARK = 0.6  # accuracies below have a colour that wants white letters


class Combination(NamedTuple):
    """One point of the grid."""

    C: float
    """How much a misclassified digit costs; the inverse of regularisation."""
    gamma: float
    """Inverse width of the radial kernel, for pixels of 0–16."""


class Score(NamedTuple):
    """How well a combination did."""

    combination: Combination
    accuracy: float
    """Mean over the folds, 0–1."""


def grid(cs: Iterable[float] = CS, gammas: Iterable[float] = GAMMAS) -> list[Combination]:
    """All combinations, C by C."""
    return [Combination(*point) for point in itertools.product(cs, gammas)]


def cross_validate(combination: Combination) -> float:
    """Accuracy of a support vector machine on the digits. This is the call: it runs in the job."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import cross_val_score
    from sklearn.svm import SVC

    pixels, digits = load_digits(return_X_y=True)
    classifier = SVC(C=combination.C, gamma=combination.gamma)
    return float(cross_val_score(classifier, pixels, digits, cv=FOLDS).mean())


def search(executor: SageMakerExecutor, combinations: Sequence[Combination]) -> Iterator[Score]:
    """Score every combination as a Training Job; yields in the grid's order, each as soon as it is there."""
    accuracies = executor.map(cross_validate, combinations, chunksize=1)  # a job each, to be watched
    for combination, accuracy in zip(combinations, accuracies, strict=True):
        yield Score(combination, accuracy)


def ranked(scores: Iterable[Score]) -> list[Score]:
    """Best first; of equals the simpler model, which is the one of smaller C, then of smaller gamma."""
    return sorted(scores, key=lambda score: (-score.accuracy, score.combination))


def draw_heat_map(scores: Sequence[Score], path: Path) -> None:
    """Write the grid as a picture, C down, gamma across, a cell's colour its accuracy."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    FigureCanvasAgg(figure)  # a canvas that needs no screen
    axes = figure.subplots()
    accuracy = {score.combination: score.accuracy for score in scores}
    cs, gammas = (sorted(set(values)) for values in zip(*accuracy, strict=True))
    rows = [[accuracy[Combination(c, gamma)] for gamma in gammas] for c in cs]
    picture = axes.imshow(rows, cmap="viridis", vmin=0, vmax=1, aspect="auto")
    _label(axes, cs, gammas, rows)
    axes.set_title(f"SVM on handwritten digits: {len(scores)} Training Jobs, one picture", loc="left")
    figure.colorbar(picture, ax=axes, label=f"accuracy, mean of {FOLDS} folds")
    figure.savefig(path, dpi=150)


def _label(axes: Axes, cs: Sequence[float], gammas: Sequence[float], rows: Sequence[Sequence[float]]) -> None:
    axes.set_xticks(range(len(gammas)), [f"{gamma:g}" for gamma in gammas])
    axes.set_yticks(range(len(cs)), [f"{c:g}" for c in cs])
    axes.set_xlabel("gamma")
    axes.set_ylabel("C")
    best = max(itertools.chain.from_iterable(rows))
    for (row, values), column in itertools.product(enumerate(rows), range(len(gammas))):
        value = values[column]
        axes.text(
            column,
            row,
            f"{value:.3f}",
            ha="center",
            va="center",
            color="white" if value < DARK else "black",
            weight="bold" if value == best else "normal",
        )
