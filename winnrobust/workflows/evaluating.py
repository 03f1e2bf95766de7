"""From Python: anyone's models and images in, an `Evaluation` to ask out."""

import html
import shutil
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from winnrobust.attacks import Attack, NormName, Step, as_attack
from winnrobust.data.streams import First, ImageStream, open_stream
from winnrobust.evaluation import EvaluationSettings, read_outcomes, run
from winnrobust.evaluation.checks import as_floats, checked_data, checked_models
from winnrobust.evaluation.one_attack import MODEL, Attacked, attack_images, find_in_norm
from winnrobust.evaluation.outcomes import CLEAN, Case, per_image
from winnrobust.evaluation.prediction import check_classes
from winnrobust.evaluation.settings import DEFAULT_EPSILONS
from winnrobust.evaluation.state import devices_of, frozen, own_randomness
from winnrobust.evaluation.statistics import WORST_CASE, worst_case
from winnrobust.external.attacks import foreign_attack
from winnrobust.external.conventions import check_shape_taken, doubts
from winnrobust.external.preprocessing import Preprocessing
from winnrobust.reporting import (
    FORMATS,
    Metadata,
    Model,
    Results,
    load_results,
    write_metadata,
    write_report,
    write_results,
)
from winnrobust.reporting.figures import figures_of
from winnrobust.reporting.table import plain, to_html
from winnrobust.reporting.tables import headline_table
from winnrobust.reporting.verdict import Verdict
from winnrobust.runtime import distributed
from winnrobust.runtime.devices import device_of, resolve_device
from winnrobust.runtime.errors import EvaluationWarning, InputError
from winnrobust.runtime.files import new_folder, replacing, write_json
from winnrobust.runtime.progress import show_progress
from winnrobust.runtime.settings import shown
from winnrobust.workflows.evaluation_folder import evaluation_folder
from winnrobust.workflows.loading import load

FEW = 256
"""Images by which it is judged whether a model is used as it should be."""

FEWEST = 30
"""With fewer images nothing is judged."""

AnyAttack = str | Attack | Callable[..., Any]
"""A name, an attack, a function (model, images, labels, epsilon) -> images, or an attack of
foolbox's, torchattacks' or ART's."""


# --- what was found ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Evaluation:
    """What attacks on models found; every number is a query on the outcome of every image.

    Where one model was given by itself, what is told of each model is told of it alone.

    Attributes:
        folder: the results folder, which the command line reads, too. Unless a folder was asked for
            it goes when this object goes; `save` keeps it.
        results: the folder in memory, as reports see it.
        alone: whether one model was given by itself.

    >>> import torch, winnrobust
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 2, bias=False))
    >>> _ = torch.nn.init.eye_(model[1].weight)
    >>> images = torch.tensor([[0.9, 0.1], [0.6, 0.5]]).view(2, 1, 1, 2)
    >>> found = winnrobust.evaluate(model, images, torch.tensor([0, 0]), ["fgsm"], [0.1])
    >>> found.table[["attack", "epsilon", "accuracy"]]
           attack  epsilon  accuracy
    0        none      0.0       1.0
    1        fgsm      0.1       0.5
    2  worst case      0.1       0.5
    >>> found.outcomes.query("attack == 'fgsm'")[["image", "correct", "gradients"]]
       image  correct  gradients
    2      0     True          1
    3      1    False          1
    """

    folder: Path
    results: Results
    alone: bool = False

    @cached_property
    def models(self) -> list[str]:
        """The names of the models."""
        return [model["name"] for model in self.results.models]

    @cached_property
    def outcomes(self) -> pd.DataFrame:
        """What every model said of every image, clean and attacked; `read_outcomes` has more."""
        return read_outcomes(self.folder)

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row per model and attack: the share of images that it gets right, with its interval.

        `attack` is "none" for the images themselves, "worst case" for all attacks of a norm that
        had the same access to all models: accuracy is the robust accuracy there. `not_attacked`
        counts images that the attack did not get done with and that count as right.
        """
        rows = [
            (name, *case, self.results.n, 1 - e.value, 1 - e.high, 1 - e.low, e.not_attacked)
            for (case, name), e in self.results.errors.items()
        ]
        columns = ["model", *Case._fields, "n", "accuracy", "low", "high", "not_attacked"]
        return pd.DataFrame(rows, columns=columns)

    @property
    def clean_accuracy(self) -> Any:
        """The share of images that a model gets right: a float, or a Series by model."""
        found = self.results.summary.clean.set_index("model").error.rsub(1)
        return float(found.iloc[0]) if self.alone else found.rename("clean accuracy")

    @property
    def robust_accuracy(self) -> Any:
        """The share of images that a model gets right and that nothing breaks, in the worst case.

        A row for each model, a column for each norm and epsilon; of one model alone, or at one
        epsilon, a Series; a float where it is one number.
        """
        found = self.worst_case.pivot(index="model", columns=["norm", "epsilon"])["robust_accuracy"]
        found = found.reindex(self.models) if len(found) else found
        if found.shape[1] == 1:
            column = found.iloc[:, 0].rename("robust accuracy")
            return float(column.iloc[0]) if self.alone else column
        return found.iloc[0].rename("robust accuracy") if self.alone else found

    @property
    def worst_case(self) -> pd.DataFrame:
        """A row per norm, epsilon and model: robust accuracy, with its interval, and the attacks.

        An image counts that is right without attack and that no attack of the norm breaks at this
        epsilon or a smaller one.
        """
        return self.results.summary.robust

    @property
    def transfer(self) -> pd.DataFrame:
        """A row per attack, epsilon, source and target: who errs on whose adversarial examples."""
        return self.results.summary.transfer

    @property
    def paired(self) -> pd.DataFrame:
        """A row per attack, epsilon and two models: who errs alone, and McNemar's test of it."""
        return self.results.summary.paired

    @property
    def verdict(self) -> str:
        """The headline, in a sentence."""
        return Verdict(self.results).line

    def broken(self, attack: str = WORST_CASE, epsilon: float | None = None) -> Any:
        """Tell for every image whether a model is wrong about it under an attack on the model.

        Args:
            attack: its name; "none" for the images themselves, "worst case" for all attacks.
            epsilon: which, where there are several.

        Returns:
            (n,) bool, or a dict of them by model. Images that are wrong without attack are broken.

        Raises:
            InputError: there was no such attack.
        """
        case = self._case(attack, epsilon)
        found = per_image(self.folder)
        masks = {}
        for name in self.models:
            if case.attack == WORST_CASE:
                wrong = worst_case(found, self.results.tried[case.level], name)
            else:
                wrong = found.wrong[case, name, name]
            masks[name] = 2 * wrong.astype(np.int64) >= found.draws[name]
        return masks[self.models[0]] if self.alone else masks

    def _case(self, attack: str, epsilon: float | None) -> Case:
        if attack == CLEAN.attack:
            return CLEAN
        levels = [Case(WORST_CASE, *level) for level in self.results.tried]
        known = [*levels, *self.results.cases]
        fitting = [
            case
            for case in known
            if case.attack == attack and (epsilon is None or np.isclose(case.epsilon, epsilon))
        ]
        if len(fitting) == 1:
            return fitting[0]
        listed = ", ".join(f"{case.attack} {case.epsilon:g}" for case in known)
        at = "" if epsilon is None else f" at {epsilon:g}"
        if fitting:
            raise InputError(f"'{attack}'{at} was done at several epsilons or norms: {listed}")
        raise InputError(f"there is no attack '{attack}'{at}; there are {listed}")

    def plot(self, kind: str | None = None) -> Figure:
        """Draw a figure.

        Args:
            kind: "accuracy", "curves" (over several epsilons), "distances" (of minimum-norm
                attacks) or "examples"; None: curves where there are some, else accuracy.

        Raises:
            InputError: there is nothing to draw.
        """
        drawn = figures_of(self.results)
        chosen = kind or ("curves" if "curves" in drawn else "accuracy")
        if chosen not in drawn:
            raise InputError(
                f"there is no figure '{chosen}'; there are {', '.join(drawn) or 'none'}"
            )
        return drawn[chosen]

    def save(self, folder: Path | str) -> Path:
        """Write the results folder, tables and all, as `winnrobust attack` does.

        Raises:
            InputError: there is something else already.
        """
        place = Path(folder)
        with new_folder(place) as temporary:
            shutil.copytree(self.folder, temporary, dirs_exist_ok=True)
            write_results(temporary, self.results.manifest)
        return place

    def report(self, file: Path | str) -> Path:
        """Write the report: a page, or tables and numbers for other programs, by the suffix.

        Args:
            file: .html, .tex, .csv or .json; a name without suffix is a folder for all of them.

        Raises:
            InputError: another suffix.
        """
        place = Path(file)
        names = {".html": "index.html", ".tex": "table.tex", ".csv": "table.csv"}
        names[".json"] = "report.json"
        if not place.suffix:
            place.mkdir(parents=True, exist_ok=True)
            write_report([self.folder], place, FORMATS)
            return place
        if place.suffix not in names:
            raise InputError(f"a report is a file {', '.join(names)}, or a folder, not {place}")
        with TemporaryDirectory() as folder:
            write_report([self.folder], Path(folder), [place.suffix[1:]])
            place.parent.mkdir(parents=True, exist_ok=True)
            with replacing(place) as temporary:
                shutil.copyfile(Path(folder) / names[place.suffix], temporary)
        return place

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(plain(self.verdict))}</p>\n{to_html(headline_table(self.results))}"

    def __repr__(self) -> str:
        """Say the verdict, and what was done."""
        return f"<Evaluation of {', '.join(self.models)}, {self.results.n} images: {self.verdict}>"

    # Until version 0.1 `evaluate` returned the table that is `transfer` now.

    def __getattr__(self, name: str) -> Any:
        """Ask the transfer table, as programs written for version 0.1 do."""
        known = not name.startswith("_") and "results" in vars(self)
        if not known or not hasattr(self.transfer, name):
            raise AttributeError(f"an Evaluation has no '{name}'")
        return getattr(self._as_table(), name)

    def __getitem__(self, key: Any) -> Any:
        """Ask the transfer table, as programs written for version 0.1 do."""
        return self._as_table()[key]

    def __len__(self) -> int:
        """Return the rows of the transfer table, as programs written for version 0.1 expect."""
        return len(self.transfer)

    def __bool__(self) -> bool:
        """There is one."""
        return True

    def _as_table(self) -> pd.DataFrame:
        warnings.warn(
            "winnrobust.evaluate returns an Evaluation; the table that it returned is .transfer",
            FutureWarning,
            stacklevel=3,
        )
        return self.transfer


def read_evaluation(folder: Path | str) -> Evaluation:
    """Read the results folder of an evaluation, from Python or the command line, older ones too.

    Raises:
        InputError: it holds no finished evaluation.

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory, mkdtemp
    >>> import torch, winnrobust
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 2))
    >>> images, labels = torch.rand(4, 1, 1, 2), torch.tensor([0, 1, 0, 1])
    >>> with TemporaryDirectory() as folder:
    ...     _ = winnrobust.evaluate({"mine": model}, images, labels).save(Path(folder) / "results")
    ...     winnrobust.read_evaluation(Path(folder) / "results").models
    ['mine']
    """
    results = load_results(Path(folder))
    return Evaluation(Path(folder), results, alone=False)


# --- finding out ------------------------------------------------------------------------------


def evaluate(
    models: Any,
    images: Any,
    labels: Any = None,
    attacks: Sequence[AnyAttack] | Mapping[str, AnyAttack] = ("fgsm",),
    epsilons: Sequence[float] = DEFAULT_EPSILONS["linf"],
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    *,
    epsilons_l2: Sequence[float] = DEFAULT_EPSILONS["l2"],
    limit: int | None = None,
    folder: Path | str | None = None,
    progress: bool | Callable[[int, int], None] = False,
    callback: Callable[[Step], None] | None = None,
    **settings: Any,
) -> Evaluation:
    """Attack models, let every model judge every example anew, and keep all outcomes.

    Models are given back as they were: mode, gradients, dtype, device and hooks. What speaks
    against the way in which a model is used is an `EvaluationWarning`.

    Args:
        models: a torch module that takes (N, C, H, W) float32 in [0, 1] and returns logits (N, K),
            or an object with `.logits`; or a dict of them by name. What `load` takes stands for
            the module that it loads.
        images: (N, C, H, W), uint8, or floating point in [0, 1]; or what has its labels: a torch
            `Dataset` or `DataLoader`, a Hugging Face dataset, a folder with a folder for each
            class, or an `.npz` file. They are read batch after batch, in their order.
        labels: (N,) integers, 0 .. K - 1, where the images are an array.
        attacks: names ('winnrobust attacks' lists them; "pgd(steps=100, restarts=5)" has settings
            of its own), attacks (`winnrobust.attacks.PGD(steps=100)`), functions (model, images,
            labels, epsilon) -> images, or attacks of foolbox's, torchattacks' or ART's; or a dict
            of those by the name that tables shall call them.
        epsilons, epsilons_l2: bounds of the attacks in L-infinity and in L2, in the units of the
            images.
        batch_size: images at once; None: the more, the less time a batch takes.
        device: where to compute; None leaves every model where it is.
        limit: attack the first so many images only.
        folder: where to keep the results, as `winnrobust attack --out`: called again with it, an
            interrupted evaluation goes on.
        progress: True shows a bar; or what is called with (done, total), where an image counts
            once for every attack on every model.
        callback: called with a `Step` after each gradient step; see `winnrobust.Step`. On a GPU
            it makes every step wait.
        settings: others of `winnrobust.evaluation.EvaluationSettings`: `steps`, `restarts`,
            `queries`, `loss`, `eot`, `targeted`, `seconds`, `seed`, `cross`, ...

    Raises:
        InputError: an argument or a model cannot be used, or an attack left the ball.

    >>> import torch, winnrobust
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 2, bias=False))
    >>> _ = torch.nn.init.eye_(model[1].weight)  # says which pixel is brighter
    >>> images = torch.tensor([[0.9, 0.1], [0.6, 0.5], [0.3, 0.8]]).view(3, 1, 1, 2)
    >>> found = winnrobust.evaluate(model, images, torch.tensor([0, 0, 1]), ["pgd"], [0.1])
    >>> found.clean_accuracy, round(found.robust_accuracy, 3)
    (1.0, 0.667)
    >>> found.broken("pgd", 0.1)
    array([False,  True, False])
    """
    nets = _modules(models)
    data = _data(images, labels, limit)
    chosen = EvaluationSettings(
        attacks=as_attacks(attacks),
        epsilons={"linf": epsilons, "l2": epsilons_l2},
        batch_size=batch_size,
        **{"num_examples": 8 if folder else 0} | settings,
    )
    place = None if device is None else resolve_device(str(device))
    warn_of_doubts(nets, data, place)
    metadata = _metadata(nets, data, chosen)
    out = Path(distributed.broadcast(folder or mkdtemp(prefix="winnrobust-")))
    where = place or device_of(next(iter(nets.values())))
    with evaluation_folder(out, metadata, where, "the same call") as sessions:
        with _shown(progress) as tell:
            run(
                nets, data, None, chosen, folder=out, device=place, progress=tell, callback=callback
            )
        if distributed.is_main_process():
            _finish(out, metadata, sessions, tables=folder is not None)
        distributed.barrier()
    found = Evaluation(out, load_results(out), alone=not isinstance(models, Mapping))
    if folder is None:
        weakref.finalize(found, shutil.rmtree, out, ignore_errors=True)
    return found


def compare(
    first: Any, second: Any, images: Any, labels: Any = None, **settings: Any
) -> Evaluation:
    """Tell which of two models is more robust, on the same images and by the same attacks.

    Args:
        first, second: as a model of `evaluate`; or a dict of one model, which gives it a name.
        images, labels, settings: as for `evaluate`.

    Returns:
        An `Evaluation` of both: `.verdict` says who is more robust and whether it is beyond noise;
        `.paired` has McNemar's test of every attack.

    Raises:
        InputError: as `evaluate`.

    >>> import torch, winnrobust
    >>> bold = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 2, bias=False))
    >>> _ = torch.nn.init.eye_(bold[1].weight)
    >>> images = torch.rand(40, 1, 1, 2)
    >>> labels = images.flatten(1).argmax(1)
    >>> found = winnrobust.compare(bold, {"again": bold}, images, labels, epsilons=[0.1])
    >>> found.models, found.paired.p_value.tolist()
    (['first', 'again'], [1.0, 1.0, 1.0])
    """
    named: dict[str, Any] = {}
    for name, model in (("first", first), ("second", second)):
        named |= model if isinstance(model, Mapping) else {name: model}
    if len(named) != 2:
        raise InputError("the two models must have different names")
    return evaluate(named, images, labels, **settings)


def attack(
    model: Any,
    images: Any,
    labels: Any = None,
    attack: AnyAttack = "pgd",
    *,
    epsilon: float | None = None,
    norm: NormName | None = None,
    targets: Tensor | np.ndarray | str | None = None,
    eot: int = 1,
    seed: int = 0,
    surrogates: Mapping[str, nn.Module] | None = None,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    progress: bool | Callable[[int, int], None] = False,
    callback: Callable[[Step], None] | None = None,
    **settings: Any,
) -> Attacked:
    """Make adversarial examples, each checked and judged anew by the model as given.

    Args:
        model, images, labels, device: as for `evaluate`, one model.
        attack: a name, an attack or a function, as for `evaluate`.
        epsilon: bound in the attack's norm, in the units of the images; a minimum-norm attack does
            without.
        norm: "linf" or "l2", where the name stands for attacks in both: "pgd". None: the attack's.
        targets: (N,) the wrong classes that the model shall see, or how they are chosen: "random"
            or "least-likely". None: any wrong class will do.
        eot: draws averaged in every step and decision, for models that answer at random.
        seed: of all random numbers, which belong to an image and not to its batch.
        surrogates: models by name, for the attack "transfer:NAME".
        batch_size: images at once; None is 128. Changes no result, up to rounding.
        progress: True shows a bar; or what is called with (images done, images in all).
        callback: as for `evaluate`.
        settings: the attack's own, such as `steps`, `restarts` or `loss`.

    Returns:
        `.images`, `.is_adversarial`, `.distance`, `.gradients`, `.queries`, `.predictions`.

    Raises:
        InputError: an argument or the model cannot be used, or the attack left the ball.

    >>> import torch, winnrobust
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 2, bias=False))
    >>> _ = torch.nn.init.eye_(model[1].weight)
    >>> images = torch.tensor([[0.9, 0.1], [0.6, 0.5]]).view(2, 1, 1, 2)
    >>> winnrobust.attack(model, images, torch.tensor([0, 0]), "pgd", epsilon=0.1, steps=5)
    <pgd(steps=5) at Linf 0.1: 1 of 2 adversarial>
    """
    chosen = _attack(attack, norm)
    net = _module(model)
    data = checked_data(images, labels) if labels is not None else _data(images, None, None)
    with _shown(progress) as tell:
        return attack_images(
            net, data, None, chosen(**settings) if settings else chosen, epsilon, targets=targets,
            eot=eot, seed=seed, surrogates=surrogates, batch_size=batch_size, device=device,
            progress=tell, callback=callback,
        )  # fmt: skip


# --- what both need ---------------------------------------------------------------------------


def as_attacks(given: Any) -> list[str | Attack]:
    """Turn what a user calls attacks into attacks; names that stand for themselves stay names.

    Args:
        given: a sequence, or a dict by name.

    Raises:
        InputError: one is none.
    """
    if isinstance(given, str) or not isinstance(given, Mapping | Sequence):
        raise InputError(f"attacks must be a list of names such as ['fgsm'], not {shown(given)}")
    if not isinstance(given, Mapping):
        return [each if isinstance(each, str) else _attack(each) for each in given]
    return [replace(_attack(each), name=str(name)) for name, each in given.items()]


def _attack(given: AnyAttack, norm: NormName | None = None) -> Attack:
    """Return one attack, in that norm where its name stands for several."""
    if isinstance(given, str):
        return find_in_norm(given, norm)
    made = given if isinstance(given, Attack) else foreign_attack(given)
    made = made or as_attack(given, norm=norm or "linf")  # type: ignore[arg-type]
    if norm not in (None, made.norm):
        raise InputError(f"attack '{made.name}' bounds the norm {made.norm}, not {norm}")
    return made


def _module(model: Any) -> nn.Module:
    return load(model) if isinstance(model, str | Path) else model


def _modules(models: Any) -> dict[str, nn.Module]:
    """Return the modules by name; one that was given without a name is `MODEL`."""
    if isinstance(models, str | Path | nn.Module):
        models = {MODEL: models}
    if isinstance(models, Mapping):
        models = {name: _module(model) for name, model in models.items()}
    return checked_models(models)


def _data(images: Any, labels: Any, limit: int | None) -> ImageStream:
    """Return images with their labels, checked as they are read."""
    if labels is None and not isinstance(images, Tensor | np.ndarray):
        images = open_stream(images)
    data = checked_data(images, labels)
    return data if limit is None else First(data, limit)


@contextmanager
def _shown(progress: bool | Callable[[int, int], None]) -> Iterator[Any]:
    """Yield what is to be called with (done, total): a bar's function, the caller's, or None."""
    if progress is True:
        with show_progress("attack", "image") as bar:
            yield bar
    else:
        yield progress or None


def warn_of_doubts(
    models: Mapping[str, nn.Module], data: ImageStream, device: torch.device | None
) -> None:
    """Warn of what speaks against the way in which models are used.

    Raises:
        InputError: a model does not take the images.
    """
    head = data.batch(0, FEW)
    images = as_floats(head.images)
    said: list[str] = []
    with frozen(models.values(), device), own_randomness(devices_of(models), 0, "doubts"):
        for name, model in models.items():
            check_shape_taken(name, model, images[:2])
        check_classes(models, images[:2], head.labels if data.labels is None else data.labels)
        for name, model in models.items():
            said += doubts(name, model, Preprocessing(), data)
    # A few images tell nothing.
    for doubt in said if len(images) >= FEWEST else ():
        warnings.warn(doubt, EvaluationWarning, stacklevel=3)


def _metadata(
    models: Mapping[str, nn.Module], data: ImageStream, settings: EvaluationSettings
) -> Metadata:
    """Return what results.json says before anything is attacked."""
    rows = [_row(name, model) for name, model in models.items()]
    decisive = settings.decisive()
    return Metadata(
        schema=3, status="running", dataset="data", split="test", n=len(data), limit=None,
        settings=decisive, models=rows, what={"models": [*models], "settings": decisive},
    )  # fmt: skip


def _row(name: str, model: nn.Module) -> Model:
    group, _, seed = name.partition("@")
    kind = type(model)
    return Model(
        name=name, group=group, method=None, arch=None, epoch=None, weights_sha256=None,
        path=f"{kind.__module__}.{kind.__qualname__}",
        parameters=sum(each.numel() for each in model.parameters()) or None,
        seed=int(seed) if seed.isdecimal() else None,
    )  # fmt: skip


def _finish(out: Path, metadata: Metadata, sessions: list[dict[str, Any]], tables: bool) -> None:
    """Make a whole results folder of outcomes; tables of one that nobody looks at can wait."""
    manifest = sessions[0] | {"resumed": sessions[1:]}
    if tables:
        write_results(out, manifest)
    else:
        write_json(out / "manifest.json", manifest)
        write_metadata(out, metadata.model_copy(update={"status": "complete"}))
