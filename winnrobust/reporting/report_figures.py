"""All figures of a report, as PNG under the names of their files."""

from winnrobust.reporting.evaluation_figures import (
    curve_figure,
    distance_figure,
    error_figure,
    has_curves,
)
from winnrobust.reporting.examples_figure import examples_figure
from winnrobust.reporting.figures import to_png, training_curves
from winnrobust.reporting.report import Report, chosen_samples, marks_of
from winnrobust.reporting.results import Results


def draw_figures(report: Report) -> dict[str, bytes]:
    """Draw everything: errors, curves, distances and examples, training, pseudo-negatives."""
    figures: dict[str, bytes] = {}
    for results, mark in zip(report.results, marks_of(report), strict=True):
        figures |= {f"{name}{mark}.png": png for name, png in _of_evaluation(results).items()}
    trained = [run for run in report.runs if run.metrics]
    if trained:
        figures["training.png"] = to_png(training_curves(trained))
    for number, run in enumerate(report.runs):
        for epoch, picture in chosen_samples(run).items():
            figures[sample_name(number, epoch)] = picture.read_bytes()
    return figures


def _of_evaluation(results: Results) -> dict[str, bytes]:
    figures = {"errors": error_figure(results)}
    if has_curves(results):
        figures["curves"] = curve_figure(results)
    if results.distances:
        figures["distances"] = distance_figure(results)
    if len(results.examples.images):
        strongest = results.strongest(results.cases)
        figures["examples"] = examples_figure(results.examples, strongest.attack)
    return {name: to_png(figure) for name, figure in figures.items()}


def sample_name(run: int, epoch: int) -> str:
    """The file of a run's picture of pseudo-negatives."""
    return f"pseudo-negatives-{run + 1}-epoch-{epoch:04d}.png"
