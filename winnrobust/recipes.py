"""Recipes by name: the settings that differ from the paper's."""

from typing import Any

RECIPES: dict[str, dict[str, Any]] = {
    "paper": {},
    "fast": {
        "batch_size": 50,
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
