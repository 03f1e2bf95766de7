"""Does the diagnosis see false robustness, and what is left of it under the attacks that it names?

    python -m benchmarks.defenses

Every false defense of `winnrobust.defenses` around a small network, networks that are falsely
robust by training, and honest ones: the error under PGD as it comes, the largest that is known,
and the one under the attacks that `--adapt` adds. Goes on where it was interrupted.
"""

import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import click
import pandas as pd
import torch
from torch import Tensor, nn

import winnrobust
from benchmarks.command import Command
from benchmarks.honest import HONEST, TRAINED_FALSE, base, digits
from winnrobust.defenses import DEFENSES, Defense
from winnrobust.evaluation import EvaluationSettings
from winnrobust.reporting.table import to_csv
from winnrobust.runtime import provenance
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.files import write_json, write_text
from winnrobust.workflows.attacking import adapted

EPSILON = 0.125
EPSILONS = {
    "FGSM-trained, overfitted": 0.2,
    "PGD-trained, attacked at twice its radius": 0.25,
}
DIAGNOSED, ATTACKED = 128, 64
"""Images."""
MISLEADS = 0.05
"""A defense is false where PGD misses more than this share of the images."""
LONG = "pgd(steps=60, restarts=2, loss='margin')"
DEFAULT = ("fgsm", "pgd")
"""What `--adapt` adds to."""


class Case(NamedTuple):
    """A model of the table."""

    name: str
    group: str
    kind: str
    build: Callable[[], nn.Module]


def around_base(defense: Defense) -> nn.Module:
    return defense.build(base())


def cases() -> Iterator[Case]:
    for name, defense in DEFENSES.items():
        yield Case(name, "false", defense.kind, partial(around_base, defense))
    for name, build in TRAINED_FALSE.items():
        yield Case(name, "trained", "trained", build)
    for name, build in HONEST.items():
        yield Case(name, "honest", "honest", build)


def inside(_: nn.Module, images: Tensor, labels: Tensor, epsilon: float) -> Tensor:
    """Examples made on the network that a defense is around: the attacker knows it."""
    return made_inside(epsilon)[: len(images)].to(images)


@cache
def made_inside(epsilon: float) -> Tensor:
    images, labels = (each[:ATTACKED] for each in digits("test"))
    return winnrobust.attack(base(), images, labels, LONG, epsilon=epsilon).images


def error(model: nn.Module, epsilon: float, attacks: Any, **settings: Any) -> float | None:
    """The share of the images that the model gets wrong under any of the attacks."""
    images, labels = (each[:ATTACKED] for each in digits("test"))
    try:
        found = winnrobust.evaluate(model, images, labels, attacks, [epsilon], **settings)
    except InputError:  # no gradient
        return None
    return 1 - float(found.robust_accuracy)


def largest_error(case: Case, model: nn.Module, epsilon: float) -> float:
    """The largest error known, by attacks that know the defense."""
    short = "pgd(steps=40, loss='margin')" if case.kind == "stochastic" else LONG
    informed = {"inside": inside} if case.group == "false" else {"square": "square(queries=1000)"}
    found = [error(model, epsilon, informed)]
    both = {"pgd": short, "bpda": f"bpda:auto:{short}"}
    found.append(error(model, epsilon, both))
    if found[-1] is None:  # no gradient as it is
        found.append(error(model, epsilon, [both["bpda"]]))
    return max((each for each in found if each is not None), default=0.0)


def row(case: Case) -> dict[str, Any]:
    """Measure a model."""
    model, epsilon = case.build().eval(), EPSILONS.get(case.name, EPSILON)
    images, labels = (each[:DIAGNOSED] for each in digits("test"))
    began = time.process_time()
    found = winnrobust.diagnose(model, images, labels, epsilon=epsilon, batch_size=DIAGNOSED)
    seconds = time.process_time() - began
    clean = error(model, 0.0, ["noise-uniform"])
    naive = error(model, epsilon, ["pgd"], eot=1)
    settings = adapted(EvaluationSettings(attacks=list(DEFAULT)), found.table)
    after = error(model, epsilon, list(settings.attacks))
    signs = found.table[found.table.verdict.isin(("suspicious", "broken"))].indicator
    naive = naive or clean or 0.0
    known = max(largest_error(case, model, epsilon), naive, after or 0.0)
    return {
        "model": case.name, "group": case.group, "kind": case.kind, "epsilon": epsilon,
        "clean": clean, "PGD": naive, "known": known, "adapted": after,
        "misleads": known - naive > MISLEADS, "verdict": found.overall,
        "signs": "; ".join(signs), "seconds": round(seconds, 1),
        "added": "; ".join(each for each in found.attacks),
    }  # fmt: skip


def summary(table: pd.DataFrame) -> str:
    """The counts that matter, in Markdown."""
    flagged = table.verdict.isin(("suspicious", "broken"))
    honest = table.group == "honest"
    false = ~honest & table.misleads
    gap = (table.known - table.adapted)[false & table.adapted.notna()]
    kinds = table[false].assign(flagged=flagged).groupby("kind").flagged.agg(["sum", "size"])
    lines = [
        f"- {(flagged & false).sum()} of {false.sum()} false defenses that mislead are flagged"
        f" ({(~honest).sum() - false.sum()} others do not mislead: PGD breaks as many).",
        f"- {(flagged & honest).sum()} of {honest.sum()} honest models are flagged.",
        f"- Under `--adapt` {(gap <= 0.03).sum()} of {len(gap)} are within 3 points of the largest"
        f" error known; the largest gap is {100 * gap.max():.1f} points.",
    ]
    lines += [f"- {kind}: {row['sum']} of {row['size']}" for kind, row in kinds.iterrows()]
    return "\n".join(lines)


def write(table: pd.DataFrame, out: Path) -> None:
    shares = ["clean", "PGD", "known", "adapted"]
    shown = table.assign(**{name: (100 * table[name].astype(float)).round(1) for name in shares})
    note = (
        f"Digits of mnist5k: {DIAGNOSED} to diagnose, {ATTACKED} to attack; shares in %. PGD: 20"
        " steps, one draw. known: the largest error by attacks that know the defense. adapted:"
        f" {', '.join(DEFAULT)} and what the diagnosis adds. seconds: of the diagnosis on a core."
    )
    text = f"# False defenses\n\n{summary(table)}\n\n{note}\n\n{shown.to_markdown(index=False)}\n"
    write_text(out / "defenses.md", text)
    write_text(out / "defenses.csv", to_csv(table))
    write_json(out / "defenses.json", provenance.describe(torch.device("cpu")))


@click.command(cls=Command)
@click.option("--out", type=click.Path(path_type=Path), default=Path("reports/evaluation"))
@click.option("--only", help="Models whose name or kind contains this.")
@click.option("--part", default="1/1", help="i/n: every n-th model, from the i-th.")
def main(out: Path, only: str | None, part: str) -> None:
    """Measure all models that OUT/defenses.csv does not have, and write the tables."""
    click.echo(summary(measure(out, only, part)))


def measure(out: Path, only: str | None = None, part: str = "1/1") -> pd.DataFrame:
    """Measure what is not in OUT/defenses.csv, and write the tables after each model."""
    out.mkdir(parents=True, exist_ok=True)
    stored = out / "defenses.csv"
    known = pd.read_csv(stored).fillna({"signs": ""}) if stored.exists() else pd.DataFrame()
    rows = known.to_dict("records")
    done = {each["model"] for each in rows}
    first, step = map(int, part.split("/"))
    for number, case in enumerate(cases()):
        wanted = only is None or only in case.name or only in case.kind
        if case.name in done or not wanted or number % step != first - 1:
            continue
        rows.append(row(case))
        click.echo(", ".join(f"{key} {value}" for key, value in rows[-1].items()))
        write(pd.DataFrame(rows), out)
    return pd.DataFrame(rows)


if __name__ == "__main__":
    main()
