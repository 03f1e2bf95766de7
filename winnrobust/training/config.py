"""Every setting of a training run, with the paper's values as defaults."""

import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from winnrobust.runtime import readers
from winnrobust.runtime.errors import InputError
from winnrobust.training.recipes import RECIPES, UNSUPERVISED

LARGEST = 2**31 - 1
"""What torch can count in everywhere."""
LARGEST_FLOAT = 3e38
"""What a float32 holds."""


def _setting(
    default: Any,
    help: str,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
) -> Any:
    bounds = {"at_least": at_least, "above": above, "at_most": at_most, "below": below}
    return field(default=default, metadata={"help": help, "bounds": bounds})


@dataclass(frozen=True)
class TrainConfig:
    """The configuration of one run; together with the data it decides the weights.

    The field names are the command line's options (`synthesis_lr` is `--synthesis-lr`) and the
    keys of a `--config` file. Defaults are the paper's and its code's.
    """

    dataset: str = _setting("mnist", "Data set.")
    arch: str = _setting("vanilla", "Architecture.")
    method: str = _setting("winn", "Training method.")
    recipe: str = _setting(
        "paper",
        "Defaults of all other settings, as far as the method uses them: the paper's, or those of a"
        " fast training of a WINN, which for every other method, too, mean smaller batches and"
        " averaged weights (see recipes.py).",
    )
    epochs: int = _setting(
        200,
        "Passes over the training images; without labels, iterations (of a cascade).",
        at_least=1,
    )
    batch_size: int = _setting(
        100, "Real images per step, with as many pseudo-negatives.", at_least=1
    )
    lr: float = _setting(1e-3, "Adam's learning rate, constant.", above=0)
    adam_beta1: float = _setting(0.0, "Adam's first-moment decay.", at_least=0, below=1)
    adam_beta2: float = _setting(0.9, "Adam's second-moment decay.", at_least=0, below=1)
    adam_eps: float = _setting(1e-8, "Adam's epsilon.", above=0)
    alpha: float = _setting(0.01, "Weight of Wasserstein term plus gradient penalty.", at_least=0)
    gp_weight: float = _setting(
        10.0, "Weight of the gradient penalty inside the alpha term.", at_least=0
    )
    gp_share: float = _setting(
        1.0, "Share of a batch's pairs that the gradient penalty looks at.", above=0, at_most=1
    )
    negatives_share: float = _setting(
        1.0, "Share of a batch's images that get a pseudo-negative.", above=0, at_most=1
    )
    average_decay: float = _setting(
        0.0,
        "Decay per step of the average of the weights that is validated and kept; 0: none.",
        at_least=0,
        below=1,
    )
    negatives_per_class: int = _setting(
        100, "Pseudo-negatives per class at the start and added by every synthesis.", at_least=1
    )
    pool_newest: float = _setting(
        1.0,
        "Share of all pseudo-negatives made so far, the newest, that are in play.",
        above=0,
        at_most=1,
    )
    synthesis_every: int | None = _setting(
        None, "Synthesise after every N steps too, not only at the end of an epoch.", at_least=1
    )
    synthesis_pool_share: float = _setting(
        0.0,
        "Share of the ascents that start from the pool, not noise.",
        at_least=0,
        at_most=1,
    )
    synthesis_per_image: bool = _setting(
        False, "A threshold and a stop for every image instead of every class's mean."
    )
    synthesis_lr: float = _setting(0.02, "Adam's step on the pixels (in [-1, 1]).", above=0)
    synthesis_beta1: float = _setting(
        0.9, "First-moment decay of Adam on the pixels.", at_least=0, below=1
    )
    synthesis_beta2: float = _setting(
        0.9, "Second-moment decay of Adam on the pixels.", at_least=0, below=1
    )
    synthesis_max_steps: int = _setting(
        2000, "Ascent steps after which a batch is kept as it is.", at_least=1
    )
    synthesis_tolerance: float = _setting(
        1e-3, "Stop when the mean critic is this close to the threshold.", at_least=0
    )
    synthesis_class_weight: float = _setting(
        0.5, "Weight of the cross-entropy to the wanted class in the ascent.", at_least=0
    )
    synthesis_carry_adam: bool = _setting(
        False, "Keep Adam's moments from one epoch's ascent to the next (as the TF1 code did)."
    )
    noise_dim: int = _setting(128, "Inputs of the random initial generator.", at_least=1)
    noise_weight_std: float = _setting(
        0.1, "Standard deviation of the random generator's weights.", above=0
    )
    initial: str = _setting(
        "projected",
        "What the first images are drawn from: a random network behind a random projection (the"
        " supervised code's), the random network of the paper's Appendix D, or gaussian pixels.",
    )
    at_epsilon: float = _setting(
        0.125,
        "L-infinity ball of pgd-at and trades, in [0, 1] pixel units: what this project attacks"
        " MNIST with first, so that the yardstick is trained for the ball it is measured in (the"
        " papers' own for MNIST is 0.3).",
        at_least=0,
        at_most=1,
    )
    at_steps: int = _setting(
        7,
        "Steps of the inner maximisation of pgd-at and trades: Madry et al.'s for CIFAR-10 (the"
        " papers' for MNIST: 40).",
        at_least=1,
    )
    at_step_size: float | None = _setting(
        None,
        "Size of such a step, in [0, 1] pixel units; if not given, 2.5 * at-epsilon / at-steps (the"
        " papers' for MNIST: 0.01).",
        above=0,
    )
    trades_beta: float = _setting(
        1.0,
        "Weight of the divergence term of trades, the authors' 1 / lambda (1 in their code for"
        " MNIST).",
        at_least=0,
    )
    negatives_weight: float = _setting(
        0.1,
        "Weight of the pseudo-negatives' loss in icn, gdl and dcgan-negatives; the cross-entropy's"
        " is 1 minus it.",
        at_least=0,
        at_most=1,
    )
    dcgan_lr: float = _setting(
        2e-4,
        "Adam's learning rate of both networks of dcgan-negatives' DCGAN (wgan-gp's generator has"
        " --lr).",
        above=0,
    )
    dcgan_latents: int = _setting(
        100, "Random inputs of the generator of dcgan-negatives and of wgan-gp.", at_least=1
    )
    unsupervised: bool = _setting(
        False, "Train without labels: a critic and generator alone, in place of a classifier."
    )
    cascades: int = _setting(
        1,
        "Without labels: how many networks follow each other, each with --epochs of its own; it"
        " starts from the weights and the samples of the one before it.",
        at_least=1,
    )
    start_images: int = _setting(
        10_000,
        "Without labels: random images that there are at first, and samples that a cascade leaves"
        " to the next.",
        at_least=1,
    )
    iteration_images: int = _setting(
        5_000,
        "Without labels: real images in an epoch of a cascade; its first four have 1/5, 2/5, 3/5"
        " and 4/5 of them.",
        at_least=1,
    )
    iteration_passes: int = _setting(
        3, "Without labels: passes over them, always in the same pairs.", at_least=1
    )
    width: float = _setting(
        1.0, "Scale of the channels of cnn64 and wgan-resnet.", above=0, at_most=64
    )
    flip: bool = _setting(False, "Flip every training image with probability 1/2, left to right.")
    data: str | None = _setting(
        None,
        "Without labels: a folder of pictures in place of a data set. They are cut to a square and"
        " scaled; every tenth is kept for validation.",
    )
    texture: str | None = _setting(
        None,
        "Without labels: a picture whose random crops are the data set: a file, or grass, gravel or"
        " brick.",
    )
    image_size: int = _setting(
        64, "Side of images that come from --data or --texture.", at_least=16, at_most=1024
    )
    limit_train: int | None = _setting(
        None, "Train on the first N images of the training split only.", at_least=1
    )
    keep_every: int | None = _setting(
        None, "Keep the weights after every Nth epoch too, under epochs/.", at_least=1
    )
    seed: int = _setting(0, "Seed of all randomness.", at_least=0)

    @property
    def total_epochs(self) -> int:
        """Epochs of all cascades."""
        return self.epochs * self.cascades

    def __post_init__(self) -> None:
        """Check types and ranges.

        Raises:
            InputError: a value of the wrong type or outside its range, named in the message.
        """
        hints = typing.get_type_hints(type(self))
        for setting in fields(self):
            value = _converted(setting.name, getattr(self, setting.name), hints[setting.name])
            object.__setattr__(self, setting.name, value)
            _check_bounds(setting.name, value, setting.metadata["bounds"])


def option_name(setting: str) -> str:
    """The command-line spelling of a setting: `gp_weight` -> `--gp-weight`."""
    return "--" + setting.replace("_", "-")


def read_toml(path: Path) -> dict[str, Any]:
    """Read settings from a TOML file of `setting = value` lines.

    Raises:
        InputError: the file cannot be read, is not TOML, or names an unknown setting.
    """
    return {key.replace("-", "_"): value for key, value in readers.read_toml(path).items()}


def make_config(values: Mapping[str, Any], source: str) -> TrainConfig:
    """Build a configuration from `values`; `source` says in messages where they come from.

    What is not among the values comes from the recipe among them, else from the paper, which has
    another one for training without labels.

    Raises:
        InputError: an unknown setting or recipe, a wrong type or a value out of range.
    """
    known = {setting.name for setting in fields(TrainConfig)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise InputError(
            f"{source}: unknown setting {', '.join(unknown)}; known are {', '.join(sorted(known))}"
        )
    recipe = values.get("recipe", "paper")
    if not isinstance(recipe, str) or recipe not in RECIPES:
        raise InputError(f"{source}: unknown recipe {recipe!r}; known are {', '.join(RECIPES)}")
    defaults = RECIPES[recipe]
    if values.get("unsupervised"):
        if defaults:
            raise InputError(f"{source}: recipe {recipe!r} is for training with labels")
        defaults = UNSUPERVISED.get(str(values.get("method", "winn")), {})
    return TrainConfig(**{**defaults, **values})


def _converted(name: str, value: Any, hint: Any) -> Any:
    """Return `value` as the setting's type, refusing anything that would change its meaning."""
    if isinstance(hint, types.UnionType):
        if value is None:
            return None
        hint = next(option for option in typing.get_args(hint) if option is not type(None))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise InputError(f"{option_name(name)} must be of type {hint.__name__}, not {value!r}")
    return value


def _check_bounds(name: str, value: Any, bounds: Mapping[str, float | None]) -> None:
    largest = LARGEST_FLOAT if isinstance(value, float) else LARGEST
    if value is not None and not isinstance(value, str) and largest < value < math.inf:
        raise InputError(f"{option_name(name)} must be at most {largest}, not {value}")
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{option_name(name)} must be a finite number, not {value}")
    checks = (
        ("at_least", "at least", lambda bound: value >= bound),
        ("above", "above", lambda bound: value > bound),
        ("at_most", "at most", lambda bound: value <= bound),
        ("below", "below", lambda bound: value < bound),
    )
    for key, words, holds in checks:
        bound = bounds[key]
        if bound is not None and value is not None and not holds(bound):
            raise InputError(f"{option_name(name)} must be {words} {bound:g}, not {value}")
