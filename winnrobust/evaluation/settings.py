"""What is done to the models, checked before any long work."""

import hashlib
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, Self

import numpy as np
from pydantic import (
    Field,
    PlainSerializer,
    SkipValidation,
    ValidationError,
    field_validator,
    model_validator,
)

from winnrobust.attacks import ATTACKS, OF_KINDS, PREFIX, Attack, find, with_settings
from winnrobust.attacks.gradients import find_loss
from winnrobust.evaluation.outcomes import MOST_DRAWS
from winnrobust.evaluation.targets import TARGETS
from winnrobust.evaluation.threats import KINDS, Defaults, Epsilons, listed
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.settings import (
    Count,
    Positive,
    Seed,
    Settings,
    complaint,
    shown,
)

RANDOM_EOT = 20
"""Draws that attacks average over where a model answers at random."""
DEFAULT_MARGIN = 0.01
"""Difference of two errors that does not matter to who only wants to know which one is larger."""


def _described(attack: str | Attack) -> str:
    return attack if isinstance(attack, str) else attack.name


def _loss_name(loss: Any) -> str | None:
    return loss if loss is None or isinstance(loss, str) else getattr(loss, "__name__", "custom")


def _targets_text(targets: Any) -> str | None:
    if targets is None or isinstance(targets, str):
        return targets
    return f"as given, sha256 {hashlib.sha256(targets.tobytes()).hexdigest()[:16]}"


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


USUAL = ("fgsm", "aa-fast")
"""The attacks where none are named: the paper's, and one to trust."""


class EvaluationSettings(CheckedSettings):
    """What is done to the models.

    Attributes:
        attacks: names that `winnrobust.attacks.find` knows, or attacks; repeated ones are dropped.
        epsilons: of each norm, or other kind of threat, the bounds of its attacks; those of norms
            are in the units of images in [0, 1]. Repeated ones are dropped. At 0 the adversarial
            example is the image. None instead of bounds stands for those that the images have by
            default (`threats.defaults_for`), if an attack has no others; so does the lack of any.
            Every attack is made in all norms that it can be put in. "spatial", "patch" and
            "corruptions" bring attacks of their own.
        steps, restarts, queries, loss: replace an attack's own, where it has such a setting and
            none was chosen for it alone. The loss is a name in `winnrobust.attacks.LOSSES`, or a
            function of (logits, labels) that returns a number for each image.
        fgsm_screen: whether PGD first tries one step of FGSM, which breaks many images at the cost
            of one gradient, and is not part of PGD.
        eot: draws that an attack averages over; None: `RANDOM_EOT` for a model that answers at
            random, one for others.
        targeted: "random" draws a wrong class for every image, "least-likely" takes the wrong one
            with the lowest clean logit; or an array (N,) of wrong classes. None: any wrong class
            will do. An error is whatever is not the true class in either case.
        round: examples are rounded to so many bits before any model judges them, as a file of
            pixels would (8 for PNG); the model under attack is asked about them as they were, too.
            Pixels that were moved by rounding may be beyond an epsilon by half a step.
        seconds: time for each attack on each model, over all images. Every image has the same share
            of it, and every epsilon the same share of that, whatever others leave.
        seed: of all random numbers.
        batch_size: images at once; None: the more, the less time a batch takes. Changes no
            result (up to the rounding of floats) but the draws of a model that answers at random.
        cross: whether every model looks at the examples made against the others, too.
        judge_draws: how often a model that answers at random is asked about every image; others
            are asked once.
        num_examples: how many of the first images are kept whole, with what attacks made of them.
        num_adversarial: how many adversarial examples of each attack, bound and model are kept as
            well, the first ones, of images that the model gets right without the attack.
        precision: attack images in a random order until the ends of the interval of every error
            (without attack, of each attack, in the worst case) are no more than this away from it,
            a share such as 0.01. The intervals are those of `evaluation.always_valid`.
        until_decided: attack images in a random order until every two models are told apart in the
            worst case of every threat model, or differ by no more than `precision` (0.01 unless it
            is given). Where no threat model is given, it is the first one of the images' defaults.

    >>> from winnrobust.evaluation import EvaluationSettings
    >>> EvaluationSettings(epsilons={"linf": [8]})  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    winnrobust.runtime.errors.InputError: epsilons must be numbers from 0 to 1, ... not 8
    >>> settings = EvaluationSettings(attacks=["pgd"], epsilons={"l2": [0.5], "l1": [12]})
    >>> [attack.norm for attack in settings.chosen_attacks()]
    ['l2']
    """

    attacks: Sequence[Named] = USUAL
    epsilons: Mapping[str, Sequence[float] | None] = {}
    steps: Count | None = None
    restarts: Count | None = None
    queries: Count | None = None
    loss: Annotated[SkipValidation[Any], PlainSerializer(_loss_name)] = None
    fgsm_screen: bool = False
    eot: Count | None = None
    targeted: Annotated[SkipValidation[Any], PlainSerializer(_targets_text)] = None
    round: Annotated[int, Field(ge=1, le=16)] | None = None
    seconds: Positive | None = None
    seed: Seed = 0
    batch_size: Count | None = None
    cross: bool = True
    judge_draws: Annotated[int, Field(ge=2, le=MOST_DRAWS)] = 20
    num_examples: Annotated[int, Field(ge=0)] = 8
    num_adversarial: Annotated[int, Field(ge=0)] = 0
    precision: Annotated[float, Field(gt=0, lt=0.5)] | None = None
    until_decided: bool = False

    @property
    def sampled(self) -> bool:
        """Whether images are attacked in a random order until enough is known."""
        return self.precision is not None or self.until_decided

    @property
    def margin(self) -> float:
        """The largest difference of two errors that does not matter."""
        return DEFAULT_MARGIN if self.precision is None else self.precision

    def chosen_attacks(self) -> list[Attack]:
        """Return the attacks in all their norms, with these settings."""
        budget = {"steps": self.steps, "restarts": self.restarts, "queries": self.queries}
        return [
            with_settings(attack, screen=self.fgsm_screen or None, loss=self.loss, **budget)
            for attack in attacks_in(self.attacks, self.epsilons)
        ]

    def bounds(self, norm: str) -> Sequence[float]:
        """Return the bounds of a norm, or other kind of threat."""
        return self.epsilons.get(norm) or ()

    def for_first(self, limit: int | None) -> Self:
        """Return settings for the first so many images; None for all."""
        if limit is None or not isinstance(self.targeted, np.ndarray):
            return self
        return self.model_copy(update={"targeted": self.targeted[:limit]})

    def completed(self, defaults: Defaults) -> tuple[Self, Epsilons]:
        """Return settings that name all threats, and those of them that are taken from `defaults`.

        Raises:
            InputError: no attack fits them.
        """
        given = {norm: bounds for norm, bounds in self.epsilons.items() if bounds is not None}
        wanted: set[str] = set()
        for attack in find_attacks(self.attacks):
            norms = set(norms_of(attack))
            if not self.epsilons:
                wanted |= norms
            elif not norms & set(given):
                wanted |= norms & set(self.epsilons)
        filled = {norm: x for norm, x in defaults.epsilons.items() if norm in wanted}
        if self.until_decided:  # each further threat model is another question
            filled = {norm: bounds[:1] for norm, bounds in list(filled.items())[:1]}
        return self.model_copy(update={"epsilons": given | filled}).checked(), filled

    def checked(self) -> Self:
        """Return the settings.

        Raises:
            InputError: an attack that was asked for fits none of the threats, or none does.
        """
        told = listed({norm: bounds for norm, bounds in self.epsilons.items() if bounds})
        for attack in find_attacks(self.attacks, self.targeted):
            asked_for = "attacks" in self.model_fields_set
            if asked_for and not fits(attack, self.epsilons):
                example = " or ".join(KINDS[norm].example for norm in norms_of(attack))
                raise InputError(
                    f"attack '{attack.name}' fits none of the threats ({told}); add the threat"
                    f" {example}, or leave the attack out"
                )
        if not attacks_in(self.attacks, self.epsilons):
            raise InputError(
                f"no attack fits the threats ({told}); name one that does; 'winnrobust attacks'"
                " lists them"
            )
        return self

    def decisive(self) -> dict[str, Any]:
        """Return the settings that results depend on, as JSON takes them."""
        kept = {"num_examples", "num_adversarial"}
        found = self.model_dump(mode="json", exclude={"batch_size", *kept})
        if not self.sampled:
            del found["precision"], found["until_decided"]
        added = ("loss", "round")
        return {name: value for name, value in found.items() if name not in added or value}

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

    @field_validator("targeted", mode="before")
    @classmethod
    def _targeted(cls, value: Any) -> Any:
        return value if value is None else checked_targets(value)

    @field_validator("loss", mode="before")
    @classmethod
    def _loss(cls, value: Any) -> Any:
        if value is not None:
            find_loss(value)
        return value

    @field_validator("epsilons", mode="before")
    @classmethod
    def _epsilons(cls, value: object) -> dict[str, tuple[float, ...] | None]:
        if not isinstance(value, dict) or not set(value) <= set(KINDS):
            raise InputError(
                f"epsilons must be lists of numbers by norm ({', '.join(KINDS)}), such as"
                f" {{'linf': [0.125]}}, not {shown(value)}"
            )
        names = {"linf": "epsilons", "l2": "epsilons_l2"}
        return {
            norm: None if bounds is None else checked_epsilons(bounds, norm, names.get(norm, norm))
            for norm, bounds in dict[str, Any](value).items()
        }

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.targeted is not None and "corruptions" in self.epsilons:
            raise InputError(
                "corruptions cannot be targeted; leave out the targets or the corruptions"
            )
        return self.checked() if self.epsilons else self


def checked_targets(value: Any) -> str | np.ndarray:
    """Return how targets are chosen, or an array (N,) int64 of them.

    Raises:
        InputError: it is neither.
    """
    if isinstance(value, str):
        if value not in TARGETS:
            raise InputError(
                f"targeted must be {', '.join(TARGETS)} or an array of classes, not '{value}'"
            )
        return value
    try:
        found = np.asarray(value)
    except (ValueError, TypeError):
        found = np.empty(0)
    if found.ndim != 1 or found.dtype.kind not in "iu" or not len(found) or found.min() < 0:
        raise InputError("targets must be a wrong class for each image: whole numbers from 0 on")
    return found.astype(np.int64)


def find_attacks(names: object, targeted: Any = None) -> list[Attack]:
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
    unable = [
        attack.name for attack in found.values() if targeted is not None and not attack.targeted
    ]
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


def norms_of(attack: Attack) -> tuple[str, ...]:
    """Return the norms to make an attack in: all, unless it was put in another than its first."""
    return attack.norms if attack.norm == attack.norms[0] else (attack.norm,)


def fits(attack: Attack, norms: Collection[str]) -> bool:
    """Tell whether an attack can be made in one of these norms, or kinds of threat."""
    return not set(norms).isdisjoint(norms_of(attack))


def usual_for(epsilons: Mapping[str, Any]) -> list[str]:
    """Return those of the usual attacks that fit some threats; all where there are none.

    >>> usual_for({"l2": [0.5]}), usual_for({})
    (['aa-fast'], ['fgsm', 'aa-fast'])
    """
    return [name for name in USUAL if not epsilons or fits(find(name), epsilons)]


def attacks_in(names: Sequence[Named], epsilons: Mapping[str, Any]) -> list[Attack]:
    """Return each attack in all norms of the threats that it can be put in, and those of other
    threats.

    `pgd-l2` and `pgd` in L2 are one: the first of them counts.
    """
    found: dict[Any, Attack] = {}
    for attack in find_attacks(names):
        norms = norms_of(attack)
        for made in (attack.in_norm(norm) for norm in epsilons if norm in norms):
            found.setdefault((made.function, made.norm, str(made.settings)), made)
    others = [attack for kind in epsilons for attack in OF_KINDS.get(kind, ())]
    # Nobody need name them, but may.
    named = {(made.name, made.norm) for made in found.values()}
    return [*found.values(), *(each for each in others if (each.name, each.norm) not in named)]


def checked_epsilons(epsilons: object, kind: str, name: str) -> tuple[float, ...]:
    """Return bounds of perturbations, each once, in the order given.

    Args:
        kind: of threat, one of `threats.KINDS`.
        name: what the argument is called.

    Raises:
        InputError: none, or one that makes no sense.
    """
    if isinstance(epsilons, str) or not isinstance(epsilons, Sequence | np.ndarray):
        raise InputError(f"{name} must be a list of numbers such as [0.125], not {shown(epsilons)}")
    if not len(epsilons):
        raise InputError(f"{name} must be a list of numbers such as [0.125]; it has none")
    for value in epsilons:
        if not KINDS[kind].takes(value.item() if isinstance(value, np.generic) else value):
            raise InputError(f"{name} must be {KINDS[kind].limits}, not {shown(value)}")
    return tuple(dict.fromkeys(map(float, epsilons)))
