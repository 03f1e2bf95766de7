"""From Python: is a model robust, or did the attack fail?"""

import html
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch

from winnrobust.evaluation import diagnosis
from winnrobust.evaluation.diagnosis.next_steps import next_steps, suitable_attacks
from winnrobust.evaluation.threats import defaults_for
from winnrobust.reporting.table import plain
from winnrobust.runtime.devices import resolve_device
from winnrobust.workflows.given import labelled, modules_of, shown_progress, warn_of_doubts

FEW = 256
"""Images are enough to see signs of false robustness."""


@dataclass(frozen=True)
class Diagnosis:
    """Signs that attacks on a model fail, so that it only looks robust.

    Attributes:
        table: a row per model and indicator, with its verdict and the evidence in a sentence.
        alone: whether one model was given by itself.

    >>> import torch, winnrobust
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 2, bias=False))
    >>> _ = torch.nn.init.eye_(model[1].weight)  # says which pixel is brighter
    >>> images = torch.rand(100, 1, 1, 2, generator=torch.Generator().manual_seed(0))
    >>> found = winnrobust.diagnose(model, images, images.flatten(1).argmax(1))
    >>> found.overall
    'ok'
    >>> found.table.indicator.tolist()[:3]
    ['train mode', 'random answers', 'gradients']
    """

    table: pd.DataFrame
    alone: bool = False

    @property
    def overall(self) -> Any:
        """`ok`, `suspicious`, `broken` or `not tested`; of several models a dict by name.

        >>> found.overall
        'ok'
        """
        return self._each(dict(diagnosis.overall(self.table)))

    @property
    def next_steps(self) -> Any:
        """What to do, a list of lines, the gravest first; of several models a dict by name.

        >>> found.next_steps  # doctest: +ELLIPSIS
        ['nothing speaks against these attacks; ...']
        """
        names = self.table.model.unique()
        return self._each({name: next_steps(self.table, name) for name in names})

    @property
    def attacks(self) -> list[str]:
        """The attacks that suit the signs, to be given to `evaluate`; none without a sign.

        >>> found.attacks
        []
        """
        return suitable_attacks(self.table)

    def _each(self, found: dict[str, Any]) -> Any:
        return next(iter(found.values())) if self.alone else found

    def __repr__(self) -> str:
        """Say the verdict and the signs."""
        signs = self.table[self.table.verdict.isin(("suspicious", "broken"))]
        listed = "; ".join(f"{row.indicator}: {row.evidence}" for row in signs.itertuples())
        return f"<Diagnosis: {self.overall}{f' ({listed})' if listed else ''}>"

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(plain(self.overall))}</p>\n{self.table.to_html(index=False)}"


def diagnose(
    models: Any,
    images: Any,
    labels: Any = None,
    *,
    epsilon: float | None = None,
    limit: int | None = FEW,
    seed: int = 0,
    batch_size: int | None = None,
    eot: int = 1,
    device: torch.device | str | None = None,
    progress: bool | Callable[[int, int], None] = False,
) -> Diagnosis:
    """Look for signs that attacks on a model fail, so that it only looks robust.

    Fifteen indicators are measured, by attacks of its own in L-infinity: at most 290 gradients and
    60 answers an image, and 1,000 answers to each of the first 64.

    Args:
        models, images, labels: as for `evaluate`. Of several models, examples made on one are tried
            on the others, too.
        epsilon: the L-infinity bound in question, above 0 and at most 1; None: 8/255 for small
            images, 4/255 for others (`evaluation.threats`).
        limit: take the first so many images only; None for all.
        seed: of all random draws, the models' own among them.
        batch_size: images at once; None is 64.
        eot: draws that all attacks average over, for models that answer at random.
        device: where to compute; None leaves every model where it is.
        progress: True shows a bar; or what is called with (done, total).

    Returns:
        `.overall`, `.table`, `.next_steps`, `.attacks`.

    Raises:
        InputError: an argument or a model cannot be used.

    >>> import torch, winnrobust
    >>> class Rounded(torch.nn.Module):
    ...     def forward(self, images):  # an answer in steps has no gradient
    ...         return (images.flatten(1) * 4).round()
    >>> images = torch.rand(100, 1, 1, 2, generator=torch.Generator().manual_seed(0))
    >>> labels = (images.flatten(1) * 4).round().argmax(1)
    >>> found = winnrobust.diagnose(Rounded(), images, labels)
    >>> found.overall
    'broken'
    >>> found.next_steps[0]  # doctest: +ELLIPSIS
    'gradients: look for rounding, detach() or a saturated softmax inside; ...'
    >>> found.attacks
    ['aa-fast', 'bpda:auto:aa-fast']
    """
    nets = modules_of(models)
    data = labelled(images, labels, limit)
    place = None if device is None else resolve_device(str(device))
    warn_of_doubts(nets, data, place)
    few = data.batch(0, len(data))
    if epsilon is None:
        (epsilon,) = defaults_for(None, few.images.shape[1:]).epsilons["linf"]
    with shown_progress(progress, "diagnose") as tell:
        table = diagnosis.diagnose(
            nets, few.images, few.labels, epsilon=epsilon, seed=seed, batch_size=batch_size,
            eot=eot, device=place, progress=tell,
        )  # fmt: skip
    return Diagnosis(table, alone=not isinstance(models, Mapping))
