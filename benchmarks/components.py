"""Where does it bend? Error over cost for each component of aa-fast, the others left as they are.

A component gets less or more to do, and nothing else is changed: the steps of all ascents, the
classes that are aimed at, those that are aimed at again, how long that is, and the queries of the
search. `benchmarks.evaluation` runs it and draws the curves.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import click
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from benchmarks.aa_fast import GRADIENT_PASS, MODELS, build
from benchmarks.contest import commit
from benchmarks.honest import digits
from winnrobust.attacks import AA_FAST, NORMS, NormName, Run, aa_fast, run_attack
from winnrobust.runtime.files import write_json
from winnrobust.runtime.readers import read_json

VICTIMS = ("mnist-winn", "mnist-pgd-at")
IMAGES = 20
DEFAULT = "as it is"
_wrong_classes = aa_fast.wrong_classes


class Component(NamedTuple):
    """A part of the attack.

    Attributes:
        what: of what it gets less or more.
        usual: how much it has.
        others: how much it is given instead.
        norms: in which it works.
        change: how much -> what changes it meanwhile; None where it is a setting of the attack.
    """

    what: str
    usual: int
    others: tuple[int, ...]
    norms: tuple[NormName, ...] = ("linf", "l2", "l1")
    change: Callable[[int], AbstractContextManager[Any]] | None = None


def constant(name: str) -> Callable[[int], AbstractContextManager[Any]]:
    return lambda value: patch.object(aa_fast, name, value)


def first_classes(count: int) -> AbstractContextManager[Any]:
    return patch.object(aa_fast, "wrong_classes", lambda progress: _wrong_classes(progress)[:count])


COMPONENTS = {
    "steps": Component("steps of an ascent", 7, (3, 14)),
    "queries": Component("queries of the search", 1000, (1, 3000)),
    "targets": Component("classes aimed at", 9, (1, 3), change=first_classes),
    "promising": Component(
        "classes aimed at again", aa_fast.PROMISING, (1, 4), ("linf", "l2"),
        constant("PROMISING"),
    ),
    "longer": Component(
        "times as long, the second time", aa_fast.LONGER, (2, 10), ("linf", "l2"),
        constant("LONGER"),
    ),
    "larger": Component(
        "times epsilon, where the last ascents begin", 3, (1, 5), ("l2",),
        lambda value: patch.dict(aa_fast.LARGER, {"l2": value}),
    ),
}  # fmt: skip


def measure(name: str, norm: NormName, component: str, value: int, work: Path) -> dict[str, Any]:
    """Attack a model with as much of a component: the images broken, and the passes of an image."""
    file = work / "components" / f"{name}-{norm}-{IMAGES}-{component}-{value}.json"
    if not file.exists():
        network, (images, labels) = build(name, work), digits("test")
        assert network is not None
        part = COMPONENTS.get(component)
        changed = part.change(value) if part and part.change else nullcontext()
        attack = AA_FAST.in_norm(norm)
        attack = attack(**{component: value}) if part and not part.change else attack
        epsilon = MODELS[name].epsilons[norm][0]
        with changed:
            found = run_attack(
                attack, network.eval(), images[:IMAGES], labels[:IMAGES], [epsilon], run=Run()
            )[0]  # fmt: skip
        with torch.no_grad():
            broken = network(found.images).argmax(1) != labels[:IMAGES]
        write_json(file, {
            "model": name, "norm": norm, "epsilon": epsilon, "component": component,
            "value": value, "n": IMAGES, "broken": broken.tolist(),
            "gradients": found.gradients.tolist(), "queries": found.queries.tolist(),
            "commit": commit(),
        })  # fmt: skip
        click.echo(f"{file.stem}: {int(broken.sum())} of {IMAGES}")
    return dict(read_json(file))


def curves(work: Path) -> pd.DataFrame:
    """A row for every model, norm, component and how much it has; what it has usually included."""
    rows = []
    for name in VICTIMS:
        for norm in ("linf", "l2", "l1"):
            usual = measure(name, norm, DEFAULT, 0, work)
            for component, part in COMPONENTS.items():
                if norm not in part.norms:
                    continue
                found = {
                    value: measure(name, norm, component, value, work) for value in part.others
                }
                for value, each in sorted((found | {part.usual: usual}).items()):
                    rows.append(row(each) | {"component": component, "value": value})
    return pd.DataFrame(rows)


def row(found: dict[str, Any]) -> dict[str, Any]:
    about = {name: found[name] for name in ("model", "norm", "epsilon", "component", "value", "n")}
    passes = GRADIENT_PASS * Tensor(found["gradients"]) + Tensor(found["queries"])
    return about | {"broken": sum(found["broken"]), "passes": float(passes.mean())}


def stopped(found: dict[str, Any]) -> pd.DataFrame:
    """Error and cost of the attack as it is, had each image been left after so many passes."""
    passes = GRADIENT_PASS * Tensor(found["gradients"]) + Tensor(found["queries"])
    broken = torch.tensor(found["broken"])
    most = torch.cat([torch.zeros(1), passes.unique()])
    return pd.DataFrame({
        "passes": [float(passes.clamp(max=each).mean()) for each in most],
        "error": [float((broken & (passes <= each)).float().mean()) for each in most],
    })  # fmt: skip


def together(table: pd.DataFrame) -> pd.DataFrame:
    """The models together: a row for every norm, component and how much it has."""
    found = table.groupby(["norm", "component", "value"], sort=False)
    return found.agg(n=("n", "sum"), broken=("broken", "sum"), passes=("passes", "mean"))


def bends(table: pd.DataFrame) -> pd.DataFrame:
    """Where each curve bends: the cheapest that breaks as many images as the dearest, or more."""
    rows = []
    for (norm, component), part in together(table).groupby(["norm", "component"], sort=False):
        ordered = part.sort_values("passes")
        enough = ordered[ordered.broken >= ordered.broken.iloc[-1]].iloc[0]
        usual = part.xs(COMPONENTS[str(component)].usual, level="value").iloc[0]
        rows.append({
            "norm": NORMS[str(norm)].display, "component": COMPONENTS[str(component)].what,
            "tried (images broken, passes)": "; ".join(
                f"{key[2]}: {each.broken:.0f}, {each.passes:.0f}" for key, each in part.iterrows()
            ),
            "as it is": COMPONENTS[str(component)].usual,
            "bends at": enough.name[2],
            "more images with the most": f"{ordered.broken.iloc[-1] - usual.broken:+.0f}",
            "for times the passes": f"{ordered.passes.iloc[-1] / usual.passes:.2f}",
        })  # fmt: skip
    return pd.DataFrame(rows)


def figure_of(table: pd.DataFrame, work: Path) -> Figure:
    """Error over cost in each norm, a line per component; in black the attack as it is, stopped."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    for axes, (norm, part) in zip(
        figure.subplots(1, 3), together(table).groupby("norm", sort=False), strict=True
    ):
        for component, line in part.groupby("component", sort=False):
            ordered = line.sort_values("passes")
            axes.plot(ordered.passes, 100 * ordered.broken / ordered.n, marker="o", markersize=4,
                      label=COMPONENTS[str(component)].what)  # fmt: skip
        found = [measure(name, str(norm), DEFAULT, 0, work) for name in VICTIMS]  # type: ignore[arg-type]
        pooled = {
            key: [value for each in found for value in each[key]]
            for key in ("broken", "gradients", "queries")
        }
        curve = stopped(pooled)
        axes.step(curve.passes, 100 * curve.error, where="post", color="black", linewidth=1,
                  label="as it is, stopped sooner")  # fmt: skip
        axes.set(
            xlabel="forward passes of an image (a gradient is 2.5)", title=NORMS[str(norm)].display
        )
        axes.grid(color="#dddddd", linewidth=0.6)
    figure.axes[0].set_ylabel("error, %")
    figure.axes[1].legend(frameon=False, fontsize=7)
    return figure
