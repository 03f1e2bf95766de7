"""Training methods by name. A new one is one file, named here."""

from winnrobust.methods.baseline import Baseline
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

__all__ = ["METHODS", "Batch", "EpochEnd", "Losses", "Method"]
