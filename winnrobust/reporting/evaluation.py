"""What an evaluation found, from Python: numbers, masks, figures, pages."""

import html
import shutil
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from winnrobust.attacks.norms import epsilon_text
from winnrobust.evaluation.outcomes import CLEAN, Case, PerImage, per_image, read_outcomes
from winnrobust.evaluation.statistics import WORST_CASE, worst_case
from winnrobust.reporting.figures import figures_of
from winnrobust.reporting.folder import load_results, write_results
from winnrobust.reporting.report import FORMATS, write_report
from winnrobust.reporting.results import Results
from winnrobust.reporting.table import plain, to_html
from winnrobust.reporting.tables import headline_table
from winnrobust.reporting.verdict import Verdict
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.files import new_folder, replacing


@dataclass(frozen=True)
class Evaluation:
    """What attacks on models found; every number is a query on the outcome of every image.

    Where one model was given by itself, results are of it alone.

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

    The examples below go on from here.
    """

    folder: Path
    results: Results
    alone: bool = False

    @cached_property
    def models(self) -> list[str]:
        """The names of the models.

        >>> found.models
        ['model']
        """
        return [model["name"] for model in self.results.models]

    @cached_property
    def outcomes(self) -> pd.DataFrame:
        """What every model said of every image, clean and attacked; `read_outcomes` has more.

        >>> found.outcomes.query("not correct")[["attack", "image", "label", "prediction"]]
          attack  image  label  prediction
        3   fgsm      1      0           1
        """
        return read_outcomes(self.folder)

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row per model and attack: the share of images that it gets right, with its interval.

        `attack` is "none" for the images themselves, "worst case" for all attacks of a norm that
        had the same access to all models: accuracy is the robust accuracy there. `not_attacked`
        counts images that the attack did not get done with and that count as right.

        >>> found.table.query("attack == 'fgsm'")[["model", "accuracy", "low", "high"]].round(2)
           model  accuracy   low  high
        1  model       0.5  0.09  0.91
        """
        rows = [
            (name, *case, self.results.n, 1 - e.value, 1 - e.high, 1 - e.low, e.not_attacked)
            for (case, name), e in self.results.errors.items()
        ]
        columns = ["model", *Case._fields, "n", "accuracy", "low", "high", "not_attacked"]
        return pd.DataFrame(rows, columns=columns)

    @property
    def clean_accuracy(self) -> Any:
        """The share of images that a model gets right: a float, or a Series by model.

        >>> found.clean_accuracy
        1.0
        """
        found = self.results.summary.clean.set_index("model").error.rsub(1)
        return float(found.iloc[0]) if self.alone else found.rename("clean accuracy")

    @property
    def robust_accuracy(self) -> Any:
        """The share of images that a model gets right and that nothing breaks, in the worst case.

        A row for each model, a column for each norm and epsilon; of one model alone, or at one
        epsilon, a Series; a float where it is one number.

        >>> found.robust_accuracy
        0.5
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

        >>> found.worst_case[["norm", "epsilon", "robust_accuracy", "attacks"]]
           norm  epsilon  robust_accuracy attacks
        0  linf      0.1              0.5    fgsm
        """
        return self.results.summary.robust

    @property
    def mean_corruption_error(self) -> Any:
        """The error over all corruptions and severities: a float, or a Series by model.

        `.results.summary.corruption` has it relative to each other model, too.

        >>> constant = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2))
        >>> _ = constant[1].weight.data.zero_(), constant[1].bias.data.copy_(torch.tensor([0, 2]))
        >>> bright, labels = torch.full((2, 1, 8, 8), 0.9), torch.tensor([0, 1])
        >>> winnrobust.evaluate(
        ...     constant, bright, labels, threats="corruptions:1"
        ... ).mean_corruption_error
        0.5
        """
        found = self.results.summary.corruption
        own = found[found.model == found.reference].set_index("model").mean_error
        if not len(own):
            raise InputError("nothing was corrupted; add the threat corruptions:1-5")
        return float(own.iloc[0]) if self.alone else own.rename("mean corruption error")

    @property
    def transfer(self) -> pd.DataFrame:
        """A row per attack, epsilon, source and target: who errs on whose adversarial examples.

        >>> found.transfer[["attack", "epsilon", "source", "target", "adversarial_error"]]
          attack  epsilon source target  adversarial_error
        0   fgsm      0.1  model  model                0.5
        """
        return self.results.summary.transfer

    @property
    def paired(self) -> pd.DataFrame:
        """A row per attack, epsilon and two models: who errs alone, and McNemar's test of it.

        >>> models = {"mine": model, "tenfold": torch.nn.Sequential(model, torch.nn.Linear(2, 2))}
        >>> two = winnrobust.evaluate(models, images, torch.tensor([0, 0]), ["fgsm"], [0.1])
        >>> two.paired.query("attack == 'fgsm'")[["first", "second", "n"]]
          first   second  n
        1  mine  tenfold  2
        """
        return self.results.summary.paired

    @property
    def verdict(self) -> str:
        """The headline, in a sentence.

        >>> print(found.verdict.partition(" [")[0])
        model has a robust accuracy of 50.0 %
        """
        return Verdict(self.results).line

    @property
    def images(self) -> np.ndarray:
        """The numbers (n,) of the images that were attacked, in the order of `broken`.

        >>> found.images[found.broken("fgsm")]
        array([1])
        """
        return self._per_image.images

    def broken(
        self, attack: str = WORST_CASE, epsilon: float | None = None, norm: str | None = None
    ) -> Any:
        """Tell for every image whether a model is wrong about it under an attack on the model.

        Args:
            attack: its name; "none" for the images themselves, "worst case" for all attacks.
            epsilon, norm: which, where there are several.

        Returns:
            (n,) bool, or a dict of them by model. Images that are wrong without attack are broken.

        Raises:
            InputError: there was no such attack.

        >>> found.broken("none"), found.broken("fgsm")
        (array([False, False]), array([False,  True]))
        """
        case, found = self._case(attack, epsilon, norm), self._per_image
        masks = {}
        for name in self.models:
            if case.attack == WORST_CASE:
                wrong = worst_case(found, self.results.tried[case.level], name)
            else:
                wrong = found.wrong[case, name, name]
            masks[name] = 2 * wrong.astype(np.int64) >= found.draws[name]
        return masks[self.models[0]] if self.alone else masks

    @cached_property
    def _per_image(self) -> PerImage:
        return per_image(self.folder)

    def _case(self, attack: str, epsilon: float | None, norm: str | None) -> Case:
        if attack == CLEAN.attack:
            return CLEAN
        levels = [Case(WORST_CASE, *level) for level in self.results.tried]
        known = [*levels, *self.results.cases, *self.results.corruptions]
        fitting = [
            case
            for case in known
            if case.attack == attack
            and (epsilon is None or np.isclose(case.epsilon, epsilon))
            and norm in (None, case.norm)
        ]
        if len(fitting) == 1:
            return fitting[0]
        listed = ", ".join(f"{case.attack} at {case.level}" for case in known)
        at = "" if epsilon is None else f" at {epsilon_text(epsilon)}"
        at += "" if norm is None else f" in {norm}"
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

        >>> [tick.get_text() for tick in found.plot().axes[0].get_yticklabels()]
        ['model']
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

        >>> from tempfile import mkdtemp
        >>> folder = found.save(mkdtemp() + "/results")
        >>> winnrobust.read_evaluation(folder).verdict == found.verdict
        True
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
            InputError: another suffix, or it cannot be written there.

        >>> from tempfile import mkdtemp
        >>> page = found.report(mkdtemp() + "/report.html")
        >>> "robust accuracy" in page.read_text()
        True
        """
        place = Path(file)
        names = {".html": "index.html", ".tex": "table.tex", ".csv": "table.csv"}
        names[".json"] = "report.json"
        if place.suffix and place.suffix not in names:
            raise InputError(f"a report is a file {', '.join(names)}, or a folder, not {place}")
        try:
            if not place.suffix:
                place.mkdir(parents=True, exist_ok=True)
                write_report([self.folder], place, FORMATS)
                return place
            with TemporaryDirectory() as folder, replacing(place) as temporary:
                write_report([self.folder], Path(folder), [place.suffix[1:]])
                shutil.copyfile(Path(folder) / names[place.suffix], temporary)
        except OSError as error:
            raise InputError(f"cannot write to {place}: {error.strerror or error}") from None
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
