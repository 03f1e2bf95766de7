"""Transfer: examples made on another model, as an attacker without access makes them.

Papernot, McDaniel, Goodfellow: Transferability in Machine Learning, 2016.
"""

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from winnrobust.attacks.base import Attack, AttackResult, Run
from winnrobust.attacks.mifgsm import MIFGSM, mifgsm
from winnrobust.attacks.norms import per_image
from winnrobust.attacks.progress import Progress
from winnrobust.runtime.devices import device_of
from winnrobust.runtime.errors import InputError

PREFIX = "transfer:"
"""Before the name of the model that examples are made on: `transfer:NAME`."""


def transfer_from(name: str) -> Attack:
    """Return the attack that makes its examples on the model called `name` in `Run.surrogates`.

    Under attack by itself, the model `name` meets examples made in the same way.
    """
    return Attack(
        name=f"{PREFIX}{name}",
        norm=MIFGSM.norm,
        access="transfer",
        cost=f"{MIFGSM.cost} of another model",
        summary=(
            f"No access to the model under attack: MI-FGSM on the model '{name}', all steps, and"
            " nothing is chosen by the answers of the model under attack."
        ),
        source="Papernot, McDaniel, Goodfellow 2016, arXiv:1605.07277; Dong et al. 2018",
        function=partial(transfer, surrogate=name),
        targeted=True,
    )


def transfer(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    surrogate: str,
    epsilon: float,
    steps: int = 10,
    run: Run = Run(),
) -> AttackResult:
    """Move images by MI-FGSM on the surrogate, with all its steps.

    What the model under attack gets wrong as it is stays as it is. The examples are made once for
    all models under attack; the first one's result has their costs.

    Args:
        model, images, labels, run: as for every attack (`base.AttackFunction`).
        surrogate: its name in `Run.surrogates`.
        epsilon: L-infinity bound in the units of the images, in [0, 1].
        steps: of MI-FGSM.

    Raises:
        InputError: there is no such surrogate, or its loss has no gradient.
    """
    if surrogate not in run.surrogates:
        raise InputError(
            f"there is no model '{surrogate}' to transfer from; there are"
            f" {', '.join(run.surrogates) or 'none'}"
        )
    progress = Progress(model, images, labels, run)
    # Targets may be others for every model under attack.
    targets = None if run.targets is None else tuple(run.targets.tolist())
    # Networks of one name may be others, too.
    key = (PREFIX, id(run.surrogates[surrogate]), epsilon, steps, images.device, targets)
    made = run.cache.get(key)
    if made is None:
        made = examples_on(run.surrogates[surrogate], images, labels, epsilon, steps, run)
        if not made.unfinished.any():
            run.cache[key] = made.without_costs()
    attacked = progress.active
    return replace(
        made,
        images=torch.where(per_image(attacked), made.images, progress.images),
        unfinished=made.unfinished & attacked,
    )


def examples_on(
    surrogate: nn.Module, images: Tensor, labels: Tensor, epsilon: float, steps: int, run: Run
) -> AttackResult:
    """Return what MI-FGSM makes on a surrogate; what the surrogate gets wrong is moved as well."""
    place = device_of(surrogate)
    there = replace(
        run,
        numbers=None,  # it draws none
        targets=None if run.targets is None else run.targets.to(place),
        early_stop=False,
        clean=None,
    )
    made = mifgsm(
        surrogate, images.to(place), labels.to(place), epsilon=epsilon, steps=steps, run=there
    )
    return replace(
        made,
        images=made.images.to(images.device),
        gradients=made.gradients.to(images.device),
        queries=made.queries.to(images.device),
        unfinished=made.unfinished.to(images.device),
    )
