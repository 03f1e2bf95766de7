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
    """Scale of the channels of cnn64 and wgan-resnet."""
    padding: Text = "symmetric"
    """Padding of the vanilla CNN: symmetric, or one-sided as TensorFlow's."""
    initialization: Text = "tf"
    """Initial weights: tf, as in the authors' ResNet; dcgan, normal of 0.02; torch, PyTorch's."""


class DataSettings(Settings):
    """What it is trained on."""

    dataset: Text = "mnist"
    """Data set."""
    folder: Text | None = None
    """Without labels: a folder of pictures in place of a data set. They are cut to a square and
    scaled; every tenth is kept for validation."""
    texture: Text | None = None
    """Without labels: a picture whose random crops are the data set: a file, or grass, gravel or
    brick."""
    image_size: Annotated[int, Field(ge=16, le=1024)] = 64
    """Side of images that come from --data or --texture."""
    flip: bool = False
    """Flip every training image with probability 1/2, left to right."""
    limit_train: Count | None = None
    """Train on the first N images of the training split only."""
    hold_out: Count | None = None
    """Validate on the last N images that are not for testing, train on the others; None: as many as
    is usual for the data set."""


class OptimizationSettings(Settings):
    """What is minimized, and how."""

    batch_size: Count = 100
    """Real images per step, with as many pseudo-negatives."""
    lr: Positive = 1e-3
    """Adam's learning rate, constant."""
    adam_beta1: Decay = 0.0
    """Adam's first-moment decay."""
    adam_beta2: Decay = 0.9
    """Adam's second-moment decay."""
    adam_eps: Positive = 1e-8
    """Adam's epsilon."""
    average_decay: Decay = 0.0
    """Decay per step of the average of the weights that is validated and kept; 0: none."""
    alpha: NotNegative = 0.01
    """Weight of Wasserstein term plus gradient penalty."""
    gp_weight: NotNegative = 10.0
    """Weight of the gradient penalty inside the alpha term."""
    margin_radius: Share = 0.0
    """L-infinity radius, in [0, 1] pixel units, by which the class loss of winn and baseline sees
    every margin shrunk, to first order: a penalty on the margin's gradient; 0: cross-entropy."""
    gp_share: PositiveShare = 1.0
    """Share of a batch's pairs that the gradient penalty looks at."""


class NegativesSettings(Settings):
    """The pseudo-negatives: how many there are, and what they start from."""

    per_class: Count = 100
    """Pseudo-negatives per class at the start and added by every synthesis."""
    share: PositiveShare = 1.0
    """Share of a batch's images that get a pseudo-negative."""
    weight: Share = 0.1
    """Weight of the pseudo-negatives' loss in icn, gdl and dcgan-negatives; the cross-entropy's is
    1 minus it."""
    pool_newest: PositiveShare = 1.0
    """Share of all pseudo-negatives made so far, the newest, that are in play."""
    initial: Text = "projected"
    """What the first images are drawn from: a random network behind a random projection (the
    supervised code's), the random network of the paper's Appendix D, or gaussian pixels."""
    noise_dim: Count = 128
    """Inputs of the random initial generator."""
    noise_weight_std: Positive = 0.1
    """Standard deviation of the random generator's weights."""


class SynthesisSettings(Settings):
    """The ascents that make pseudo-negatives; on the command line all begin with --synthesis."""

    every: Count | None = None
    """Synthesize after every N steps too, not only at the end of an epoch."""
    pool_share: Share = 0.0
    """Share of the ascents that start from the pool, not noise."""
    per_image: bool = False
    """A threshold and a stop for every image instead of every class's mean."""
    lr: Positive = 0.02
    """Adam's step on the pixels (in [-1, 1])."""
    beta1: Decay = 0.9
    """First-moment decay of Adam on the pixels."""
    beta2: Decay = 0.9
    """Second-moment decay of Adam on the pixels."""
    max_steps: Count = 2000
    """Ascent steps after which a batch is kept as it is."""
    tolerance: NotNegative = 1e-3
    """Stop when the mean critic is this close to the threshold."""
    class_weight: NotNegative = 0.5
    """Weight of the cross-entropy to the wanted class in the ascent."""
    carry_adam: bool = False
    """Keep Adam's moments from one epoch's ascent to the next (as the TF1 code did)."""


class AdversarialSettings(Settings):
    """Adversarial training: pgd-at and trades."""

    epsilon: Share = 0.125
    """L-infinity bound of pgd-at and trades, in [0, 1] pixel units (the papers' for MNIST: 0.3)."""
    # 0.125 is what MNIST is attacked with first: the yardstick is trained for where it is measured.
    steps: Count = 7
    """Steps of the inner maximization of pgd-at and trades: Madry et al.'s for CIFAR-10 (the
    papers' for MNIST: 40)."""
    step_size: Positive | None = None
    """Size of such a step, in [0, 1] pixel units; if not given, 2.5 * at-epsilon / at-steps (the
    papers' for MNIST: 0.01)."""
    trades_beta: NotNegative = 1.0
    """Weight of the divergence term of trades, the authors' 1 / lambda (1 in their code for
    MNIST)."""


class GenerationSettings(Settings):
    """Training without labels, and generators that are trained beside a classifier or critic."""

    cascades: Count = 1
    """Without labels: how many networks follow each other, each with --epochs of its own; it starts
    from the weights and the samples of the one before it."""
    start_images: Count = 10_000
    """Without labels: random images that there are at first, and samples that a cascade leaves to
    the next."""
    iteration_images: Count = 5_000
    """Without labels: real images in an epoch of a cascade; its first four have 1/5, 2/5, 3/5 and
    4/5 of them."""
    iteration_passes: Count = 3
    """Without labels: passes over them, always in the same pairs."""
    dcgan_lr: Positive = 2e-4
    """Adam's learning rate of both networks of dcgan-negatives' DCGAN (wgan-gp's generator has
    --lr)."""
    dcgan_latents: Count = 100
    """Random inputs of the generator of dcgan-negatives and of wgan-gp."""


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
    """Defaults of all other settings, as far as the method uses them: the paper's, or those of a
    fast training of a WINN, which for every other method, too, mean smaller batches and averaged
    weights."""
    unsupervised: bool = False
    """Train without labels: a critic and generator alone, in place of a classifier."""
    epochs: Count = 200
    """Passes over the training images; without labels, iterations (of a cascade)."""
    keep_every: Count | None = None
    """Keep the weights after every Nth epoch too, under epochs/."""
    seed: Seed = 0
    """Seed of all randomness."""
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
