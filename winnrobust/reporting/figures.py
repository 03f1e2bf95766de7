"""Figures, drawn with matplotlib's object interface: no window, no global state."""

import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from winnrobust.evaluation.examples import Examples
from winnrobust.evaluation.outcomes import CLEAN, CORRUPTIONS, Case, norm_text
from winnrobust.reporting.page import DPI
from winnrobust.reporting.results import Results, worst_case
from winnrobust.reporting.runs import RunRecord
from winnrobust.reporting.table import shortened
from winnrobust.reporting.verdict import Verdict
from winnrobust.reporting.words import WORDS
from winnrobust.runtime.files import replacing

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8a6d00")
"""Okabe and Ito's palette, readable for the color-blind; the reference model gets the first."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "h")
"""So that nobody depends on colors; they come round at another number than the colors do."""

WIDTH = 5.6
"""Inches: two figures stand side by side on a page."""

COLUMNS = 3
MANY = 8
"""So many models are drawn closer together, and without bands."""
LONGEST = 26
"""Longer names are shortened in figures."""

RIGHT, WRONG = "#222222", "#c1121f"

MODELS_SHOWN = 4
"""How many models fit on a figure."""


def to_png(figure: Figure) -> bytes:
    """Render a figure; the same figure gives the same bytes."""
    axes = (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis))
    numbers = {label for axis in axes for label in axis.get_ticklabels(which="both")}
    for text in figure.findobj(Text):
        if text not in numbers:
            text.set_parse_math(False)  # a model may be called after a path with dollar signs
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # drawn as boxes; tables have them
        figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, all or nothing."""
    with replacing(path) as temporary:
        temporary.write_bytes(to_png(figure))


def figures_of(results: Results) -> dict[str, Figure]:
    """Draw everything that an evaluation has: accuracy, curves, distances and examples."""
    figures = {}
    if results.tried and not results.counts_only:
        figures["accuracy"] = accuracy_figure(results)
        if len({level.norm for level in results.tried}) < len(results.tried):
            figures["curves"] = curve_figure(results)
    if results.corruptions:
        figures["corruptions"] = corruption_figure(results)
    if results.summary.distances:
        figures["distances"] = distance_figure(results)
    if results.examples is not None and len(results.examples.images):
        case = results.strongest(results.cases or results.corruptions)
        figures["examples"] = examples_figure(results.examples, case)
    return figures


# --- of an evaluation -----------------------------------------------------------------------------


def accuracy_figure(results: Results) -> Figure:
    """Accuracy of every model, a row each, without an attack and robust at every epsilon.

    They are in the order of the headline's table.
    """
    cases = {"no attack": CLEAN} | {f"robust, {x}": worst_case(x) for x in results.tried}
    names = [name for group in Verdict(results).ranked for name in results.groups[group]]
    step = 0.6 / len(cases)
    height = 1.2 + len(names) * (0.6 if len(names) < MANY else 0.35) + _legend_height(len(cases))
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.add_subplot()
    for index, (label, case) in enumerate(cases.items()):
        errors = [results.errors[case, name][:3] for name in names]
        middle, low, high = 100 * (1 - np.array(errors).T)
        axes.errorbar(
            middle, np.arange(len(names)) + (index - (len(cases) - 1) / 2) * step,
            xerr=[middle - high, low - middle], fmt=MARKERS[index % len(MARKERS)], capsize=2,
            color=cycle(len(cases))[index], markersize=5, linewidth=1.2, label=label,
        )  # fmt: skip
    # A dollar sign would begin a formula.
    labels = [shortened(name, LONGEST).replace("$", r"\$") for name in names]
    axes.set_yticks(range(len(names)), labels)
    axes.set(xlim=(-3, 103), ylim=(len(names) - 0.5, -0.5), xlabel="accuracy, % of all images")
    tidy(axes, "x")
    axes.tick_params(axis="y", length=0)
    _legend(figure)
    return figure


class Line(NamedTuple):
    """What is drawn of a model in a panel: a line, a band around it, and a mark on it."""

    x: Sequence[float]
    y: Any
    low: Any = ()
    high: Any = ()
    mark: tuple[float, float] = (np.nan, np.nan)


def curve_figure(results: Results) -> Figure:
    """Robust error over epsilon, one panel per norm; the curve of a model never falls."""
    panels: dict[str, dict[str, Line]] = {}
    for norm in dict.fromkeys(level.norm for level in results.tried):
        levels = [level for level in results.tried if level.norm == norm]
        for name in results.names if len(levels) > 1 else ():
            errors = [results.errors[case, name] for case in (CLEAN, *map(worst_case, levels))]
            middle, low, high = 100 * np.array([error[:3] for error in errors], float).T
            line = Line([0, *(level.epsilon for level in levels)], middle, low, high)
            panels.setdefault(norm_text(norm), {})[name] = line
    return _lines(panels, results.names, "ε", "robust error, %", marker=True)


def corruption_figure(results: Results) -> Figure:
    """Show the error by corruption and severity as a heat map, one for each model."""
    corruptions = list(dict.fromkeys(case.attack for case in results.corruptions))
    severities = sorted({case.epsilon for case in results.corruptions})
    shown = results.names[:MODELS_SHOWN]
    figure = Figure(figsize=(1.8 + 2.1 * len(shown), 4.6), layout="constrained")
    grid = figure.subplots(1, len(shown), squeeze=False, sharey=True)[0]
    for axes, name in zip(grid, shown, strict=True):
        errors = [
            [100 * results.errors[Case(corruption, CORRUPTIONS, x), name].value for x in severities]
            for corruption in corruptions
        ]
        axes.imshow(errors, cmap="Reds", vmin=0, vmax=100, aspect="auto")
        for (line, column), error in np.ndenumerate(np.array(errors)):
            color = "white" if error > 60 else "black"
            axes.text(
                column, line, f"{error:.0f}", ha="center", va="center", fontsize=7, color=color
            )
        axes.set_xticks(range(len(severities)), [f"{severity:g}" for severity in severities])
        axes.set_yticks(range(len(corruptions)), corruptions, fontsize=8)
        axes.set_title(shortened(name, LONGEST), fontsize=9)
        axes.set_xlabel("severity")
        axes.tick_params(length=0)
    return figure


def distance_figure(results: Results) -> Figure:
    """How far the nearest adversarial examples are: cumulative, with the medians marked."""
    panels: dict[str, dict[str, Line]] = {}
    for (attack, norm, name), distances in results.summary.distances.items():
        found = np.sort(distances[np.isfinite(distances)])
        shares = 100 * np.arange(len(found) + 1) / len(distances)
        median = float(np.quantile(distances, 0.5, method="inverted_cdf"))
        line = Line([0, *found], shares, mark=(median, 50))
        panels.setdefault(f"{attack}, {norm_text(norm)}", {})[name] = line
    labels = "distance, in the norm", "images broken within it, %"
    return _lines(panels, results.names, *labels, drawstyle="steps-post")


def _lines(
    panels: Mapping[str, Mapping[str, Line]], names: Sequence[str], x_label: str, y_label: str,
    marker: bool = False, **style: Any,
) -> Figure:  # fmt: skip
    """Draw a panel for each title, and in it the line of every model, always in the same look."""
    columns = min(COLUMNS, len(panels))
    height = 2.9 * -(-len(panels) // columns) + _legend_height(len(names))
    figure = Figure(figsize=(max(4.0 * columns, WIDTH), height), layout="constrained")
    for number, (title, lines) in enumerate(panels.items()):
        axes = figure.add_subplot(-(-len(panels) // columns), columns, number + 1)
        for index, (name, color) in enumerate(zip(names, cycle(len(names)), strict=True)):
            look, line = MARKERS[index % len(MARKERS)], lines.get(name, Line([], []))
            axes.plot(
                line.x, line.y, color=color, marker=look if marker else "", markersize=4,
                linewidth=1.5, label=shortened(name, LONGEST), **style,
            )  # fmt: skip
            axes.plot(*line.mark, look, color=color, markersize=7, markeredgecolor="white")
            if len(line.low) and len(names) < MANY:
                axes.fill_between(line.x, line.low, line.high, color=color, alpha=0.15, linewidth=0)
        axes.set_title(title, fontsize=10)
        axes.set(xlabel=x_label, ylabel=y_label, ylim=(-3, 103))
        tidy(axes)
    _legend(figure)
    return figure


def _legend_height(entries: int) -> float:
    return 0.25 + 0.2 * -(-entries // COLUMNS)


def _legend(figure: Figure) -> None:
    handles, labels = figure.axes[0].get_legend_handles_labels()
    look = {"frameon": False, "fontsize": 9}
    figure.legend(handles, labels, loc="outside upper center", ncols=COLUMNS, **look)


# --- of examples ----------------------------------------------------------------------------------


def examples_figure(examples: Examples, strongest: Case) -> Figure:
    """Show clean images, and for every attacked model the perturbation and what came of it.

    Under each picture stands what every model that was asked sees in it, wrong answers in red. The
    attack is shown at the largest epsilon of its norm.
    """
    case = max(case for case, _ in examples.cases if case[:2] == strongest[:2])
    models = [str(name) for name in examples.models][:MODELS_SHOWN]
    shown = [examples.case(case, source) for source in models]
    # Of an L2 attack epsilon bounds the length of the whole change, so scale by what is there.
    changes = [examples.adversarials[place] - examples.images for place in shown]
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
        for line, (place, change) in enumerate(zip(shown, changes, strict=True)):
            difference, adversarial = grid[1 + 2 * line : 3 + 2 * line, column]
            difference.imshow(
                change[column].mean(0), cmap="RdBu_r", vmin=-largest, vmax=largest,
                interpolation="nearest",
            )  # fmt: skip
            _draw(adversarial, examples.adversarials[place, column])
            _name(adversarial, models, examples.predictions[place][:, column], label)
    rows = ["clean", *(f"{what}\n{shortened(name, 16)}" for name in models
                       for what in ("perturbation\nagainst", "attacked"))]  # fmt: skip
    for axes, row in zip(grid[:, 0], rows, strict=True):
        axes.set_ylabel(row, fontsize=8)
    hidden = len(examples.models) - len(models)
    more = f"; {hidden} more models are not shown" if hidden else ""
    title = f"{case.attack}, {case.level}: the first {count} images; wrong answers in red{more}"
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


# --- of training ----------------------------------------------------------------------------------


def training_figure(runs: Sequence[RunRecord], path: Path) -> None:
    """Draw the training curves of some runs and write them as PNG."""
    save_figure(training_curves(runs), path)


def training_curves(runs: Sequence[RunRecord]) -> Figure:
    """One panel per metric that any of the runs has, over epochs; the best epoch is marked."""
    known = {metric for run in runs for row in run.metrics for metric in row}
    panels = {metric: label for metric, label in WORDS["curve"].items() if metric in known}
    columns = min(COLUMNS, max(1, len(panels)))
    lines = max(1, -(-len(panels) // columns))
    figure = Figure(figsize=(4.2 * columns, 3.1 * lines), layout="constrained")
    for index, (metric, label) in enumerate(panels.items()):
        axes = figure.add_subplot(lines, columns, index + 1)
        for run, color in zip(runs, cycle(len(runs)), strict=True):
            points = {row["epoch"]: row[metric] for row in run.metrics if metric in row}
            style = "o-" if len(points) < 3 else "-"
            if points:
                axes.plot([*points], [*points.values()], style, color=color, label=run.name)
            best = run.manifest.get("best", {}).get("epoch")
            if metric == "valid_error" and best in points:
                axes.plot(best, points[best], "D", color=color, markersize=6)
        if metric.endswith(("error", "loss", "entropy")):
            _log_axis(axes, percent=metric.endswith("_error"))
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_title(label, fontsize=10)
        tidy(axes)
        axes.legend(frameon=False, fontsize=8)
    return figure


def _log_axis(axes: Axes, percent: bool) -> None:
    """Make the axis logarithmic, unless something is 0; of errors in percent."""
    if all(np.min(line.get_ydata()) > 0 for line in axes.lines):
        axes.set_yscale("log")
        if percent:
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
            axes.yaxis.set_minor_locator(NullLocator())
    if percent:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))


def cycle(count: int) -> list[str]:
    """As many colors."""
    return [COLORS[index % len(COLORS)] for index in range(count)]


def tidy(axes: Axes, grid: Literal["x", "y"] = "y") -> None:
    """Take away what carries no information."""
    axes.grid(axis=grid, color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
