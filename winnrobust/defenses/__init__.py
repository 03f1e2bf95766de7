"""False defenses to learn from: each makes a network look robust, and none makes it robust.

`python -m benchmarks.defenses` measures how false each is, and whether the diagnosis sees it.
"""

from winnrobust.defenses.base import Around, Defense, with_layers
from winnrobust.defenses.misleading import MISLEADING
from winnrobust.defenses.saturated import SATURATED
from winnrobust.defenses.shattered import SHATTERED
from winnrobust.defenses.stochastic import STOCHASTIC

DEFENSES: dict[str, Defense] = {
    defense.name: defense for defense in (*SHATTERED, *SATURATED, *STOCHASTIC, *MISLEADING)
}
"""Name -> defense."""

KINDS = tuple(dict.fromkeys(defense.kind for defense in DEFENSES.values()))

__all__ = ["DEFENSES", "KINDS", "Around", "Defense", "with_layers"]
