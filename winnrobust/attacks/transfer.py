"""Transfer: examples made on another model, as an attacker without access makes them.

Papernot, McDaniel, Goodfellow: Transferability in Machine Learning, 2016.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from winnrobust.attacks.attack import DEFAULT_BUDGET, Attack, AttackResult, Budget
from winnrobust.attacks.mifgsm import MIFGSM, mifgsm
from winnrobust.attacks.target import Target
from winnrobust.runtime.devices import device_of
from winnrobust.runtime.errors import InputError

PREFIX = "transfer:"


class _Surrogate(Target):
    """The attacker's own model: what it gets wrong is no reason to stop."""

    def reached(self, logits: Tensor, rows: Tensor) -> Tensor:
        return torch.zeros_like(rows, dtype=torch.bool)


def transfer_from(name: str) -> Attack:
    """Return the attack that makes its examples on the model called `name`.

    It is MI-FGSM there, all steps of it; what the model under attack gets wrong as it is stays as
    it is. Under attack by itself, the model `name` meets examples made in the same way.
    """

    def transfer(
        target: Target, epsilons: Sequence[float], budget: Budget = DEFAULT_BUDGET
    ) -> AttackResult:
        if name not in target.others:
            raise InputError(
                f"there is no model '{name}' to transfer from; there are"
                f" {', '.join(target.others) or 'none'}"
            )
        source = target.others[name]
        place = device_of(source)
        surrogate = _Surrogate(
            source,
            target.images.to(place),
            target.labels.to(place),
            aims=None if target.aims is None else target.aims.to(place),
            deadline=target.deadline,
        )
        made = mifgsm(surrogate, epsilons, budget)
        adversarials = []
        for examples in made.adversarials:
            found = target.images.clone()
            found[target.standing] = examples.to(found.device)[target.standing]
            adversarials.append(found)
        return made._replace(adversarials=adversarials)

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
        function=transfer,
        can_aim=True,
    )
