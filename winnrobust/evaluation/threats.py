"""Threat models: what an attacker may do to an image, in one spelling for command line and Python.

`linf:8/255`, `l2:0.5,1`, `l1:12`, `l0:10`; `spatial:30`, `patch:5`, `corruptions:1-5`. What stands
before the colon is a norm or another kind of threat, and stands in the column `norm` of all tables;
the numbers are its bounds, in the column `epsilon`.
"""

import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from fractions import Fraction
from typing import Any, NamedTuple

from winnrobust.attacks.norms import epsilon_text
from winnrobust.evaluation.outcomes import Level
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.settings import LARGEST_FLOAT, shown


class Kind(NamedTuple):
    """What the bounds of a kind of threat may be.

    Attributes:
        example: how it is written.
        unit: of its bounds, in words.
        at_least, at_most: the smallest and the largest bound.
        whole: whether only whole numbers make sense.
    """

    example: str
    unit: str
    at_least: float = 0
    at_most: float = math.inf
    whole: bool = False

    def takes(self, bound: Any) -> bool:
        """Tell whether a bound makes sense."""
        number = isinstance(bound, int | float) and not isinstance(bound, bool)
        # The comparison also refuses NaN.
        if not number or not self.at_least <= bound <= min(self.at_most, LARGEST_FLOAT):
            return False
        return not self.whole or bound == int(bound)

    @property
    def limits(self) -> str:
        """What it takes, in words."""
        numbers = "whole numbers" if self.whole else "numbers"
        if self.at_most < math.inf:
            return f"{numbers} from {self.at_least:g} to {self.at_most:g}, {self.unit}"
        return f"{numbers} of at least {self.at_least:g}, {self.unit}"


KINDS: dict[str, Kind] = {
    "linf": Kind("linf:8/255", "in the units of [0, 1] images", at_most=1),
    "l2": Kind("l2:0.5", "in the units of [0, 1] images"),
    "l1": Kind("l1:12", "in the units of [0, 1] images"),
    "l0": Kind("l0:10", "which count changed values", whole=True),
    "spatial": Kind("spatial:30", "in degrees", at_most=180),
    "patch": Kind("patch:5", "in pixels", 1, whole=True),
    "corruptions": Kind("corruptions:1-5", "which are severities", 1, 5, whole=True),
}
"""The norms, and threats that no norm measures, by name."""

EXAMPLES = ", ".join(kind.example for kind in KINDS.values())
SEVERITIES = re.compile(r"(\d)-(\d)")

Epsilons = dict[str, tuple[float, ...]]
"""Of each kind of threat the bounds."""


def parse_threats(given: str | Sequence[str]) -> Epsilons:
    """Read threats; bounds of one kind are put together, each once.

    Raises:
        InputError: one is written in another way, or its bound makes no sense.

    >>> parse_threats(["linf:2/255,8/255", "l2:0.5", "corruptions:1-3"])["corruptions"]
    (1.0, 2.0, 3.0)
    >>> parse_threats("linf:8")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    winnrobust.runtime.errors.InputError: threat 'linf:8': bounds must be ... not 8
    """
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, Sequence) or not all(isinstance(each, str) for each in texts):
        raise InputError(f"threats must be a list such as ['linf:8/255'], not {shown(given)}")
    if not texts:
        raise InputError(f"no threats are given; give some, such as {EXAMPLES}")
    found: dict[str, list[float]] = {}
    for text in texts:
        kind = None
        for part in text.split(","):  # linf:2/255,8/255,l2:0.5
            name, colon, value = (each.strip() for each in part.rpartition(":"))
            kind = name.lower() if colon else kind
            if kind is None or not value:
                raise InputError(f"threat '{text}' must be written like {EXAMPLES}")
            if kind not in KINDS:
                raise InputError(f"threat '{text}': '{kind}' is unknown; write one of {EXAMPLES}")
            found.setdefault(kind, []).extend(_bounds(text, kind, value))
    return {kind: tuple(dict.fromkeys(bounds)) for kind, bounds in found.items()}


def _bounds(text: str, kind: str, value: str) -> list[float]:
    """Read `0.125`, `8/255`, or the severities `1-5`."""
    bounds: list[float] = []
    if kind == "corruptions" and (ends := SEVERITIES.fullmatch(value)):
        bounds += range(int(ends[1]), int(ends[2]) + 1)
    else:
        with suppress(ValueError, ZeroDivisionError, OverflowError):
            # Only "a/b" is for Fraction: float takes what it does not, such as inf.
            bounds.append(float(Fraction(value) if "/" in value else value))
    if not bounds:
        example = KINDS[kind].example
        raise InputError(f"threat '{text}': '{value}' is not a bound; write it like {example}")
    if not all(map(KINDS[kind].takes, bounds)):
        raise InputError(f"threat '{text}': bounds must be {KINDS[kind].limits}, not {value}")
    return [abs(float(bound)) for bound in bounds]  # -0.0 is 0


def gathered(
    threats: str | Sequence[str] | None, linf: Sequence[float] = (), l2: Sequence[float] = ()
) -> dict[str, tuple[float, ...] | None]:
    """Put threats and the bounds of L-infinity and L2 together, as `EvaluationSettings` takes them.

    Without threats an attack in the norm that has no bounds gets those of the images.

    Raises:
        InputError: as `parse_threats`.

    >>> gathered(["linf:8/255"], [0.125], [1.5])["linf"][1], gathered(None, [0.125])
    (0.125, {'linf': (0.125,), 'l2': None})
    """
    found: dict[str, tuple[float, ...] | None] = {}
    if threats is not None:
        found |= parse_threats(threats)
    for kind, bounds in (("linf", linf), ("l2", l2)):
        if len(bounds):
            found[kind] = tuple(dict.fromkeys([*(found.get(kind) or ()), *bounds]))
    if found and threats is None:
        return {"linf": found.get("linf"), "l2": found.get("l2")}
    return found


def spelled(level: Level) -> str:
    """Write a threat as users do.

    >>> spelled(Level("linf", 8 / 255)), spelled(Level("l2", 0.5))
    ('linf:8/255', 'l2:0.5')
    """
    return f"{level.norm}:{epsilon_text(level.epsilon)}"


def listed(epsilons: Mapping[str, Sequence[float]]) -> str:
    """Write all threats, one after the other.

    >>> listed({"linf": [0.125, 0.3], "l2": [1.5]})
    'linf:0.125 linf:0.3 l2:1.5'
    """
    return " ".join(spelled(Level(kind, x)) for kind, bounds in epsilons.items() for x in bounds)


# --- what is attacked where nobody says -----------------------------------------------------------

PAPER, FIELD = "the WINN paper's", "the field's"
_DIGITS = {"linf:0.125": PAPER, "linf:0.3": FIELD, "l2:1.5": FIELD}
_CIFAR = {"linf:8/255": FIELD, "l2:0.5": FIELD, "l1:12": FIELD}
OF_DATASETS: dict[str, dict[str, str]] = {
    "mnist": _DIGITS,
    "mnist5k": _DIGITS,
    # Nothing is established there; the images have MNIST's size and contrast.
    "fashion-mnist": dict.fromkeys(_DIGITS, "as MNIST"),
    "svhn": {"linf:0.005": PAPER, "linf:8/255": FIELD},
    "cifar10": _CIFAR,
    "cifar10-20k": _CIFAR,
}
"""Data set -> threat -> whose it is. The field's are those of Madry et al. 2018 (MNIST, Linf),
Schott et al. 2019 (MNIST, L2), RobustBench (Croce et al. 2021, arXiv:2010.09670: CIFAR-10 and
ImageNet), and Croce, Hein 2021 (arXiv:2103.01208: L1)."""

SMALL = 64
"""Images whose shorter side has at most so many pixels are attacked as those of CIFAR-10."""


class Defaults(NamedTuple):
    """What is attacked where nobody says.

    Attributes:
        of: the data set, or what the images are like.
        why: threat -> whose it is.
    """

    of: str
    why: Mapping[str, str]

    @property
    def epsilons(self) -> Epsilons:
        """The threats."""
        return parse_threats([*self.why])

    def explained(self, epsilons: Mapping[str, Sequence[float]], how: str) -> str:
        """Say in a line what is attacked where nobody said so; nothing where somebody did.

        Args:
            epsilons: the threats that attacks are made in.
            how: what chooses others.

        >>> defaults_for("svhn", (3, 32, 32)).explained({"linf": [0.005]}, "--threat")
        "by default for the data set svhn: linf:0.005 (the WINN paper's); --threat chooses others"
        """
        told = [f"{x} ({self.why[x]})" for x in listed(epsilons).split() if x in self.why]
        return f"by default for {self.of}: {', '.join(told)}; {how} chooses others" if told else ""


def defaults_for(dataset: str | None, shape: Sequence[int]) -> Defaults:
    """Return the threats of a data set, or for a user's own images, which count by their size.

    Args:
        dataset: its name; None, or the name of no data set of ours, for a user's own.
        shape: (C, H, W) of an image.

    >>> defaults_for("svhn", (3, 32, 32)).epsilons["linf"][0]
    0.005
    >>> listed(defaults_for(None, (3, 224, 224)).epsilons)
    'linf:4/255'
    """
    if dataset in OF_DATASETS:
        return Defaults(f"the data set {dataset}", OF_DATASETS[dataset])
    size = "x".join(map(str, shape[-2:]))
    if min(shape[-2:]) <= SMALL:
        small = dict.fromkeys(("linf:8/255", "l2:0.5"), "as CIFAR-10")
        return Defaults(f"small images ({size})", small)
    return Defaults(f"large images ({size})", {"linf:4/255": "as ImageNet"})
