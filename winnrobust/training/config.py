"""Every setting of a training run, grouped by topic, with the paper's values as defaults."""

import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self

from pydantic import Field, ValidationError
from pydantic.fields import FieldInfo

from winnrobust.runtime import readers
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.settings import (
    Count,
    Decay,
    NotNegative,
    Positive,
    PositiveShare,
    Seed,
    Settings,
    Share,
    Text,
    complaint,
)
from winnrobust.training.recipes import RECIPES, UNSUPERVISED


class ModelSettings(Settings):
    """The network."""

    arch: Text = "vanilla"
    """Architecture."""
    width: Annotated[float, Field(gt=0, le=64)] = 1.0
    """Multiplier for the channels of cnn64 and wgan-resnet."""
    padding: Text = "symmetric"
    """Padding of the vanilla CNN: symmetric, or one-sided as in TensorFlow."""
    initialization: Text = "tf"
    """Initial weights: tf, as in the authors' ResNet; dcgan, normal with standard deviation 0.02;
    torch, PyTorch's defaults."""


class DataSettings(Settings):
    """What it is trained on."""

    dataset: Text = "mnist"
    """Data set."""
    folder: Text | None = None
    """Without labels: a folder of pictures instead of a data set. They are cropped to a square and
    scaled; every tenth is held out for validation."""
    texture: Text | None = None
    """Without labels: a picture whose random crops serve as the data set: a file, or grass, gravel,
    or brick."""
    image_size: Annotated[int, Field(ge=16, le=1024)] = 64
    """Side of the images from --data or --texture, in pixels."""
    flip: bool = False
    """Flip each training image left to right with probability 1/2."""
    limit_train: Count | None = None
    """Train on only the first N images of the training split."""
    hold_out: Count | None = None
    """Validate on the last N of the images that are not for testing, and train on the rest; None:
    the usual number for the data set."""


class OptimizationSettings(Settings):
    """What is minimized, and how."""

    batch_size: Count = 100
    """Real images per step, plus the same number of pseudo-negatives."""
    lr: Positive = 1e-3
    """Adam's learning rate, constant."""
    adam_beta1: Decay = 0.0
    """Adam's first-moment decay."""
    adam_beta2: Decay = 0.9
    """Adam's second-moment decay."""
    adam_eps: Positive = 1e-8
    """Adam's epsilon."""
    average_decay: Decay = 0.0
    """Validate and keep a running average of the weights, with this decay per step; 0: none."""
    alpha: NotNegative = 0.01
    """Weight of the Wasserstein term plus gradient penalty."""
    gp_weight: NotNegative = 10.0
    """Weight of the gradient penalty within the alpha term."""
    margin_radius: Share = 0.0
    """For winn and baseline: L-infinity radius, in [0, 1] pixel units, by which the class loss
    shrinks every margin to first order, a penalty on the margin's gradient; 0: cross-entropy."""
    gp_share: PositiveShare = 1.0
    """Fraction of each batch's pairs that the gradient penalty is computed on."""


class NegativesSettings(Settings):
    """The pseudo-negatives: how many there are, and what they start from."""

    per_class: Count = 100
    """Pseudo-negatives per class, at the start and added by each synthesis."""
    share: PositiveShare = 1.0
    """Fraction of each batch's images that are paired with a pseudo-negative."""
    weight: Share = 0.1
    """Weight of the pseudo-negatives' loss in icn, gdl, and dcgan-negatives; the cross-entropy gets
    the rest of 1."""
    pool_newest: PositiveShare = 1.0
    """Use only the newest pseudo-negatives: this fraction of all that were made so far."""
    initial: Text = "projected"
    """Source of the initial images: a random network after a random projection (as in the authors'
    supervised code), the random network of the paper's Appendix D, or Gaussian pixels."""
    noise_dim: Count = 128
    """Number of inputs of the random initial generator."""
    noise_weight_std: Positive = 0.1
    """Standard deviation of the random initial generator's weights."""


class SynthesisSettings(Settings):
    """The ascents that make pseudo-negatives; on the command line all begin with --synthesis."""

    every: Count | None = None
    """Synthesize after every N steps as well, not only at the end of each epoch."""
    pool_share: Share = 0.0
    """Fraction of the ascents that start from the pool instead of from noise."""
    per_image: bool = False
    """Use a threshold and stop for each image, instead of for each class's mean."""
    lr: Positive = 0.02
    """Adam's step size on the pixels (in [-1, 1])."""
    beta1: Decay = 0.9
    """Adam's first-moment decay on the pixels."""
    beta2: Decay = 0.9
    """Adam's second-moment decay on the pixels."""
    max_steps: Count = 2000
    """Stop an ascent after this many steps and keep its images as they are."""
    tolerance: NotNegative = 1e-3
    """Stop when the mean critic is this close to the threshold."""
    class_weight: NotNegative = 0.5
    """Weight in the ascent of the cross-entropy for the target class."""
    carry_adam: bool = False
    """Carry Adam's moments over from one epoch's ascent to the next (as the TF1 code did)."""


class AdversarialSettings(Settings):
    """Adversarial training: pgd-at and trades."""

    epsilon: Share = 0.125
    """L-infinity bound for pgd-at and trades, in [0, 1] pixel units (MNIST in the papers: 0.3)."""
    # 0.125 is what MNIST is attacked with first: the yardstick is trained for where it is measured.
    steps: Count = 7
    """Steps of the inner maximization in pgd-at and trades; the default is Madry et al.'s for
    CIFAR-10 (MNIST in the papers: 40)."""
    step_size: Positive | None = None
    """Size of each such step, in [0, 1] pixel units; if not given, 2.5 * at-epsilon / at-steps
    (MNIST in the papers: 0.01)."""
    trades_beta: NotNegative = 1.0
    """Weight of the divergence term in trades, the authors' 1 / lambda (1 in their code for
    MNIST)."""


class GenerationSettings(Settings):
    """Training without labels, and generators that are trained beside a classifier or critic."""

    cascades: Count = 1
    """Without labels: train this many networks in a row, each for --epochs, and each starting from
    the weights and samples of the previous one."""
    start_images: Count = 10_000
    """Without labels: number of random images at the start, and of samples that a cascade passes on
    to the next."""
    iteration_images: Count = 5_000
    """Without labels: real images per epoch of a cascade; its first four epochs use 1/5, 2/5, 3/5,
    and 4/5 of them."""
    iteration_passes: Count = 3
    """Without labels: passes over those images, always in the same pairs."""
    dcgan_lr: Positive = 2e-4
    """Adam's learning rate for both networks of the DCGAN in dcgan-negatives (wgan-gp's generator
    uses --lr)."""
    dcgan_latents: Count = 100
    """Number of random inputs of the generator in dcgan-negatives and wgan-gp."""


class TrainConfig(Settings):
    """The configuration of one run; together with the data it decides the weights.

    Settings have two names: their place, `config.synthesis.lr`, and the one that is the option on
    the command line, `--synthesis-lr`. Configuration files may use either: `[synthesis] lr = 0.02`,
    or `synthesis-lr = 0.02`; so may the arguments here. Defaults are the paper's and its code's.

    Raises:
        InputError: an unknown setting, a value of the wrong type or outside its range; the message
            names the option.

    >>> config = TrainConfig(dataset="mnist5k", synthesis_lr=0.05)
    >>> config.data.dataset, config.synthesis.lr, config.optimization.lr
    ('mnist5k', 0.05, 0.001)
    >>> TrainConfig(gp_weight=-1)
    Traceback (most recent call last):
    winnrobust.runtime.errors.InputError: --gp-weight must be at least 0, not -1
    """

    method: Text = "winn"
    """Training method."""
    recipe: Text = "paper"
    """Defaults for all other settings that the method uses: the paper's, or those for training a
    WINN fast; for other methods, fast means smaller batches, a larger learning rate, and
    averaged weights."""
    unsupervised: bool = False
    """Train without labels: a critic that generates, instead of a classifier."""
    epochs: Count = 200
    """Passes over the training images; without labels, iterations per cascade."""
    keep_every: Count | None = None
    """Also keep the weights after every Nth epoch, under epochs/."""
    seed: Seed = 0
    """Random seed."""
    model: ModelSettings = ModelSettings()
    data: DataSettings = DataSettings()
    optimization: OptimizationSettings = OptimizationSettings()
    negatives: NegativesSettings = NegativesSettings()
    synthesis: SynthesisSettings = SynthesisSettings()
    adversarial: AdversarialSettings = AdversarialSettings()
    generation: GenerationSettings = GenerationSettings()

    def __init__(self, **settings: Any) -> None:
        values: dict[str, Any] = {}
        for name, value in _checked_names(flat(settings), "settings").items():
            *group, field = SETTINGS[name].place
            (values.setdefault(group[0], {}) if group else values)[field] = value
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise InputError(complaint(error, lambda place: option_name(_NAMES[place]))) from None

    @property
    def total_epochs(self) -> int:
        """Epochs of all cascades."""
        return self.epochs * self.generation.cascades

    def flat(self) -> dict[str, Any]:
        """All settings by the names that the command line has for them."""
        return flat(self.model_dump())

    def replace(self, **settings: Any) -> Self:
        """A copy with some settings changed, which are checked as ever."""
        return type(self)(**self.flat() | flat(settings))


class Setting(NamedTuple):
    """A setting.

    Attributes:
        name: its option's, with underscores: "synthesis_lr".
        place: in `TrainConfig`: ("synthesis", "lr").
        info: type, default and help text.
    """

    name: str
    place: tuple[str, ...]
    info: FieldInfo

    @property
    def type(self) -> type:
        """Of its values, besides None where there may be none."""
        kinds = typing.get_args(self.info.annotation) or (self.info.annotation,)
        kind = next(kind for kind in kinds if kind is not type(None))
        return getattr(kind, "__origin__", kind)  # of what is annotated with its bounds


_OTHER_NAMES = {
    "data.folder": "data",
    **{f"negatives.{name}": f"negatives_{name}" for name in ("per_class", "share", "weight")},
    **{f"synthesis.{name}": f"synthesis_{name}" for name in SynthesisSettings.model_fields},
    **{f"adversarial.{name}": f"at_{name}" for name in ("epsilon", "steps", "step_size")},
}
"""Place -> name on the command line, where that is not the field's."""


def _all_settings() -> Iterator[Setting]:
    for outer, info in TrainConfig.model_fields.items():
        if isinstance(info.default, Settings):
            for inner, each in type(info.default).model_fields.items():
                yield Setting(_OTHER_NAMES.get(f"{outer}.{inner}", inner), (outer, inner), each)
        else:
            yield Setting(outer, (outer,), info)


SETTINGS = {setting.name: setting for setting in _all_settings()}
"""Name -> setting, in the order of the help text."""
_NAMES = {setting.place: setting.name for setting in SETTINGS.values()}
_GROUPS = {place[0] for place in _NAMES if len(place) == 2}


def option_name(setting: str) -> str:
    """The command-line spelling of a setting: `gp_weight` -> `--gp-weight`."""
    return "--" + setting.replace("_", "-")


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by their options' names, whether they are given so or in groups.

    >>> flat({"epochs": 3, "synthesis_lr": 0.1, "optimization": {"lr": 0.2}})
    {'epochs': 3, 'synthesis_lr': 0.1, 'lr': 0.2}
    """
    found: dict[str, Any] = {}
    for key, value in values.items():
        if key in _GROUPS and isinstance(value, Mapping):
            for inner, each in value.items():
                found[_NAMES.get((key, inner), f"{key}.{inner}")] = each
        else:
            found[key] = value
    return found


def read_toml(path: Path) -> dict[str, Any]:
    """Read settings from a TOML file: `setting = value` lines, with or without their groups.

    Raises:
        InputError: the file cannot be read, or is not TOML.
    """
    return flat(_with_underscores(readers.read_toml(path)))


def _with_underscores(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key.replace("-", "_"): _with_underscores(value) if isinstance(value, dict) else value
        for key, value in values.items()
    }


def make_config(values: Mapping[str, Any], source: str = "settings") -> TrainConfig:
    """Build a configuration from `values`; `source` says in messages where they come from.

    What is not among the values comes from the recipe among them, else from the paper, which has
    another one for training without labels.

    Raises:
        InputError: an unknown setting or recipe, a wrong type or a value out of range.
    """
    given = _checked_names(flat(values), source)
    asked = TrainConfig(**given)
    if asked.recipe not in RECIPES:
        raise InputError(
            f"{source}: unknown recipe '{asked.recipe}'; known are {', '.join(RECIPES)}"
        )
    defaults = RECIPES[asked.recipe]
    if asked.unsupervised:
        if defaults:
            raise InputError(f"{source}: recipe '{asked.recipe}' is for training with labels")
        defaults = UNSUPERVISED.get(asked.method, {})
    return TrainConfig(**{**defaults, **given})


def _checked_names(values: dict[str, Any], source: str) -> dict[str, Any]:
    unknown = sorted(set(values) - set(SETTINGS))
    if unknown:
        raise InputError(
            f"{source}: unknown setting {', '.join(unknown)}; known are"
            f" {', '.join(sorted(SETTINGS))}"
        )
    return values
