"""Recipes by name: the settings that differ from the paper's."""

from typing import Any

RECIPES: dict[str, dict[str, Any]] = {
    "paper": {},
    "fast": {
        "batch_size": 50,
        "lr": 0.003,
        "alpha": 0.03,
        "gp_share": 0.5,
        "negatives_share": 0.4,
        "average_decay": 0.999,
        "negatives_per_class": 20,
        "pool_newest": 0.5,
        "synthesis_every": 100,
        "synthesis_pool_share": 0.8,
        "synthesis_per_image": True,
        "synthesis_lr": 0.05,
        "synthesis_max_steps": 15,
    },
}
"""Name -> the defaults it sets in place of the paper's; what a user gives wins over both."""

_WITHOUT_LABELS: dict[str, Any] = {
    "epochs": 100,
    "batch_size": 50,
    "lr": 1e-4,
    "negatives_per_class": 1000,
    "synthesis_lr": 0.01,
    "synthesis_beta2": 0.999,
    "initial": "appendix-d",
}

UNSUPERVISED: dict[str, dict[str, Any]] = {
    "winn": _WITHOUT_LABELS,
    "wgan-gp": _WITHOUT_LABELS,
    "inn": _WITHOUT_LABELS
    | {"synthesis_lr": 0.02, "synthesis_beta1": 0.5, "initial": "gaussian", "iteration_passes": 1},
}
"""Method -> what the paper's recipe sets for training without labels (authors' code)."""
