"""Training methods by name. A new one is one file, named here."""

from winnrobust.runtime.errors import InputError
from winnrobust.training.config import TrainConfig
from winnrobust.training.methods.baseline import Baseline
from winnrobust.training.methods.dcgan_negatives import DcganNegatives
from winnrobust.training.methods.from_config import (
    INITIAL,
    adam_of,
    ascent_of,
    initial_of,
    network_of,
)
from winnrobust.training.methods.gdl import Gdl
from winnrobust.training.methods.icn import Icn
from winnrobust.training.methods.inn import Inn
from winnrobust.training.methods.method import Batch, Method
from winnrobust.training.methods.pgd_at import PgdAdversarialTraining
from winnrobust.training.methods.trades import Trades
from winnrobust.training.methods.unsupervised_winn import UnsupervisedWinn
from winnrobust.training.methods.wgan_gp import WganGp
from winnrobust.training.methods.winn import Winn

METHODS: dict[str, type[Method]] = {
    "baseline": Baseline,
    "winn": Winn,
    "pgd-at": PgdAdversarialTraining,
    "trades": Trades,
    "icn": Icn,
    "gdl": Gdl,
    "dcgan-negatives": DcganNegatives,
}
"""Name -> method."""

UNSUPERVISED: dict[str, type[Method]] = {"winn": UnsupervisedWinn, "inn": Inn, "wgan-gp": WganGp}
"""Name -> method without labels."""


def method_of(config: TrainConfig) -> type[Method]:
    """Return the method that a run is trained by.

    Raises:
        InputError: there is none of that name.
    """
    known = UNSUPERVISED if config.unsupervised else METHODS
    if config.method in known:
        return known[config.method]
    if config.method in UNSUPERVISED:
        raise InputError(f"method '{config.method}' trains without labels; add --unsupervised")
    if config.method in METHODS:
        raise InputError(
            f"method '{config.method}' needs labels; without them there are"
            f" {', '.join(UNSUPERVISED)}"
        )
    raise InputError(f"unknown method '{config.method}'; known are {', '.join(known)}")


__all__ = [
    "INITIAL",
    "METHODS",
    "UNSUPERVISED",
    "Batch",
    "Method",
    "adam_of",
    "ascent_of",
    "initial_of",
    "method_of",
    "network_of",
]
