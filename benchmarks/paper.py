"""The page "what reproduces, what does not, and why", from the tables of `winnrobust reproduce`.

    winnrobust reproduce table3 --budget cpu --run zoo:mnist-vanilla-winn ... --out reports/paper
    python -m benchmarks.paper reports/paper --run runs/winn --run runs/baseline

Reads the `reproduction.csv` of every table in the folder, and attacks every kept epoch of the runs
on all test images, to show what comes out if a model is selected by the validation images, by the
test images as in the authors' code, or not at all.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import pandas as pd
from jinja2 import Environment, PackageLoader
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.ticker import MaxNLocator
from tqdm import tqdm

from benchmarks.command import Command
from benchmarks.plain import Logits, batched, plain_fgsm
from benchmarks.time_to_robustness import Known, attacked_file
from winnrobust import zoo
from winnrobust.data.datasets import ImageSplit, load_dataset, to_unit
from winnrobust.models.checkpoint import load_model
from winnrobust.reporting.figures import save_figure, training_curves
from winnrobust.reporting.paper import published
from winnrobust.reporting.reproduction import (
    ADVERSARIAL_ERROR,
    BY_BASELINE,
    BY_METHOD,
    FIGURE_COLUMNS,
    MNIST_EPSILONS,
    NO_DATA,
    TARGETS,
    TEST_ERROR,
    reproduction_tables,
)
from winnrobust.reporting.runs import RunRecord, load_run
from winnrobust.reporting.table import percent, to_csv, to_markdown
from winnrobust.runtime import provenance
from winnrobust.runtime.allocator import keep_freed_memory
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.files import write_json, write_text
from winnrobust.training.config import flat
from winnrobust.training.run_folder import RunFolder

GOALS = {
    ("baseline", TEST_ERROR): 0.007,
    ("winn", TEST_ERROR): 0.007,
    ("winn", ADVERSARIAL_ERROR): 0.08,
}
"""At most; the adversarial error for the vanilla CNN only."""

QUARTER = 0.25
CORRECTION_GOALS = {BY_METHOD: (">", 0.80), BY_BASELINE: ("<", 0.60)}
EPSILON, HALF = MNIST_EPSILONS
SHOWN_EPOCHS = 6

PAGE = Environment(
    loader=PackageLoader("benchmarks", ""), trim_blocks=True, keep_trailing_newline=True
).get_template("paper.md.jinja")


def errors(model: Path, split: ImageSplit) -> dict[str, float]:
    """Errors of the model in a file on images: clean, and under FGSM at both epsilons."""
    found = attacked_file(model, split, ["fgsm"], MNIST_EPSILONS)
    attacked = found.errors.set_index("epsilon").error
    return {"clean": found.clean.error[0]} | {f"{e}": attacked[e] for e in MNIST_EPSILONS}


def epochs_of(path: Path, known: Known) -> pd.DataFrame:
    """A row per kept epoch of a run, if any: validation error, and errors on all test images."""
    folder, record = RunFolder(path), load_run(path)
    test = load_dataset(flat(record.config)["dataset"]).test
    rows = []
    for row in tqdm(record.metrics, desc=path.name):
        model = folder.epoch_model(row["epoch"])
        if model.exists():
            rows.append(
                {"epoch": row["epoch"], "valid": row["valid_error"]} | known.of(model, test)
            )
    return pd.DataFrame(rows)


def best(of_epochs: pd.Series) -> int:
    """The row of the lowest error; of equal ones the last, as training selects."""
    return int(of_epochs[::-1].idxmin())


def selections(name: str, epochs: pd.DataFrame) -> list[dict[str, Any]]:
    """What each way to select an epoch gives."""
    chosen = {
        "validation images": best(epochs.valid),
        "the last epoch": epochs.index[-1],
        "test images (authors' code)": best(epochs.clean),
    }
    return [
        {
            "run": name,
            "selected by": way,
            "epoch": int(epochs.epoch[index]),
            "test error, %": percent(epochs.clean[index], 10_000),
            **{f"FGSM {e}, %": percent(epochs[f"{e}"][index], 10_000) for e in MNIST_EPSILONS},
        }
        for way, index in chosen.items()
    ]


def goals(figures: pd.DataFrame) -> list[dict[str, str]]:
    """The goals on MNIST beside what came out, from Tables 2 and 3."""
    value = {
        (row.network, row.method, row.epsilon, row.quantity): row.mean
        for row in figures[figures.dataset == "mnist"].itertuples()
    }
    rows = []

    def goal(text: str, ours: float, met: bool) -> None:
        said = "not measured" if math.isnan(ours) else "yes" if met else "no"
        rows.append({"goal": text, "ours, %": percent(ours, 10_000), "reached": said})

    for network in figures[figures.dataset == "mnist"].network.unique():
        for (method, quantity), most in GOALS.items():
            epsilon = EPSILON if quantity == ADVERSARIAL_ERROR else 0.0
            if epsilon and network != "vanilla":
                continue
            ours = value.get((network, method, epsilon, quantity), math.nan)
            text = f"{network}, {method}: {quantity} at most {100 * most:g} %"
            goal(text, ours, ours <= most)
        winn, baseline = (
            value.get((network, method, EPSILON, ADVERSARIAL_ERROR), math.nan)
            for method in ("winn", "baseline")
        )
        goal(
            f"{network}: WINN's FGSM error at most a quarter of the baseline's"
            f" ({percent(baseline, 10_000)} %)",
            winn, winn <= QUARTER * baseline,
        )  # fmt: skip
        for quantity, (sign, limit) in CORRECTION_GOALS.items():
            ours = value.get((network, "winn", EPSILON, quantity), math.nan)
            met = ours > limit if sign == ">" else ours < limit
            goal(f"{network}, WINN: {quantity} {sign} {100 * limit:g} %", ours, met)
    return rows


def table_of(file: Path) -> pd.DataFrame:
    """The figures that `winnrobust reproduce` wrote."""
    try:
        figures = pd.read_csv(file)
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(f"{file} cannot be read ({error}); make the table anew") from None
    if list(figures.columns) != list(FIGURE_COLUMNS):
        raise InputError(f"{file} is of another version of winnrobust; make the table anew")
    return figures


def readings(figures: pd.DataFrame) -> list[dict[str, Any]]:
    """Our FGSM errors at both readings of the paper's epsilon beside the paper's figure."""
    chosen = figures[(figures.quantity == ADVERSARIAL_ERROR) & (figures.n > 0)]
    rows = []
    for names, part in chosen.groupby(["dataset", "network", "method"], sort=False):
        larger, smaller = part.sort_values("epsilon", ascending=False).itertuples()
        rows.append(
            {
                **dict(zip(("data", "network", "method"), names, strict=True)),
                "paper": f"{percent(larger.paper, 10_000)} ({larger.paper_dataset})",
                "ours, [0, 1] (code)": f"{percent(larger.mean, larger.n)} at {larger.epsilon:g}",
                "ours, [-1, 1] (text)": (
                    f"{percent(smaller.mean, smaller.n)} at {smaller.epsilon:g}"
                ),
            }
        )
    return rows


def forms(known: Known) -> list[dict[str, Any]]:
    """Errors of the models that come along in both forms of FGSM's loss, as multiples of the
    paper's."""
    rows = []
    for model in zoo.models():
        figures = published(model.dataset, model.arch, model.method, "fgsm", EPSILON)
        if "adversarial_error" not in figures:
            continue
        paper, file = figures["adversarial_error"], RunFolder(model.folder).model
        test = load_dataset(model.dataset).test
        ours = known.of(file, test)[f"{EPSILON}"]
        network = Logits(load_model(file)[0]).eval()
        usual = batched(plain_fgsm)(network, to_unit(test.images), test.labels) / len(test.labels)
        rows.append(
            {
                "model": model.name,
                "paper, %": percent(paper, 10_000),
                "usual form, %": percent(usual, len(test.labels)),
                "times the paper's": f"{usual / paper:.2f}",
                "our form, %": percent(ours, len(test.labels)),
                "times the paper's ": f"{ours / paper:.2f}",
            }
        )
    return rows


def figure_of(curves: dict[str, pd.DataFrame]) -> Figure:
    """Test error and FGSM error over epochs; what the validation images chose is marked."""
    figure = Figure(figsize=(13, 3.8), layout="constrained")
    panels = {
        "clean": "test error",
        f"{EPSILON}": f"FGSM at {EPSILON}",
        f"{HALF}": f"FGSM at {HALF}",
    }
    for axes, (column, title) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        for name, epochs in curves.items():
            (line,) = axes.plot(epochs.epoch, 100 * epochs[column], linewidth=1.4, label=name)
            at = best(epochs.valid)
            axes.plot(epochs.epoch[at], 100 * epochs[column][at], "D", color=line.get_color())
        axes.set_title(f"{title}, all test images", fontsize=10)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylabel("error, %")
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:g}")
        axes.yaxis.set_tick_params(which="both", labelsize=7)
        axes.grid(color="#dddddd", linewidth=0.6, which="both")
    axes.legend(frameon=False, fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def training_of(records: Sequence[RunRecord]) -> Figure:
    """The training curves of several runs, with one legend beside them all."""
    figure = training_curves(records)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    for axes in figure.axes:
        if legend := axes.get_legend():
            legend.remove()
    figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize=7)
    return figure


def negatives_of(records: Sequence[RunRecord]) -> Figure:
    """Pseudo-negatives by epoch: a line of pictures per run."""
    figure = Figure(figsize=(8, 1.5 * len(records)), layout="constrained")
    for row, record in enumerate(records):
        epochs = sorted(record.samples)
        steps = max(len(epochs) - 1, 1)
        chosen = sorted({round(i * steps / (SHOWN_EPOCHS - 1)) for i in range(SHOWN_EPOCHS)})
        for column, index in enumerate(chosen):
            axes = figure.add_subplot(len(records), SHOWN_EPOCHS, row * SHOWN_EPOCHS + column + 1)
            epoch = epochs[min(index, len(epochs) - 1)]
            axes.imshow(imread(record.samples[epoch]), cmap="gray")
            axes.set_title(f"epoch {epoch}", fontsize=6)
            axes.set_xticks([])
            axes.set_yticks([])
            if column == 0:
                axes.set_ylabel(record.name.replace(", ", "\n"), fontsize=5)
    return figure


def named(path: Path) -> RunRecord:
    """Read a run, called after what it is: the page has several of one method."""
    record = load_run(path)
    of = flat(record.config)
    if of.get("unsupervised"):
        raise InputError(
            f"{path} was trained without labels, like none in the tables; leave it out"
        )
    name = f"{of['dataset']} {of['arch']} {of['method']}, seed {of['seed']}"
    if of["method"] == "winn":
        name += f", {of.get('recipe', 'paper')} recipe"
    return RunRecord(name, of, record.manifest, record.metrics, record.samples)


def markdown(rows: list[dict[str, Any]]) -> str:
    return pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)


@click.command(cls=Command)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--run", "runs", multiple=True, required=True, type=click.Path(exists=True, path_type=Path),
    help="A training run, called after its data, architecture, method and recipe; those with kept"
    " epochs (train --keep-every 1) are attacked epoch by epoch.",
)  # fmt: skip
@click.option(
    "--known", type=click.Path(dir_okay=False, path_type=Path),
    help="File (.json) that keeps measured errors, so that nothing is measured twice.",
)  # fmt: skip
def main(folder: Path, runs: Sequence[Path], known: Path | None) -> None:
    """Write report.md, its figures and epochs.csv into FOLDER, where the tables are."""
    keep_freed_memory()
    written = {
        name: table_of(folder / name / "reproduction.csv")
        for name in TARGETS
        if (folder / name / "reproduction.csv").exists()
    }
    if not written:
        raise click.UsageError(f"{folder} has no table; make one with 'winnrobust reproduce'")
    cache = Known(known, errors)
    records = [named(path) for path in runs]
    if len({record.name for record in records}) < len(records):
        raise InputError("two runs are of the same data, architecture, method, seed and recipe")
    measured = {
        record.name: epochs_of(path, cache) for record, path in zip(records, runs, strict=True)
    }
    curves = {name: epochs for name, epochs in measured.items() if len(epochs)}
    if not curves:
        raise InputError("no run keeps its epochs; train one with --keep-every 1")
    figures = pd.concat(written.values(), ignore_index=True)
    save_figure(figure_of(curves), folder / "epochs.png")
    datasets = sorted({flat(record.config)["dataset"] for record in records})
    for dataset in datasets:
        of_dataset = [record for record in records if flat(record.config)["dataset"] == dataset]
        save_figure(training_of(of_dataset), folder / f"training-{dataset}.png")
    pictured = [record for record in records if record.samples]
    if pictured:
        save_figure(negatives_of(pictured), folder / "pseudo-negatives.png")
    rows = pd.concat([part.assign(run=name) for name, part in curves.items()])
    write_text(folder / "epochs.csv", to_csv(rows))
    about = provenance.describe()
    text = PAGE.render(
        about=about,
        goals=markdown(goals(figures)),
        tables={
            name: to_markdown(reproduction_tables(TARGETS[name], part))
            for name, part in written.items()
        },
        readings=markdown(readings(figures)),
        forms=markdown(forms(cache)),
        datasets=set(figures.dataset),
        trained=datasets,
        missing=sorted(set(figures[figures.order == NO_DATA].dataset)),
        pictured=bool(pictured),
        selections=markdown([row for name in curves for row in selections(name, curves[name])]),
    )
    write_text(folder / "report.md", text)
    write_json(
        folder / "manifest.json",
        about | {"runs": [{"config": r.config, "manifest": r.manifest} for r in records]},
    )
    click.echo(text)


if __name__ == "__main__":
    main()
