"""Adversarial examples as pictures."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from winnrobust.evaluation import Examples
from winnrobust.reporting.table import shortened

RIGHT, WRONG = "#222222", "#c1121f"

MODELS_SHOWN = 4
"""How many models fit on a figure."""


def examples_figure(examples: Examples, attack: str | None = None) -> Figure:
    """Show clean images, and for every attacked model the perturbation and what came of it.

    Under each picture stands what every model sees in it, wrong answers in red. One attack is
    shown, the first if none is named, at its largest epsilon.
    """
    attack = attack or str(examples.case_attacks[0])
    epsilon = float(examples.case_epsilons[examples.case_attacks == attack].max())
    models = [str(name) for name in examples.models][:MODELS_SHOWN]
    shown = [examples.case(attack, epsilon, source) for source in models]
    count = len(examples.images)
    lines = 1 + 2 * len(shown)
    figure = Figure(
        figsize=(1.15 * max(count, 1) + 1.5, (1.18 + 0.13 * len(models)) * lines),
        layout="constrained",
    )
    grid = figure.subplots(lines, max(count, 1), squeeze=False)

    def picture(axes: Axes, image: np.ndarray, predictions: np.ndarray, label: int) -> None:
        axes.imshow(_displayable(image), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        for position, (name, seen) in enumerate(
            zip(models, predictions[: len(models)], strict=True)
        ):
            axes.text(
                0.5, -0.06 - 0.17 * position, f"{shortened(name, 16)}: {seen}", ha="center",
                va="top", transform=axes.transAxes, fontsize=7,
                color=RIGHT if seen == label else WRONG,
                fontweight="normal" if seen == label else "bold",
            )  # fmt: skip

    for axes in grid.flat:
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_color("#bbbbbb")
    # Of an L2 attack epsilon bounds the length of the whole change, so scale by what is there.
    changes = [examples.adversarials[case] - examples.images for case in shown]
    largest = max((float(np.abs(change).max()) for change in changes if change.size), default=0.0)
    for column in range(count):
        label = int(examples.labels[column])
        grid[0, column].set_title(f"label {label}", fontsize=8)
        picture(
            grid[0, column], examples.images[column], examples.clean_predictions[:, column], label
        )
        for position, (case, change) in enumerate(zip(shown, changes, strict=True)):
            grid[1 + 2 * position, column].imshow(
                change[column].mean(0), cmap="RdBu_r", vmin=-largest or -1, vmax=largest or 1,
                interpolation="nearest",
            )  # fmt: skip
            adversarial = examples.adversarials[case, column]
            seen = examples.predictions[case][:, column]
            picture(grid[2 + 2 * position, column], adversarial, seen, label)
    grid[0, 0].set_ylabel("clean", fontsize=8)
    for position, source in enumerate(models):
        name = shortened(source, 16)
        grid[1 + 2 * position, 0].set_ylabel(f"perturbation\nagainst {name}", fontsize=8)
        grid[2 + 2 * position, 0].set_ylabel(f"attacked\n{name}", fontsize=8)
    left_out = len(examples.models) - len(models)
    figure.suptitle(
        f"{attack}, ε = {epsilon:g}: the first {count} images; wrong answers in red"
        + (f"; {left_out} more models are not shown" if left_out else ""),
        fontsize=9,
    )
    return figure


def _displayable(image: np.ndarray) -> np.ndarray:
    """(C, H, W) -> (H, W, C) for three channels, (H, W), their mean, for any other number."""
    return image.transpose(1, 2, 0) if len(image) == 3 else image.mean(0)
