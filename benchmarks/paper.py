"""The page "what reproduces, what does not, and why", from the tables of `winnrobust reproduce`.

    winnrobust reproduce table3 --budget cpu --run zoo:mnist-vanilla-winn ... --out reports/paper
    python -m benchmarks.paper reports/paper --run zoo:mnist-vanilla-winn --run runs/baseline

Reads the `reproduction.csv` of every table in the folder. Where runs have kept their epochs,
attacks each of them on all test images, to show what comes out if a model is selected by the
validation images, by the test images as in the authors' code, or not at all; else that section is
left out.
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
from benchmarks.time_to_robustness import Known, attacked_file
from winnrobust import zoo
from winnrobust.data.datasets import ImageSplit, load_dataset
from winnrobust.reporting.figures import save_figure, training_curves
from winnrobust.reporting.reproduction import (
    ADVERSARIAL_ERROR,
    BY_BASELINE,
    BY_METHOD,
    FIGURE_COLUMNS,
    MNIST_EPSILONS,
    NO_DATA,
    STABLE_ERROR,
    TARGETS,
    TEST_ERROR,
    reproduction_tables,
)
from winnrobust.reporting.runs import RunRecord, load_run
from winnrobust.reporting.table import DASH, percent, to_csv, to_markdown
from winnrobust.runtime import provenance
from winnrobust.runtime.allocator import keep_freed_memory
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.files import write_json, write_text
from winnrobust.training.config import flat
from winnrobust.training.run_folder import RunFolder

GOALS = (
    ("vanilla", "baseline", ADVERSARIAL_ERROR, 0.2941, 0.3541),
    ("vanilla", "icn", ADVERSARIAL_ERROR, 0.1602, 0.2202),
    ("vanilla", "winn", ADVERSARIAL_ERROR, 0.0, 0.08),
    ("vanilla", "winn", BY_METHOD, 0.88, 1.0),
    ("vanilla", "winn", BY_BASELINE, 0.0, 0.50),
    ("vanilla", "winn", TEST_ERROR, 0.0, 0.007),
    ("resnet32", "baseline", TEST_ERROR, 0.0, 0.005),
    ("resnet32", "winn", TEST_ERROR, 0.0, 0.005),
    ("resnet32", "winn", ADVERSARIAL_ERROR, 0.0, 0.023),
)
"""Network, method, quantity, and from where to where it is to be: around the paper's figure within
three points, or better than a bound."""

FIFTH = 0.2
"""Of the ResNet-32 baseline's FGSM error: what its WINN's is to be at most."""
EPSILON, HALF = MNIST_EPSILONS
GROUPS = [group for target in TARGETS.values() for group in target.groups if target.attacked]
SHOWN_EPOCHS = 6

PAGE = Environment(
    loader=PackageLoader("benchmarks", ""), trim_blocks=True, keep_trailing_newline=True
).get_template("paper.md.jinja")


def errors(model: Path, split: ImageSplit) -> dict[str, float]:
    """Errors of the model in a file on images: clean, and under FGSM with the stable loss at both
    epsilons."""
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
            **{
                f"FGSM {e}, stable loss, %": percent(epochs[f"{e}"][index], 10_000)
                for e in MNIST_EPSILONS
            },
        }
        for way, index in chosen.items()
    ]


def goals(figures: pd.DataFrame) -> list[dict[str, str]]:
    """The goals on MNIST beside what came out, from Tables 2 and 3."""
    mnist = figures[figures.dataset == "mnist"]
    of = {(row.network, row.method, row.epsilon, row.quantity): row for row in mnist.itertuples()}

    def ours(network: str, method: str, quantity: str) -> float:
        row = of.get((network, method, 0.0 if quantity == TEST_ERROR else EPSILON, quantity))
        return math.nan if row is None else row.mean

    def row(text: str, found: float, met: bool) -> dict[str, str]:
        said = "not measured" if math.isnan(found) else "yes" if met else "no"
        return {"goal": text, "ours, %": percent(found, 10_000), "reached": said}

    rows = []
    for network, method, quantity, low, high in GOALS:
        found = ours(network, method, quantity)
        asked = f"{100 * low:g} to {100 * high:g} %"
        asked = f"at most {100 * high:g} %" if low == 0 else asked
        asked = f"at least {100 * low:g} %" if high == 1 else asked
        rows.append(row(f"{network}, {method}: {quantity} {asked}", found, low <= found <= high))
    winn, baseline = (ours("resnet32", name, ADVERSARIAL_ERROR) for name in ("winn", "baseline"))
    theirs = of.get(("resnet32", "winn", EPSILON, ADVERSARIAL_ERROR))
    unlike = DASH if theirs is None else theirs.unlike
    matched = "" if unlike == DASH else f"; not matched: {unlike}"
    text = "resnet32: WINN's FGSM error at most a fifth of a matched baseline's"
    text += f" ({percent(baseline, 10_000) or DASH} %{matched})"
    return [*rows, row(text, winn, not matched and winn <= FIFTH * baseline)]


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


def forms(figures: pd.DataFrame) -> list[dict[str, Any]]:
    """Errors in both forms of FGSM's loss, as multiples of the paper's where it has these data."""
    of = figures[figures.epsilon.isin([group.epsilons[0] for group in GROUPS]) & (figures.n > 0)]
    means = of.pivot_table("mean", ["dataset", "network", "method"], "quantity", sort=False)
    papers = of[of.quantity == ADVERSARIAL_ERROR].set_index(means.index.names)
    rows = []
    for names, row in means.dropna(subset=[ADVERSARIAL_ERROR, STABLE_ERROR]).iterrows():
        theirs = papers.loc[names]
        same = theirs.paper_dataset == names[0]
        usual, stable = row[ADVERSARIAL_ERROR], row[STABLE_ERROR]
        rows.append(
            {
                "data, network, method": " ".join(names),
                "epsilon": f"{theirs.epsilon:g}",
                "paper, %": percent(theirs.paper, 10_000) if same else "-",
                "usual form, %": percent(usual, theirs.n),
                "times the paper's": f"{usual / theirs.paper:.2f}" if same else "-",
                "stable form, %": percent(stable, theirs.n),
                "times the paper's ": f"{stable / theirs.paper:.2f}" if same else "-",
            }
        )
    return rows


def figure_of(curves: dict[str, pd.DataFrame]) -> Figure:
    """Test error and FGSM error over epochs; what the validation images chose is marked."""
    figure = Figure(figsize=(13, 3.8), layout="constrained")
    panels = {
        "clean": "test error",
        f"{EPSILON}": f"FGSM (stable) at {EPSILON}",
        f"{HALF}": f"FGSM (stable) at {HALF}",
    }
    for axes, (column, title) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        for name, epochs in curves.items():
            (line,) = axes.plot(epochs.epoch, 100 * epochs[column], linewidth=1.4, label=name)
            at = best(epochs.valid)
            axes.plot(epochs.epoch[at], 100 * epochs[column][at], "D", color=line.get_color())
        axes.set_title(f"{title}, all test images", fontsize=9)
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
    "--run", "runs", multiple=True, required=True, type=click.Path(path_type=Path),
    help="A training run or zoo:NAME, called after its data, architecture, method and recipe; those"
    " with kept epochs (train --keep-every 1) are attacked epoch by epoch.",
)  # fmt: skip
@click.option(
    "--known", type=click.Path(dir_okay=False, path_type=Path),
    help="File (.json) that keeps measured errors, so that nothing is measured twice.",
)  # fmt: skip
def main(folder: Path, runs: Sequence[Path], known: Path | None) -> None:
    """Write report.md, its figures and epochs.csv into FOLDER, where the tables are."""
    keep_freed_memory()
    files = {name: folder / name / "reproduction.csv" for name in TARGETS}
    written = {name: table_of(path) for name, path in files.items() if path.exists()}
    if not written:
        raise click.UsageError(f"{folder} has no table; make one with 'winnrobust reproduce'")
    cache = Known(known, errors)
    runs = [zoo.locate(path) for path in runs]
    records = [named(path) for path in runs]
    if len({record.name for record in records}) < len(records):
        raise InputError("two runs are of the same data, architecture, method, seed and recipe")
    measured = {
        record.name: epochs_of(path, cache) for record, path in zip(records, runs, strict=True)
    }
    curves = {name: epochs for name, epochs in measured.items() if len(epochs)}
    figures = pd.concat(written.values(), ignore_index=True)
    if curves:
        save_figure(figure_of(curves), folder / "epochs.png")
        rows = pd.concat([part.assign(run=name) for name, part in curves.items()])
        write_text(folder / "epochs.csv", to_csv(rows))
    datasets = sorted({flat(record.config)["dataset"] for record in records})
    for dataset in datasets:
        of_dataset = [record for record in records if flat(record.config)["dataset"] == dataset]
        save_figure(training_of(of_dataset), folder / f"training-{dataset}.png")
    pictured = [record for record in records if record.samples]
    if pictured:
        save_figure(negatives_of(pictured), folder / "pseudo-negatives.png")
    about = provenance.describe()
    text = PAGE.render(
        about=about,
        goals=markdown(goals(figures)),
        tables={
            name: to_markdown(reproduction_tables(TARGETS[name], part))
            for name, part in written.items()
        },
        readings=markdown(readings(figures)),
        forms=markdown(forms(figures)),
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
