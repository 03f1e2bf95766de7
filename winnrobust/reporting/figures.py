"""Figures, drawn with matplotlib's object interface: no window, no global state."""

import io
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from winnrobust.reporting.runs import RunRecord
from winnrobust.runtime.files import replacing

DPI = 150

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8a6d00")
"""Okabe and Ito's palette, readable for the colour-blind; the reference model gets the first."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "h")
"""So that nobody depends on colours; they come round at another number than the colours do."""

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
        for run, colour in zip(runs, cycle(len(runs)), strict=True):
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
        tidy(axes)
        axes.legend(frameon=False, fontsize=8)
    return figure


def cycle(count: int) -> list[str]:
    """As many colours."""
    return [COLOURS[index % len(COLOURS)] for index in range(count)]


def markers(count: int) -> list[str]:
    """As many markers."""
    return [MARKERS[index % len(MARKERS)] for index in range(count)]


def tidy(axes: Axes) -> None:
    """Take away what says nothing."""
    axes.grid(axis="y", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
