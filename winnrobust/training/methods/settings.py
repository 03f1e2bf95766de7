"""Which settings a method uses besides those of every training, so that no option does nothing."""

from collections.abc import Collection, Mapping, Set

from winnrobust.runtime.errors import InputError
from winnrobust.training.config import TrainConfig, option_name
from winnrobust.training.methods import method_of

_INITIAL = {"initial", "noise_dim", "noise_weight_std"}
_ASCENT = {"synthesis_lr", "synthesis_beta1", "synthesis_beta2", "synthesis_max_steps"}
_NEGATIVES = _INITIAL | {"negatives_per_class", "negatives_share"}
_INTROSPECTIVE = _NEGATIVES | _ASCENT | {
    "pool_newest", "synthesis_every", "synthesis_per_image", "synthesis_carry_adam",
    "synthesis_tolerance",
}  # fmt: skip
_SELF_TAUGHT = _INTROSPECTIVE | {"synthesis_pool_share", "synthesis_class_weight"}
_ADVERSARIAL = {"at_epsilon", "at_steps", "at_step_size"}
_CRITIC = _INITIAL | _ASCENT | {"negatives_per_class", "iteration_images", "iteration_passes"}
_CASCADE = _CRITIC | {"start_images", "pool_newest", "synthesis_per_image"}

WITH_LABELS: dict[str, Set[str]] = {
    "baseline": set(),
    "winn": _SELF_TAUGHT | {"alpha", "gp_weight", "gp_share"},
    "pgd-at": _ADVERSARIAL,
    "trades": _ADVERSARIAL | {"trades_beta"},
    "icn": _SELF_TAUGHT | {"negatives_weight"},
    "gdl": _INTROSPECTIVE | {"negatives_weight"},
    "dcgan-negatives": _NEGATIVES | {"negatives_weight", "dcgan_lr", "dcgan_latents"},
}
WITHOUT_LABELS: dict[str, Set[str]] = {
    "winn": _CASCADE | {"gp_weight"},
    "inn": _CASCADE,
    "wgan-gp": _CRITIC | {"gp_weight", "dcgan_latents"},
}
"""Method -> what its training uses, or an ascent on what it trained. What is in no row is used by
every training. `tests/training/methods/test_settings.py` compares both with what is read."""

OF_A_METHOD = frozenset().union(*WITH_LABELS.values(), *WITHOUT_LABELS.values())

OF_INITIAL: dict[str, Set[str]] = {
    "projected": {"noise_dim", "noise_weight_std"},
    "appendix-d": {"noise_weight_std"},
    "gaussian": set(),
}
"""Initial distribution -> what it uses."""

OF_AN_INITIAL = frozenset().union(*OF_INITIAL.values())


def unused_by(config: TrainConfig) -> Set[str]:
    """The settings that say nothing to the run's method.

    Raises:
        InputError: there is no such method.
    """
    method_of(config)
    return OF_A_METHOD - _rows(config)[config.method]


def check_given(given: Collection[str], config: TrainConfig) -> None:
    """Check that the training uses every setting that a user gave.

    Raises:
        InputError: it does not, or there is no such method.
    """
    idle = unused_by(config)
    unused = [name for name in given if name in idle]
    if unused:
        kind = " without labels" if config.unsupervised else ""
        told = ", ".join(f"{option_name(name)} (of {_users(name, config)})" for name in unused)
        raise InputError(f"method {config.method}{kind} does not use {told}; leave that out")
    if config.initial in OF_INITIAL:  # else it is refused with what there is
        idle = OF_AN_INITIAL - OF_INITIAL[config.initial]
        for name in given:
            if name in idle:
                raise InputError(
                    f"--initial {config.initial} does not use {option_name(name)}; leave that out"
                )


def _rows(config: TrainConfig) -> Mapping[str, Set[str]]:
    return WITHOUT_LABELS if config.unsupervised else WITH_LABELS


def _users(setting: str, config: TrainConfig) -> str:
    """Who uses a setting, of the methods that could take the place of the run's."""
    users = [method for method, used in _rows(config).items() if setting in used]
    return ", ".join(users) or f"training {'with' if config.unsupervised else 'without'} labels"
