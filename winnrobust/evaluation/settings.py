"""What is done to the models, checked before any long work."""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import (
    Field,
    PlainSerializer,
    SkipValidation,
    ValidationError,
    field_validator,
    model_validator,
)

from winnrobust.attacks import ATTACKS, NORMS, PREFIX, Attack, NormName, find, with_settings
from winnrobust.attacks.gradients import find_loss
from winnrobust.evaluation.outcomes import MOST_DRAWS
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.settings import (
    LARGEST_FLOAT,
    Count,
    Positive,
    Seed,
    Settings,
    complaint,
    shown,
)

DEFAULT_EPSILONS: Mapping[NormName, Sequence[float]] = {"linf": (0.125,), "l2": (1.5,)}
RANDOM_EOT = 20
"""Draws that attacks average over where a model answers at random."""
LARGEST_EPSILON = {"linf": 1.0, "l2": math.inf, "l1": math.inf, "l0": math.inf}


def _described(attack: str | Attack) -> str:
    return attack if isinstance(attack, str) else attack.name


def _loss_name(loss: Any) -> str | None:
    return loss if loss is None or isinstance(loss, str) else getattr(loss, "__name__", "custom")


Named = Annotated[SkipValidation[str | Attack], PlainSerializer(_described)]


class CheckedSettings(Settings):
    """Settings from Python, wrong ones of which are an `InputError` of one line."""

    def __init__(self, **values: Any) -> None:
        plain = {
            name: value.item() if isinstance(value, np.generic) else value
            for name, value in values.items()
        }
        try:
            super().__init__(**plain)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            if first["type"] == "extra_forbidden":
                raise InputError(
                    f"unknown setting '{first['loc'][0]}'; known are"
                    f" {', '.join(type(self).model_fields)}"
                ) from None
            cause = first.get("ctx", {}).get("error")
            if isinstance(cause, InputError):
                raise cause from None
            raise InputError(complaint(error, ".".join)) from None


class EvaluationSettings(CheckedSettings):
    """What is done to the models.

    Attributes:
        attacks: names that `winnrobust.attacks.find` knows, or attacks; repeated ones are dropped.
        epsilons: of each norm the bounds of its attacks, in the units of images in [0, 1]; repeated
            ones are dropped. At 0 the adversarial example is the image.
        steps, restarts, queries, loss: replace an attack's own, where it has such a setting and
            none was chosen for it alone. The loss is a name in `winnrobust.attacks.LOSSES`, or a
            function of (logits, labels) that returns a number for each image.
        fgsm_screen: whether PGD first tries one step of FGSM, which breaks many images at the cost
            of one gradient, and is not part of PGD.
        eot: draws that an attack averages over; None: `RANDOM_EOT` for a model that answers at
            random, one for others.
        targeted: "random" draws a wrong class for every image, "least-likely" takes the wrong one
            with the lowest clean logit; None: any wrong class will do. An error is whatever is not
            the true class in either case.
        seconds: time for each attack on each model, over all images. Every image has the same share
            of it, and every epsilon the same share of that, whatever others leave.
        seed: of all random numbers.
        batch_size: images at once; None: the more, the less time a batch takes. Changes no
            result (up to the rounding of floats) but the draws of a model that answers at random.
        cross: whether every model looks at the examples made against the others, too.
        judge_draws: how often a model that answers at random is asked about every image; others
            are asked once.
        num_examples: how many of the first images are kept whole.

    >>> EvaluationSettings(epsilons={"linf": [8]})  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    winnrobust.runtime.errors.InputError: epsilons must be numbers from 0 to 1, ... not 8
    """

    attacks: Sequence[Named] = ("fgsm",)
    epsilons: Mapping[NormName, Sequence[float]] = DEFAULT_EPSILONS
    steps: Count | None = None
    restarts: Count | None = None
    queries: Count | None = None
    loss: Annotated[SkipValidation[Any], PlainSerializer(_loss_name)] = None
    fgsm_screen: bool = False
    eot: Count | None = None
    targeted: Literal["random", "least-likely"] | None = None
    seconds: Positive | None = None
    seed: Seed = 0
    batch_size: Count | None = None
    cross: bool = True
    judge_draws: Annotated[int, Field(ge=2, le=MOST_DRAWS)] = 20
    num_examples: Annotated[int, Field(ge=0)] = 8

    def chosen_attacks(self) -> list[Attack]:
        """Return the attacks, with these settings."""
        budget = {"steps": self.steps, "restarts": self.restarts, "queries": self.queries}
        return [
            with_settings(attack, screen=self.fgsm_screen or None, loss=self.loss, **budget)
            for attack in find_attacks(self.attacks)
        ]

    def decisive(self) -> dict[str, Any]:
        """Return the settings that results depend on, as JSON takes them."""
        found = self.model_dump(mode="json", exclude={"batch_size", "num_examples"})
        return {name: value for name, value in found.items() if (name, value) != ("loss", None)}

    @field_validator("seconds", mode="before")
    @classmethod
    def _endless(cls, value: object) -> object:
        return None if value == math.inf else value

    @field_validator("attacks", mode="before")
    @classmethod
    def _attacks(cls, value: Any) -> tuple[str | Attack, ...]:
        found = find_attacks(value)
        own = {attack.name for attack in value if isinstance(attack, Attack)}
        return tuple(attack if attack.name in own else attack.name for attack in found)

    @field_validator("loss", mode="before")
    @classmethod
    def _loss(cls, value: Any) -> Any:
        if value is not None:
            find_loss(value)
        return value

    @field_validator("epsilons", mode="before")
    @classmethod
    def _epsilons(cls, value: object) -> dict[NormName, tuple[float, ...]]:
        if not isinstance(value, dict) or not set(value) <= set(NORMS):
            raise InputError(
                f"epsilons must be lists of numbers by norm ({', '.join(NORMS)}), such as"
                f" {{'linf': [0.125]}}, not {shown(value)}"
            )
        names = {"linf": "epsilons", "l2": "epsilons_l2"}
        return {
            norm: checked_epsilons(bounds, names[norm], LARGEST_EPSILON[norm])
            for norm, bounds in value.items()
        }

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for attack in find_attacks(self.attacks, self.targeted):
            if attack.norm not in self.epsilons:
                raise InputError(f"attack '{attack.name}' needs epsilons of the norm {attack.norm}")
        return self


def find_attacks(names: object, targeted: str | None = None) -> list[Attack]:
    """Return the attacks with these names, each once.

    Args:
        names: a list of them; attacks stand for themselves.
        targeted: how the classes wanted are chosen, if they are targeted.

    Raises:
        InputError: an unknown name, or none; two attacks of one name; or an attack that cannot be
            targeted.
    """
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise InputError(f"attacks must be a list of names such as ['fgsm'], not {shown(names)}")
    if not names:
        raise InputError(f"there are no attacks to run; known are {', '.join(ATTACKS)}")
    found: dict[str, Attack] = {}
    for name in names:
        attack = name if isinstance(name, Attack) else find(str(name))
        other = found.setdefault(attack.name, attack)
        if other != attack and isinstance(name, Attack):
            raise InputError(f"two attacks are called '{attack.name}'; give one another name")
    unable = [attack.name for attack in found.values() if targeted and not attack.targeted]
    if unable:
        raise InputError(
            f"{', '.join(unable)} cannot be targeted; leave out the targets or"
            f" {'this attack' if len(unable) == 1 else 'these attacks'}"
        )
    return list(found.values())


def check_surrogates(attacks: Sequence[Attack], models: Sequence[str]) -> None:
    """Check, before hours of other work, that attacks that transfer have a model to do it from.

    Raises:
        InputError: it is not among `models`.
    """
    for attack in attacks:
        if attack.access == "transfer" and attack.name.removeprefix(PREFIX) not in models:
            raise InputError(
                f"'{attack.name}' transfers from a model that is not there; the models are"
                f" {', '.join(models) or 'none (give them by name as surrogates)'}"
            )


def checked_epsilons(epsilons: object, name: str, at_most: float) -> tuple[float, ...]:
    """Return bounds of perturbations, each once, in the order given.

    Args:
        name: what the argument is called.
        at_most: the largest that makes sense in its norm.

    Raises:
        InputError: none, or one that is not a finite number from 0 to `at_most`.
    """
    if isinstance(epsilons, str) or not isinstance(epsilons, Sequence | np.ndarray):
        raise InputError(f"{name} must be a list of numbers such as [0.125], not {shown(epsilons)}")
    if not len(epsilons):
        raise InputError(f"{name} must be a list of numbers such as [0.125]; it has none")
    for value in epsilons:
        real = isinstance(value, int | float | np.number) and not isinstance(value, bool)
        # The comparison also refuses NaN.
        if not real or not 0 <= value <= min(at_most, LARGEST_FLOAT):
            limits = "of at least 0" if at_most == math.inf else f"from 0 to {at_most:g}"
            raise InputError(
                f"{name} must be numbers {limits}, in the units of [0, 1] images, not"
                f" {shown(value)}"
            )
    return tuple(dict.fromkeys(map(float, epsilons)))
