"""Figures, drawn with matplotlib's object interface: no window, no global state."""

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from winnrobust.evaluation import Examples
from winnrobust.files import replacing
from winnrobust.reporting.runs import RunRecord

if TYPE_CHECKING:
    from winnrobust.reporting.results import Results

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's palette, readable for the colour-blind; the reference model gets the first."""

RIGHT, WRONG = "#222222", "#c1121f"

CURVES = (
    ("valid_error", "validation error", True),
    ("adversarial_train_error", "adversarial train error", True),
    ("cross_entropy", "cross-entropy (training)", True),
    ("wasserstein", "Wasserstein estimate", False),
    ("gradient_norm", "gradient norm of the critic", False),
    ("synthesis_steps", "synthesis steps (mean)", False),
)
"""Metric, its name on the axis, and whether the axis is logarithmic."""


def to_png(figure: Figure) -> bytes:
    """Render a figure; the same figure gives the same bytes."""
    numbers = {label for axes in figure.axes for label in _tick_labels(axes)}
    for text in figure.findobj(Text):
        if text not in numbers:
            text.set_parse_math(False)  # a model may be called after a path with dollar signs
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # drawn as boxes; tables have them
        figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
    return buffer.getvalue()


def _tick_labels(axes: Axes) -> list[Text]:
    return [*axes.get_xticklabels(which="both"), *axes.get_yticklabels(which="both")]


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, all or nothing."""
    with replacing(path) as temporary:
        temporary.write_bytes(to_png(figure))


def training_figure(runs: Sequence[RunRecord], path: Path) -> None:
    """Draw the training curves of some runs and write them as PNG."""
    save_figure(training_curves(runs), path)


def training_curves(runs: Sequence[RunRecord]) -> Figure:
    """One panel per metric that any of the runs has, over epochs; the best epoch is marked."""
    panels = [curve for curve in CURVES if any(curve[0] in row for r in runs for row in r.metrics)]
    columns = min(3, max(1, len(panels)))
    lines = max(1, -(-len(panels) // columns))
    figure = Figure(figsize=(4.2 * columns, 3.1 * lines), layout="constrained")
    for index, (metric, label, logarithmic) in enumerate(panels):
        axes = figure.add_subplot(lines, columns, index + 1)
        for run, colour in zip(runs, _cycle(len(runs)), strict=True):
            points = [(row["epoch"], row[metric]) for row in run.metrics if metric in row]
            if points:
                epochs, values = zip(*points, strict=True)
                style = "o-" if len(points) < 3 else "-"
                axes.plot(epochs, values, style, color=colour, label=run.name, linewidth=1.6)
            best = run.manifest.get("best", {}).get("epoch")
            if metric == "valid_error" and best in dict(points):
                axes.plot(best, dict(points)[best], "D", color=colour, markersize=6)
        if logarithmic and all(np.min(line.get_ydata()) > 0 for line in axes.lines):
            axes.set_yscale("log")
            if metric.endswith("_error"):
                axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
                axes.yaxis.set_minor_locator(NullLocator())
        if metric.endswith("_error"):
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_title(label, fontsize=10)
        _tidy(axes)
        axes.legend(frameon=False, fontsize=8)
    return figure


def error_figure(results: "Results", names: Sequence[str]) -> Figure:
    """Bars of the error without attack and under each attack, with 95 % intervals."""
    groups: list[tuple[str, tuple[str, float] | None]] = [("no attack", None)]
    cases = results.table[["attack", "epsilon"]].drop_duplicates().itertuples(index=False)
    groups += [(f"{attack}\nε = {epsilon:g}", (attack, epsilon)) for attack, epsilon in cases]
    figure = Figure(figsize=(max(4.5, 1.6 + 1.7 * len(groups)), 3.4), layout="constrained")
    axes = figure.add_subplot()
    width = 0.8 / len(names)
    table = results.table[results.table.source == results.table.target]
    for index, (name, colour) in enumerate(zip(names, _cycle(len(names)), strict=True)):
        values = []
        for _, case in groups:
            if case is None:
                model = next(model for model in results.models if model["name"] == name)
                keys = ("clean_error", "clean_error_low", "clean_error_high")
                values.append([model[key] for key in keys])
            else:
                found = table[
                    (table.attack == case[0]) & (table.epsilon == case[1]) & (table.source == name)
                ].iloc[0]
                keys = ("adversarial_error", "adversarial_error_low", "adversarial_error_high")
                values.append([found[key] for key in keys])
        middle, low, high = 100 * np.array(values, float).T
        places = np.arange(len(groups)) + (index - (len(names) - 1) / 2) * width
        axes.bar(places, middle, width * 0.92, color=colour, label=name)
        axes.errorbar(
            places, middle, [middle - low, high - middle], fmt="none", ecolor="#333333", capsize=3
        )
        for place, value, top in zip(places, middle, high, strict=True):
            axes.annotate(
                f"{value:.1f}", (place, top), (0, 3), textcoords="offset points", ha="center",
                fontsize=8,
            )  # fmt: skip
    axes.set_xticks(range(len(groups)), [label for label, _ in groups])
    axes.set_ylabel("error, % of all images")
    axes.margins(y=0.12)
    axes.set_ylim(bottom=0)
    _tidy(axes)
    axes.legend(frameon=False, fontsize=9)
    return figure


def examples_figure(examples: Examples, epsilon: float | None = None) -> Figure:
    """Show clean images, and for every attacked model the perturbation and what came of it.

    Under each picture stands what every model sees in it, wrong answers in red. One attack and one
    epsilon are shown: the first attack, at `epsilon` or else the largest.
    """
    attack = str(examples.case_attacks[0])
    if epsilon is None:
        epsilon = float(examples.case_epsilons.max())
    shown = [
        index
        for index, case in enumerate(
            zip(examples.case_attacks, examples.case_epsilons, strict=True)
        )
        if case == (attack, epsilon)
    ]
    count = len(examples.images)
    lines = 1 + 2 * len(shown)
    figure = Figure(
        figsize=(1.15 * max(count, 1) + 1.5, (1.18 + 0.13 * len(examples.models)) * lines),
        layout="constrained",
    )
    grid = figure.subplots(lines, max(count, 1), squeeze=False)
    models = [str(name) for name in examples.models]

    def picture(axes: Axes, image: np.ndarray, predictions: np.ndarray | None, label: int) -> None:
        axes.imshow(_displayable(image), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        if predictions is not None:
            for position, (name, seen) in enumerate(zip(models, predictions, strict=True)):
                axes.text(
                    0.5, -0.06 - 0.17 * position, f"{_short(name)}: {seen}", ha="center", va="top",
                    transform=axes.transAxes, fontsize=7,
                    color=RIGHT if seen == label else WRONG,
                    fontweight="normal" if seen == label else "bold",
                )  # fmt: skip

    for axes in grid.flat:
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_color("#bbbbbb")
    for column in range(count):
        label = int(examples.labels[column])
        grid[0, column].set_title(f"label {label}", fontsize=8)
        picture(
            grid[0, column], examples.images[column], examples.clean_predictions[:, column], label
        )
        for position, case in enumerate(shown):
            adversarial = examples.adversarials[case, column]
            difference = adversarial - examples.images[column]
            axes = grid[1 + 2 * position, column]
            axes.imshow(
                difference.mean(0), cmap="RdBu_r", vmin=-epsilon or -1, vmax=epsilon or 1,
                interpolation="nearest",
            )  # fmt: skip
            seen = examples.predictions[case][:, column]
            picture(grid[2 + 2 * position, column], adversarial, seen, label)
    grid[0, 0].set_ylabel("clean", fontsize=8)
    for position, case in enumerate(shown):
        source = _short(str(examples.case_sources[case]))
        grid[1 + 2 * position, 0].set_ylabel(f"perturbation\nagainst {source}", fontsize=8)
        grid[2 + 2 * position, 0].set_ylabel(f"attacked\n{source}", fontsize=8)
    figure.suptitle(
        f"{attack}, ε = {epsilon:g}: the first {count} images; wrong answers in red",
        fontsize=9,
    )
    return figure


def _displayable(image: np.ndarray) -> np.ndarray:
    """(C, H, W) -> (H, W) for one channel, (H, W, C) for three."""
    return image[0] if len(image) == 1 else image.transpose(1, 2, 0)


def _short(name: str) -> str:
    return name if len(name) <= 16 else name[:7] + "..." + name[-6:]


def _cycle(count: int) -> list[str]:
    return [COLOURS[index % len(COLOURS)] for index in range(count)]


def _tidy(axes: Axes) -> None:
    axes.grid(axis="y", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
