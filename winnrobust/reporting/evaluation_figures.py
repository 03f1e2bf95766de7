"""Figures of an evaluation: errors, robustness curves, distances."""

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from winnrobust.evaluation.metrics import WORST_CASE
from winnrobust.reporting.figures import cycle, markers, tidy
from winnrobust.reporting.results import CLEAN, Case, Level, Results
from winnrobust.reporting.table import shortened

COLUMNS = 3
LONGEST = 26
"""Longer names are shortened in figures."""


def error_figure(results: Results) -> Figure:
    """One panel per norm and epsilon: the errors under every attack, with 95 % intervals."""
    by_norm: dict[str, list[Level]] = {}
    for level in results.levels:
        by_norm.setdefault(level.norm, []).append(level)
    lines = [
        levels[start : start + COLUMNS]
        for levels in by_norm.values()
        for start in range(0, len(levels), COLUMNS)
    ]
    shown = {level: _shown(results, level) for level in results.levels}
    per_case = 0.2 + 0.1 * len(results.names)
    heights = [0.7 + per_case * len(shown[line[0]]) for line in lines]
    columns = max(map(len, lines))
    figure = Figure(
        figsize=(2.2 + 3.6 * max(columns, 1.4), sum(heights) + _legend_height(results)),
        layout="constrained",
    )
    grid = figure.subplots(len(lines), columns, squeeze=False, sharex=True, height_ratios=heights)
    for axes in grid.flat:
        axes.set_visible(False)
    for line, levels in enumerate(lines):
        for column, level in enumerate(levels):
            axes = grid[line, column]
            axes.set_visible(True)
            _draw_errors(axes, results, shown[level])
            axes.set_title(f"{level.norm}, ε = {level.epsilon:g}", fontsize=10)
            axes.xaxis.set_tick_params(labelbottom=True)
            if column:
                axes.set_yticklabels([])
    for axes in grid[-1]:
        axes.set_xlabel("error, % of all images")
    _legend(figure, grid[0, 0])
    return figure


def _shown(results: Results, level: Level) -> list[Case]:
    worst = Case(WORST_CASE, *level)
    cases = [CLEAN, *results.cases_at(level)]
    return (
        [*cases, worst] if (worst, results.names[0]) in results.rates and len(cases) > 2 else cases
    )


def _draw_errors(axes: Axes, results: Results, cases: Sequence[Case]) -> None:
    names = results.names
    step = 0.7 / len(names)
    for index, (name, colour, marker) in enumerate(_looks(names)):
        rates = [results.rates[case, name] for case in cases]
        middle, low, high = 100 * np.array(rates, float).T
        places = np.arange(len(cases)) + (index - (len(names) - 1) / 2) * step
        axes.errorbar(
            middle, places, xerr=[middle - low, high - middle], fmt=marker, color=colour,
            markersize=5, capsize=2, linewidth=1.2, label=shortened(name, LONGEST),
        )  # fmt: skip
    labels = ["no attack" if case == CLEAN else case.attack for case in cases]
    # A dollar sign would begin a formula.
    axes.set_yticks(range(len(cases)), [label.replace("$", r"\$") for label in labels])
    axes.set_ylim(len(cases) - 0.5, -0.5)
    axes.set_xlim(-3, 103)
    for place in range(1, len(cases)):
        axes.axhline(place - 0.5, color="#eeeeee", linewidth=0.8)
    tidy(axes)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color="#dddddd", linewidth=0.8)
    axes.tick_params(axis="y", length=0)


def has_curves(results: Results) -> bool:
    """Tell whether there are two epsilons of a norm, which make a curve."""
    return bool(_curves(results))


def curve_figure(results: Results) -> Figure:
    """Robustness curves: error over epsilon with 95 % bands, one panel per norm and attack."""
    curves = _curves(results)
    figure, grid = _panels(results, len(curves))
    for axes, ((norm, attack), cases) in zip(grid, curves.items(), strict=True):
        for name, colour, marker in _looks(results.names):
            rates = [results.rates[case, name] for case in (CLEAN, *cases)]
            middle, low, high = 100 * np.array(rates, float).T
            epsilons = [0.0, *(case.epsilon for case in cases)]
            axes.plot(
                epsilons, middle, marker=marker, color=colour, markersize=4, linewidth=1.5,
                label=shortened(name, LONGEST),
            )  # fmt: skip
            axes.fill_between(epsilons, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.set_ylim(-3, 103)
        axes.set_title(f"{attack}, {norm}", fontsize=10)
        axes.set_xlabel("ε")
        axes.set_ylabel("error, %")
        tidy(axes)
    _legend(figure, grid[0])
    return figure


def _curves(results: Results) -> dict[tuple[str, str], list[Case]]:
    """(norm, attack) -> its cases with growing epsilon, two or more; worst cases first."""
    curves: dict[tuple[str, str], list[Case]] = {}
    cases = [case for level in results.levels for case in _shown(results, level) if case != CLEAN]
    for case in sorted(cases, key=lambda case: (case.norm != "Linf", case.attack != WORST_CASE)):
        if case.epsilon > 0:
            curves.setdefault((case.norm, case.attack), []).append(case)
    return {
        key: sorted(of, key=lambda case: case.epsilon) for key, of in curves.items() if len(of) > 1
    }


def distance_figure(results: Results) -> Figure:
    """How far the nearest adversarial examples are: cumulative, with the medians marked."""
    norms = dict(zip(results.table.attack, results.table.norm, strict=True))
    attacks = list(dict.fromkeys(attack for attack, _ in results.distances))
    figure, grid = _panels(results, len(attacks))
    for axes, attack in zip(grid, attacks, strict=True):
        farthest = 0.0
        for name, colour, marker in _looks(results.names):
            if (attack, name) not in results.distances:
                continue
            distances = np.sort(results.distances[attack, name])
            found = distances[np.isfinite(distances)]
            shares = 100 * np.arange(len(found) + 1) / len(distances)
            axes.step([0, *found], shares, where="post", color=colour, linewidth=1.5,
                      label=shortened(name, LONGEST))  # fmt: skip
            median = np.quantile(distances, 0.5, method="inverted_cdf")
            if np.isfinite(median):
                axes.plot(median, 50, marker, color=colour, markersize=7, markeredgecolor="white")
            if len(found):
                farthest = max(farthest, float(np.quantile(found, 0.995)))
        axes.axhline(50, color="#999999", linewidth=0.8, linestyle=":")
        axes.set_xlim(0, 1.05 * farthest or 1)
        axes.set_ylim(0, 103)
        axes.set_title(attack, fontsize=10)
        axes.set_xlabel(f"{norms[attack]} distance")
        axes.set_ylabel("images broken within it, %")
        tidy(axes)
    _legend(figure, grid[0])
    return figure


def _panels(results: Results, count: int) -> tuple[Figure, list[Axes]]:
    columns = min(COLUMNS, count)
    lines = -(-count // columns)
    size = (max(4.0 * columns, 6.0), 2.9 * lines + _legend_height(results))
    figure = Figure(figsize=size, layout="constrained")
    return figure, [figure.add_subplot(lines, columns, index + 1) for index in range(count)]


def _looks(names: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Every model with its colour and marker."""
    return zip(names, cycle(len(names)), markers(len(names)), strict=True)


def _legend_height(results: Results) -> float:
    return 0.25 + 0.2 * -(-len(results.names) // COLUMNS)


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper center", ncols=COLUMNS, frameon=False, fontsize=9
    )
