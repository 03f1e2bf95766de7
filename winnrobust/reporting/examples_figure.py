"""Adversarial examples as pictures."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from winnrobust.evaluation.examples import Examples
from winnrobust.reporting.table import shortened

RIGHT, WRONG = "#222222", "#c1121f"

MODELS_SHOWN = 4
"""How many models fit on a figure."""


def examples_figure(examples: Examples, attack: str) -> Figure:
    """Show clean images, and for every attacked model the perturbation and what came of it.

    Under each picture stands what every model that was asked sees in it, wrong answers in red. The
    attack is shown at its largest epsilon.
    """
    epsilon = float(examples.case_epsilons[examples.case_attacks == attack].max())
    models = [str(name) for name in examples.models][:MODELS_SHOWN]
    shown = [examples.case(attack, epsilon, source) for source in models]
    # Of an L2 attack epsilon bounds the length of the whole change, so scale by what is there.
    changes = [examples.adversarials[case] - examples.images for case in shown]
    largest = max((float(np.abs(change).max()) for change in changes), default=0.0) or 1.0
    count, lines = len(examples.images), 1 + 2 * len(models)
    size = 1.15 * count + 1.5, (1.18 + 0.13 * len(models)) * lines
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(lines, count, squeeze=False)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_color("#bbbbbb")
    for column, label in enumerate(examples.labels):
        grid[0, column].set_title(f"label {label}", fontsize=8)
        _draw(grid[0, column], examples.images[column])
        _name(grid[0, column], models, examples.clean_predictions[:, column], label)
        for line, (case, change) in enumerate(zip(shown, changes, strict=True)):
            difference, adversarial = grid[1 + 2 * line : 3 + 2 * line, column]
            difference.imshow(
                change[column].mean(0), cmap="RdBu_r", vmin=-largest, vmax=largest,
                interpolation="nearest",
            )  # fmt: skip
            _draw(adversarial, examples.adversarials[case, column])
            _name(adversarial, models, examples.predictions[case][:, column], label)
    rows = ["clean", *(f"{what}\n{shortened(name, 16)}" for name in models
                       for what in ("perturbation\nagainst", "attacked"))]  # fmt: skip
    for axes, row in zip(grid[:, 0], rows, strict=True):
        axes.set_ylabel(row, fontsize=8)
    others = len(examples.models) - len(models)
    more = f"; {others} more models are not shown" if others else ""
    title = f"{attack}, ε = {epsilon:g}: the first {count} images; wrong answers in red{more}"
    figure.suptitle(title, fontsize=9)
    return figure


def _draw(axes: Axes, image: np.ndarray) -> None:
    """Show an image (C, H, W): three channels as colors, any other number as gray, their mean."""
    pixels = image.transpose(1, 2, 0) if len(image) == 3 else image.mean(0)
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=1, interpolation="nearest")


def _name(axes: Axes, models: list[str], predictions: np.ndarray, label: int) -> None:
    """Write what the models see; they were not asked where it is below 0."""
    for line, (name, seen) in enumerate(zip(models, predictions, strict=False)):
        if seen >= 0:
            axes.text(
                0.5, -0.06 - 0.17 * line, f"{shortened(name, 16)}: {seen}", ha="center", va="top",
                transform=axes.transAxes, fontsize=7, color=RIGHT if seen == label else WRONG,
                fontweight="normal" if seen == label else "bold",
            )  # fmt: skip
