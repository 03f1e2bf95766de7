"""What the attacks are worth, what the zoo is worth outside of L-infinity, and who is fooled.

    pip install -e '.[bench,docs]'
    python -m benchmarks.evaluation

One page, reports/evaluation/report.md, with index.html and the tables as CSV. What is measured is
kept in `--work` and in the tables of `--out`, so that the same command goes on where it was
interrupted, and measures nothing twice: after a change of an attack or of a model of the zoo delete
in both what is to be measured anew.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import torch
from jinja2 import Environment, PackageLoader, StrictUndefined

import winnrobust
from benchmarks import components, contest, defenses, sequential
from benchmarks.aa_fast import GRADIENT_PASS
from benchmarks.command import Command
from benchmarks.honest import digits, shipped
from winnrobust import zoo
from winnrobust.evaluation.outcomes import Level
from winnrobust.evaluation.statistics import NORMAL, WORST_CASE
from winnrobust.reporting.evaluation import Evaluation
from winnrobust.reporting.figures import save_figure
from winnrobust.reporting.table import p_text, percent, share_text, to_csv, to_markdown
from winnrobust.reporting.tables import corruption_tables
from winnrobust.runtime import provenance
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.files import file_sha256, write_json, write_text
from winnrobust.workflows.evaluation_folder import is_complete

PAIR = ("mnist-vanilla-baseline", "mnist-vanilla-winn")
THREATS = ("linf:0.125", "l2:1.5", "l1:10")
FIGURED = {"vanilla": 100, "resnet32": 20}
"""Architecture -> images that aa-fast attacks."""
CORRUPTED = 300
SIMULATED = 2000
MISSED = 0.002
"""The goal: an error that is lower than AutoAttack's by no more than this."""
TENTH = 0.1
"""The goal: of AutoAttack's cost."""
SIGNIFICANT = 0.05
CASE = ["model", "norm", "epsilon"]
"""Columns of aa-fast.csv that tell its rows apart."""

PAGE = Environment(
    loader=PackageLoader("benchmarks", ""), trim_blocks=True, keep_trailing_newline=True,
    undefined=StrictUndefined,
).get_template("evaluation.md.jinja")  # fmt: skip


# --- the zoo --------------------------------------------------------------------------------------


def attacked(models: list[str], images: int, threats: tuple[str, ...], folder: Path) -> Evaluation:
    """Attack models of the zoo by what suits the threats; goes on in the folder."""
    if is_complete(folder):
        return winnrobust.read_evaluation(folder)
    nets, (pixels, labels) = {name: shipped(name) for name in models}, digits("test")
    attacks = ["aa-fast"] if threats == THREATS else None
    return winnrobust.evaluate(
        nets, pixels[:images], labels[:images], attacks, threats=threats, cross=False,
        device="cpu", folder=folder,
    )  # fmt: skip


def figures(work: Path) -> pd.DataFrame:
    """A row for every MNIST model of the zoo and threat: its robust error, with its interval."""
    rows = []
    for arch, images in FIGURED.items():
        names = [m.name for m in zoo.models() if m.dataset == "mnist" and m.arch == arch]
        found = attacked(names, images, THREATS, work / f"zoo-{arch}-{images}").results.summary
        clean = found.clean.assign(norm="", epsilon=0.0)
        robust = found.robust[found.robust.epsilon > 0]
        rows += [clean, robust.assign(
            error=robust.robust_error, error_low=1 - robust.high, error_high=1 - robust.low
        )]  # fmt: skip
    columns = ["model", "norm", "epsilon", "n", "error", "error_low", "error_high"]
    return pd.concat(rows)[columns].reset_index(drop=True)


def level_of(norm: str, epsilon: float) -> str:
    return str(Level(norm, epsilon)) if norm else "no attack"


def figure_table(found: pd.DataFrame) -> str:
    """A row per model, a column per threat."""
    cells = found.assign(
        cell=[share_text(*each) for each in zip(
            found.error, found.error_low, found.error_high, found.n, strict=True
        )],
        level=[level_of(*each) for each in zip(found.norm, found.epsilon, strict=True)],
    )  # fmt: skip
    wide = cells.pivot(index=["model", "n"], columns="level", values="cell")
    return markdown(wide[list(dict.fromkeys(cells.level))].reset_index())


def worths(work: Path, found: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """For every threat, the baseline beside the WINN, image by image."""
    folder = work / f"zoo-vanilla-{FIGURED['vanilla']}"
    names = [m.name for m in zoo.models() if m.dataset == "mnist" and m.arch == "vanilla"]
    paired = attacked(names, FIGURED["vanilla"], THREATS, folder).results.summary.paired
    paired = paired[(paired.attack == WORST_CASE) & (paired.epsilon > 0)]
    errors = found.set_index(["norm", "epsilon", "model"])
    for row in paired.itertuples():
        if {row.first, row.second} != set(PAIR):
            continue
        only = dict(zip((row.first, row.second), (row.first_only, row.second_only), strict=True))
        baseline, winn = (errors.loc[(row.norm, row.epsilon, name)] for name in PAIR)
        yield {
            "level": level_of(row.norm, row.epsilon), "n": row.n,
            "baseline": said(baseline), "winn": said(winn),
            "only_baseline": int(only[PAIR[0]]), "only_winn": int(only[PAIR[1]]),
            "points": f"{100 * abs(baseline.error - winn.error):.1f}", "p": p_text(row.p_value),
            "verdict": "not told apart" if row.p_value >= SIGNIFICANT else
            "better" if winn.error < baseline.error else "worse",
        }  # fmt: skip


def said(row: Any) -> str:
    return share_text(row.error, row.error_low, row.error_high, row.n)


def corruptions(work: Path) -> tuple[Evaluation, dict[str, Any]]:
    """Both models under all corruptions, and by how much the mean error differs, image by image."""
    folder = work / f"corruptions-{CORRUPTED}"
    found = attacked(list(PAIR), CORRUPTED, ("corruptions:1-5",), folder)
    summary = found.results.summary
    rows = found.outcomes[found.outcomes.norm == "corruptions"]
    wrong = (
        rows.assign(wrong=~rows.correct)
        .groupby(["image", "evaluated"], observed=True).wrong.mean().unstack()
    )  # fmt: skip
    differences = wrong[PAIR[0]] - wrong[PAIR[1]]
    half = NORMAL * differences.std() / np.sqrt(len(differences))
    low, high = differences.mean() - half, differences.mean() + half
    own = summary.corruption[summary.corruption.model == summary.corruption.reference]
    means = own.set_index("model")
    by_kind = summary.errors.groupby(["attack", "model"], observed=True).error.mean().unstack()
    return found, {
        "n": CORRUPTED, "kinds": len(by_kind),
        "won": int((by_kind[PAIR[1]] < by_kind[PAIR[0]]).sum()),
        "worst": (by_kind[PAIR[1]] - by_kind[PAIR[0]]).idxmax(),
        "best": (by_kind[PAIR[0]] - by_kind[PAIR[1]]).idxmax(),
        "baseline": mean_error(means.loc[PAIR[0]]), "winn": mean_error(means.loc[PAIR[1]]),
        "points": f"{100 * abs(differences.mean()):.1f}",
        "low": f"{100 * low:.1f}", "high": f"{100 * high:.1f}",
        "verdict": "not told apart" if low <= 0 <= high else "better" if low > 0 else "worse",
    }  # fmt: skip


def mean_error(row: Any) -> str:
    return share_text(row.mean_error, row.mean_error_low, row.mean_error_high, CORRUPTED)


# --- the attacks ----------------------------------------------------------------------------------


def markdown(frame: pd.DataFrame) -> str:
    return str(frame.to_markdown(index=False, disable_numparse=True))


def libraries(found: pd.DataFrame) -> pd.DataFrame:
    """A row for each attack over all models and norms that it was measured on."""
    theirs = found[found.attack == contest.REFERENCE].set_index(["model", "norm"])
    rows = []
    for (library, attack), part in found.groupby(["library", "attack"], sort=False):
        same = theirs.loc[list(zip(part.model, part.norm, strict=True))]
        rows.append({
            "library": library, "attack": attack,
            "norms": ", ".join(Level(norm, 0).norm.capitalize() for norm in part.norm.unique()),
            "broken": f"{part.broken.sum()} of {part.n.sum()}",
            "AutoAttack alone": part.only_reference.sum(), "this alone": part.only_this.sum(),
            "gradients": f"{part.gradients.mean():.0f}", "queries": f"{part.queries.mean():.0f}",
            "seconds": f"{part.seconds.mean():.2f}",
            "of AutoAttack's passes": f"{part.passes.sum() / same.passes.sum():.3f}",
            "of its seconds": f"{part.seconds.sum() / same.seconds.sum():.3f}",
        })  # fmt: skip
    return pd.DataFrame(rows)


def best_of_each(found: pd.DataFrame) -> pd.DataFrame:
    """For every model and norm each library's attack that breaks the most, and costs the least."""
    ours = found.library.isin(["winnrobust", "pyautoattack"])
    key = found.library.where(~ours, found.attack)
    ordered = found.assign(key=key).sort_values(["broken", "passes"], ascending=[False, True])
    best = ordered.drop_duplicates(["model", "norm", "key"]).sort_index()
    return pd.DataFrame({
        "model": best.model.str.removeprefix("mnist-vanilla-"),
        "level": [level_of(*each) for each in zip(best.norm, best.epsilon, strict=True)],
        "library": best.library, "attack": best.attack,
        "error, %": [percent(error, n) for error, n in zip(best.error, best.n, strict=True)],
        "AutoAttack alone": best.only_reference, "this alone": best.only_this,
        "gradients": best.gradients.round().astype(int),
        "queries": best.queries.round().astype(int), "seconds": best.seconds.round(2),
    })  # fmt: skip


def goal(found: pd.DataFrame) -> dict[str, Any]:
    """How far the stored comparison with the authors' AutoAttack reaches the goal."""
    names = pd.Series(
        [f"{model} {level_of(*level)}" for model, *level in found[CASE].itertuples(index=False)],
        found.index,
    )  # fmt: skip

    def dear(column: str) -> list[str]:
        those = found[column] > TENTH
        shares = zip(names[those], found[column][those], strict=True)
        return [f"{name} ({share:.3f})" for name, share in shares]

    weaker = found[found.error_less > MISSED]
    missed = {
        "weaker": [
            f"{names[index]} ({row.reference_broken - row.broken} of {row.n})"
            for index, row in weaker.iterrows()
        ],
        "passes": dear("passes_share"), "cpu": dear("cpu_share"),
    }  # fmt: skip
    return missed | {
        "cases": len(found), "models": found.model.nunique(), "n": found.n.sum(),
        "three_norms": int((found.groupby("model").norm.nunique() == 3).sum()),
        "only_reference": found.only_reference.sum(), "only_ours": found.only_ours.sum(),
        "passes_share": f"{found.passes.sum() / found.reference_passes.sum():.3f}",
        "cpu_share": f"{found.cpu.sum() / found.reference_cpu.sum():.3f}",
        "reached": not any(missed.values()),
    }  # fmt: skip


def goal_table(found: pd.DataFrame) -> str:
    return markdown(pd.DataFrame({
        "model": found.model,
        "level": [level_of(*each) for each in zip(found.norm, found.epsilon, strict=True)],
        "images": found.n, "wrong already": found.wrong_already,
        "AutoAttack breaks": found.reference_broken, "aa-fast breaks": found.broken,
        "AutoAttack alone": found.only_reference, "aa-fast alone": found.only_ours,
        "of its passes": found.passes_share.map("{:.3f}".format),
        "of its seconds": found.cpu_share.map("{:.3f}".format),
    }))  # fmt: skip


# --- the page -------------------------------------------------------------------------------------


def section(file: Path) -> str:
    """A page of its own as a part of this one: its headings are one deeper."""
    return re.sub(r"^#", "##", file.read_text(), flags=re.MULTILINE)


def as_html(text: str) -> str:
    """The page for a browser."""
    from markdown_it import MarkdownIt

    def with_id(found: re.Match[str]) -> str:
        slug = re.sub(r"[^\w -]", "", found[1].lower()).replace(" ", "-")  # as GitHub's
        return f'<h2 id="{slug}">{found[1]}</h2>'

    style = files("winnrobust.reporting").joinpath("style.html.jinja").read_text()
    body = re.sub("<h2>(.*?)</h2>", with_id, MarkdownIt("commonmark").enable("table").render(text))
    for tag, around in (("<table>", '<div class="scroll"><table>'), ("</table>", "</table></div>")):
        body = body.replace(tag, around)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Evaluation</title>\n{style}</head>\n<body><main>\n{body}</main></body></html>\n"
    )


def measure(work: Path, out: Path) -> None:
    """Measure what is missing of all that the page shows."""
    figures(work)
    corruptions(work)
    if not (out / "components.csv").exists():
        found = components.curves(work)
        save_figure(components.figure_of(found, work), out / "components.png")
        write_text(out / "components.csv", to_csv(found))
    if not (out / "contest.csv").exists():
        write_text(out / "contest.csv", to_csv(contest.contest(work)))
    defenses.measure(out)
    if not (out / "sequential.csv").exists():
        sequential.simulate(SIMULATED, 0, out)


def tables_of(work: Path, out: Path) -> dict[str, pd.DataFrame]:
    """Return the tables by the name of their file."""
    stored = out / "aa-fast.csv"
    if not stored.exists():
        raise InputError(f"{stored} is missing; python -m benchmarks.aa_fast makes it")
    return {
        "aa-fast": pd.read_csv(stored),
        "zoo": figures(work),
        "components": pd.read_csv(out / "components.csv"),
        "contest": pd.read_csv(out / "contest.csv"),
    }


@click.command(cls=Command, help=__doc__)
@click.option("--work", default="results/evaluation", show_default=True,
              type=click.Path(path_type=Path), help="Folder for what is measured.")  # fmt: skip
@click.option("--out", default="reports/evaluation", show_default=True,
              type=click.Path(path_type=Path), help="Folder to write to.")  # fmt: skip
def main(work: Path, out: Path) -> None:
    """Measure what is missing, and write the page."""
    torch.set_num_threads(1)
    measure(work, out)
    click.echo(write_page(work, out))


def write_page(work: Path, out: Path) -> str:
    """Write the page, its tables and where they come from; returns the text."""
    tables = tables_of(work, out)
    corrupted, worth = corruptions(work)
    about = provenance.describe()
    text = PAGE.render(
        about=about, gradient_pass=GRADIENT_PASS, contest=contest, component=components,
        goal=goal(tables["aa-fast"]), goal_table=goal_table(tables["aa-fast"]),
        libraries=markdown(libraries(tables["contest"])),
        best=markdown(best_of_each(tables["contest"])),
        bends=markdown(components.bends(tables["components"])),
        figures=figure_table(tables["zoo"]), images=FIGURED,
        worths=list(worths(work, tables["zoo"])), worth=worth,
        corruptions=to_markdown([
            replace(table, title="Errors, %") for table in corruption_tables(corrupted.results)
        ]),
        defenses=section(out / "defenses.md"), sequential=section(out / "sequential.md"),
    )  # fmt: skip
    write_text(out / "zoo.csv", to_csv(tables["zoo"]))
    write_text(out / "corruptions.csv", to_csv(corrupted.results.summary.errors))
    write_text(out / "report.md", text)
    write_text(out / "index.html", as_html(text))
    made = ("aa-fast", "zoo", "components", "contest", "corruptions", "defenses", "sequential")
    write_json(out / "manifest.json", about | {
        "files_sha256": {f"{name}.csv": file_sha256(out / f"{name}.csv") for name in made},
        "commits_of_measurements": {
            "contest": sorted(set(tables["contest"].commit)),
            "corruptions": corrupted.results.manifest["commit"],
        },
    })  # fmt: skip
    return text


if __name__ == "__main__":
    main()
