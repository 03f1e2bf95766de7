"""Figures, drawn with matplotlib's object interface: no window, no global state."""

import io
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from winnrobust.reporting.examples_figure import examples_figure
from winnrobust.reporting.page import DPI
from winnrobust.reporting.results import CLEAN, Case, Results, worst_case
from winnrobust.reporting.runs import RunRecord
from winnrobust.reporting.table import shortened
from winnrobust.runtime.files import replacing

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8a6d00")
"""Okabe and Ito's palette, readable for the color-blind; the reference model gets the first."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "h")
"""So that nobody depends on colors; they come round at another number than the colors do."""

COLUMNS = 3
LONGEST = 26
"""Longer names are shortened in figures."""

CURVES = (
    ("valid_error", "validation error", True),
    ("valid_critic", "critic on validation images (mean)", False),
    ("log_loss", "sigmoid cross-entropy (training)", True),
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
        figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def _tick_labels(axes: Axes) -> list[Text]:
    return [*axes.get_xticklabels(which="both"), *axes.get_yticklabels(which="both")]


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, all or nothing."""
    with replacing(path) as temporary:
        temporary.write_bytes(to_png(figure))


def figures_of(results: Results) -> dict[str, Figure]:
    """Draw everything that an evaluation has: accuracy, curves, distances and examples."""
    robust = results.tried and not results.counts_only
    figures = {"accuracy": accuracy_figure(results)} if robust else {}
    if robust and _curves(results):
        figures["curves"] = curve_figure(results)
    if results.summary.distances:
        figures["distances"] = distance_figure(results)
    if results.examples is not None and len(results.examples.images):
        attack = results.strongest(results.cases).attack
        figures["examples"] = examples_figure(results.examples, attack)
    return figures


# --- of an evaluation -----------------------------------------------------------------------------


def accuracy_figure(results: Results) -> Figure:
    """Accuracy of every model, a row each, without an attack and robust at every epsilon."""
    cases = [CLEAN, *(worst_case(level) for level in results.tried)]
    names, step = results.names, 0.6 / len(cases)
    height = 1.0 + len(names) * max(0.32, 0.13 * len(cases)) + _legend_height(len(cases))
    figure = Figure(figsize=(7.2, height), layout="constrained")
    axes = figure.add_subplot()
    for index, (case, color, marker) in enumerate(_looks(cases)):
        errors = [results.errors[case, name] for name in names]
        middle, low, high = 100 * (1 - np.array([error[:3] for error in errors]).T)
        axes.errorbar(
            middle, np.arange(len(names)) + (index - (len(cases) - 1) / 2) * step,
            xerr=[middle - high, low - middle], fmt=marker, color=color, markersize=5, capsize=2,
            linewidth=1.2, label="no attack" if case == CLEAN else f"robust, {case.level}",
        )  # fmt: skip
    # A dollar sign would begin a formula.
    labels = [shortened(name, LONGEST).replace("$", r"\$") for name in names]
    axes.set_yticks(range(len(names)), labels)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(-3, 103)
    axes.set_xlabel("accuracy, % of all images")
    tidy(axes, "x")
    axes.tick_params(axis="y", length=0)
    _legend(figure, axes)
    return figure


def curve_figure(results: Results) -> Figure:
    """Robust error over epsilon, one panel per norm; a curve of a model never falls."""
    curves = _curves(results)
    figure, grid = _panels(len(curves), len(results.names))
    for axes, (norm, cases) in zip(grid, curves.items(), strict=True):
        for name, color, marker in _looks(results.names):
            errors = [results.errors[case, name][:3] for case in (CLEAN, *cases)]
            middle, low, high = 100 * np.array(errors, float).T
            epsilons = [0.0, *(case.epsilon for case in cases)]
            axes.plot(
                epsilons, middle, marker=marker, color=color, markersize=4, linewidth=1.5,
                label=shortened(name, LONGEST),
            )  # fmt: skip
            axes.fill_between(epsilons, low, high, color=color, alpha=0.15, linewidth=0)
        axes.set_ylim(-3, 103)
        axes.set_title(norm.capitalize(), fontsize=10)
        axes.set_xlabel("ε")
        axes.set_ylabel("robust error, %")
        tidy(axes)
    _legend(figure, grid[0])
    return figure


def _curves(results: Results) -> dict[str, list[Case]]:
    """Norm -> its worst cases with growing epsilon, two or more."""
    curves: dict[str, list[Case]] = {}
    for level in sorted(results.tried):
        curves.setdefault(level.norm, []).append(worst_case(level))
    return {norm: cases for norm, cases in curves.items() if len(cases) > 1}


def distance_figure(results: Results) -> Figure:
    """How far the nearest adversarial examples are: cumulative, with the medians marked."""
    found = results.summary.distances
    attacks = list(dict.fromkeys(attack for attack, _ in found))
    figure, grid = _panels(len(attacks), len(results.names))
    for axes, attack in zip(grid, attacks, strict=True):
        farthest = 0.0
        for name, color, marker in _looks(results.names):
            if (attack, name) not in found:
                continue
            distances = np.sort(found[attack, name])
            finite = distances[np.isfinite(distances)]
            shares = 100 * np.arange(len(finite) + 1) / len(distances)
            axes.step([0, *finite], shares, where="post", color=color, linewidth=1.5,
                      label=shortened(name, LONGEST))  # fmt: skip
            median = np.quantile(distances, 0.5, method="inverted_cdf")
            if np.isfinite(median):
                axes.plot(median, 50, marker, color=color, markersize=7, markeredgecolor="white")
            if len(finite):
                farthest = max(farthest, float(np.quantile(finite, 0.995)))
        axes.axhline(50, color="#999999", linewidth=0.8, linestyle=":")
        axes.set_xlim(0, 1.05 * farthest or 1)
        axes.set_ylim(0, 103)
        axes.set_title(attack, fontsize=10)
        axes.set_xlabel("distance, in the attack's norm")
        axes.set_ylabel("images broken within it, %")
        tidy(axes)
    _legend(figure, grid[0])
    return figure


def _panels(count: int, entries: int) -> tuple[Figure, list[Axes]]:
    """Make a figure of so many panels, with room for so many entries of a legend."""
    columns = min(COLUMNS, count)
    lines = -(-count // columns)
    size = (max(4.0 * columns, 6.0), 2.9 * lines + _legend_height(entries))
    figure = Figure(figsize=size, layout="constrained")
    return figure, [figure.add_subplot(lines, columns, index + 1) for index in range(count)]


def _looks(items: Sequence[Any]) -> Iterator[tuple[Any, str, str]]:
    """Every one with its color and marker."""
    markers = [MARKERS[index % len(MARKERS)] for index in range(len(items))]
    return zip(items, cycle(len(items)), markers, strict=True)


def _legend_height(entries: int) -> float:
    return 0.25 + 0.2 * -(-entries // COLUMNS)


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper center", ncols=COLUMNS, frameon=False, fontsize=9
    )


# --- of training ----------------------------------------------------------------------------------


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
        for run, color in zip(runs, cycle(len(runs)), strict=True):
            points = {row["epoch"]: row[metric] for row in run.metrics if metric in row}
            style = "o-" if len(points) < 3 else "-"
            if points:
                axes.plot([*points], [*points.values()], style, color=color, label=run.name)
            best = run.manifest.get("best", {}).get("epoch")
            if metric == "valid_error" and best in points:
                axes.plot(best, points[best], "D", color=color, markersize=6)
        if logarithmic and all(np.min(line.get_ydata()) > 0 for line in axes.lines):
            axes.set_yscale("log")
        if metric.endswith("_error"):
            _percent_axis(axes)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_title(label, fontsize=10)
        tidy(axes)
        axes.legend(frameon=False, fontsize=8)
    return figure


def _percent_axis(axes: Axes) -> None:
    if axes.get_yscale() == "log":
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))


def cycle(count: int) -> list[str]:
    """As many colors."""
    return [COLORS[index % len(COLORS)] for index in range(count)]


def tidy(axes: Axes, grid: str = "y") -> None:
    """Take away what says nothing."""
    axes.grid(axis=grid, color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
