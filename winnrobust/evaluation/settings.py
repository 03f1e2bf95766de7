"""What is done to the models, checked before any long work."""

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from winnrobust.attacks import ATTACKS, NORMS, PREFIX, Attack, NormName, find, with_settings
from winnrobust.evaluation.outcomes import MOST_DRAWS
from winnrobust.evaluation.targets import TARGETS
from winnrobust.runtime.errors import InputError

LARGEST = 2**31 - 1
LEAST = {"seed": 0, "num_examples": 0, "judge_draws": 2}
"""The smallest values of settings that count something; 1 for the others."""
MOST = {"seed": 2**63 - 1, "judge_draws": MOST_DRAWS}
LARGEST_EPSILON = {"linf": 1.0, "l2": math.inf}


class EvaluationSettings(BaseModel):
    """What is done to the models; wrong values are an `InputError` of one line.

    Attributes:
        attacks: names that `winnrobust.attacks.find` knows; repeated ones are dropped.
        epsilons: of each norm the bounds of its attacks, in the units of images in [0, 1]; repeated
            ones are dropped. At 0 the adversarial example is the image.
        steps, restarts, queries: replace an attack's own, where it has such a setting.
        fgsm_screen: whether PGD first tries one step of FGSM, which breaks many images at the cost
            of one gradient, and is not part of PGD.
        eot: draws that an attack averages over, for models that answer at random.
        targeted: "random" draws a wrong class for every image, "least-likely" takes the wrong one
            with the lowest clean logit; None: any wrong class will do. An error is whatever is not
            the true class in either case.
        seconds: time for each attack on each model, over all images. Every image has the same share
            of it, and every epsilon the same share of that, whatever others leave.
        seed: of all random numbers.
        batch_size: images at once; None measures which is fastest. Changes no result (up to the
            rounding of floats).
        cross: whether every model looks at the examples made against the others, too.
        judge_draws: how often a model that answers at random is asked about every image; others
            are asked once.
        num_examples: how many of the first images are kept whole.

    >>> EvaluationSettings(epsilons={"linf": [8]})  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    winnrobust.runtime.errors.InputError: epsilons must be numbers from 0 to 1, ... not 8
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    attacks: tuple[str, ...] = ("fgsm",)
    epsilons: dict[NormName, tuple[float, ...]] = {"linf": (0.125,), "l2": (1.5,)}
    steps: int | None = None
    restarts: int | None = None
    queries: int | None = None
    fgsm_screen: bool = False
    eot: int = 1
    targeted: str | None = None
    seconds: float | None = None
    seed: int = 0
    batch_size: int | None = None
    cross: bool = True
    judge_draws: int = 20
    num_examples: int = 8

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise InputError(_complaint(error)) from None

    def chosen_attacks(self) -> list[Attack]:
        """Return the attacks, with these settings."""
        budget = {"steps": self.steps, "restarts": self.restarts, "queries": self.queries}
        return [
            with_settings(find(name), screen=self.fgsm_screen or None, **budget)
            for name in self.attacks
        ]

    def decisive(self) -> dict[str, Any]:
        """Return the settings that results depend on, as JSON takes them."""
        return self.model_dump(mode="json", exclude={"batch_size", "num_examples"})

    @field_validator(
        "steps", "restarts", "queries", "eot", "seed", "batch_size", "judge_draws", "num_examples",
        mode="before",
    )  # fmt: skip
    @classmethod
    def _count(cls, value: object, info: ValidationInfo) -> int | None:
        name = str(info.field_name)
        if value is None and cls.model_fields[name].default is None:
            return None
        return checked_count(name, value, LEAST.get(name, 1), MOST.get(name, LARGEST))

    @field_validator("attacks", mode="before")
    @classmethod
    def _attacks(cls, value: object) -> tuple[str, ...]:
        return tuple(attack.name for attack in find_attacks(value))

    @field_validator("epsilons", mode="before")
    @classmethod
    def _epsilons(cls, value: object) -> dict[NormName, tuple[float, ...]]:
        if not isinstance(value, dict) or not set(value) <= set(NORMS):
            raise InputError(
                f"epsilons must be lists of numbers by norm ({', '.join(NORMS)}), such as"
                f" {{'linf': [0.125]}}, not {value!r}"
            )
        names = {"linf": "epsilons", "l2": "epsilons_l2"}
        return {
            norm: checked_epsilons(bounds, names[norm], LARGEST_EPSILON[norm])
            for norm, bounds in value.items()
        }

    @field_validator("seconds", mode="before")
    @classmethod
    def _seconds(cls, value: object) -> float | None:
        if value is None:
            return None
        seconds = _number(value)
        if not seconds > 0:
            raise InputError(f"seconds must be a number above 0, not {_shown(value)}")
        return None if seconds == math.inf else seconds

    @model_validator(mode="after")
    def _fits(self) -> Self:
        find_attacks(self.attacks, self.targeted)
        for name in self.attacks:
            if find(name).norm not in self.epsilons:
                raise InputError(f"attack '{name}' needs epsilons of the norm {find(name).norm}")
        return self


def find_attacks(names: object, targeted: str | None = None) -> list[Attack]:
    """Return the attacks with these names, each once.

    Args:
        names: a list of them.
        targeted: how the classes that they aim for are chosen, if they shall.

    Raises:
        InputError: an unknown name, or none; or an attack that cannot be targeted.
    """
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise InputError(f"attacks must be a list of names such as ['fgsm'], not {names!r}")
    if not names:
        raise InputError(f"there are no attacks to run; known are {', '.join(ATTACKS)}")
    found = {attack.name: attack for attack in (find(str(name)) for name in names)}
    if targeted is not None and targeted not in TARGETS:
        raise InputError(f"targeted must be one of {', '.join(TARGETS)}, not {targeted!r}")
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
                f" {', '.join(models)}"
            )


def checked_epsilons(
    epsilons: object, name: str = "epsilons", at_most: float = 1
) -> tuple[float, ...]:
    """Return bounds of perturbations, each once, in the order given.

    Args:
        name: what the argument is called.
        at_most: the largest that makes sense in its norm.

    Raises:
        InputError: none, or one that is not a finite number from 0 to `at_most`.
    """
    values = [] if isinstance(epsilons, str) else _as_list(epsilons)
    if not values:
        raise InputError(f"{name} must be a list of numbers such as [0.125], not {epsilons!r}")
    for value in values:
        # The comparison also refuses NaN.
        if not 0 <= _number(value) <= at_most or _number(value) == math.inf:
            limits = "of at least 0" if at_most == math.inf else f"from 0 to {at_most:g}"
            raise InputError(
                f"{name} must be numbers {limits}, in the units of [0, 1] images, not"
                f" {_shown(value)}"
            )
    return tuple(dict.fromkeys(map(_number, values)))


def checked_count(name: str, value: object, at_least: int = 1, at_most: int = LARGEST) -> int:
    """Return an argument that counts something.

    Raises:
        InputError: it is not an integer, too small or too large.
    """
    if not isinstance(value, Integral) or isinstance(value, bool) or int(value) < at_least:
        raise InputError(f"{name} must be an integer of at least {at_least}, not {_shown(value)}")
    if int(value) > at_most:
        raise InputError(f"{name} must be at most {at_most}, not {_shown(value)}")
    return int(value)


def _as_list(values: Any) -> list[Any]:
    try:
        return list(values)
    except TypeError:
        return []


def _number(value: object) -> float:
    """Return a real number, or NaN where it is something else."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _shown(value: object) -> str:
    try:
        return repr(value)[:60]
    except ValueError:  # an integer of thousands of digits
        return "such a number"


def _complaint(error: ValidationError) -> str:
    """Return in one line what is wrong with the first bad value."""
    first = error.errors(include_url=False)[0]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, InputError):
        return str(cause)
    name = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        known = ", ".join(EvaluationSettings.model_fields)
        return f"there is no setting '{name}'; there are {known}"
    return f"{name} cannot be {_shown(first['input'])}: {first['msg'].lower()}"
