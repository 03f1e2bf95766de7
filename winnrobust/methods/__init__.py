"""Training methods by name. A new one is one file, named here."""

from winnrobust.methods.baseline import Baseline
from winnrobust.methods.dcgan_negatives import DcganNegatives
from winnrobust.methods.from_config import INITIAL, ascent_of, initial_of
from winnrobust.methods.gdl import Gdl
from winnrobust.methods.icn import Icn
from winnrobust.methods.method import Batch, EpochEnd, Losses, Method
from winnrobust.methods.pgd_at import PgdAdversarialTraining
from winnrobust.methods.trades import Trades
from winnrobust.methods.winn import Winn

METHODS: dict[str, type[Method]] = {
    "baseline": Baseline,
    "winn": Winn,
    "pgd-at": PgdAdversarialTraining,
    "trades": Trades,
    "icn": Icn,
    "gdl": Gdl,
    "dcgan-negatives": DcganNegatives,
}

__all__ = [
    "INITIAL",
    "METHODS",
    "Batch",
    "EpochEnd",
    "Losses",
    "Method",
    "ascent_of",
    "initial_of",
]
