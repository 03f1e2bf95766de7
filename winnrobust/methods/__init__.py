"""Training methods by name. A new one is one file, named here."""

from winnrobust.methods.baseline import Baseline
from winnrobust.methods.from_config import INITIAL, ascent_of, initial_of
from winnrobust.methods.method import Batch, EpochEnd, Losses, Method
from winnrobust.methods.pgd_at import PgdAdversarialTraining
from winnrobust.methods.trades import Trades
from winnrobust.methods.winn import Winn

METHODS: dict[str, type[Method]] = {
    "baseline": Baseline,
    "winn": Winn,
    "pgd-at": PgdAdversarialTraining,
    "trades": Trades,
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
