"""What an evaluation does to every batch."""

from dataclasses import dataclass

from torch import nn

from winnrobust.attacks import Attack, Budget, Norm
from winnrobust.evaluation.examples import Case


@dataclass(frozen=True)
class Plan:
    """What an evaluation does to every batch.

    Attributes:
        models: name -> module, all attacked and all judges.
        attacks: what every model is attacked with.
        epsilons: for each norm, the perturbation bounds of the attacks in that norm.
        budget: of every attack.
        aim: how the classes that targeted attacks want are chosen, a name in `aims.AIMS`; or None.
        seconds: time for an attack on a model, over all batches.
        seed: of all randomness of the attacks and the aims.
    """

    models: dict[str, nn.Module]
    attacks: list[Attack]
    epsilons: dict[Norm, list[float]]
    budget: Budget
    aim: str | None
    seconds: float
    seed: int

    @property
    def strikes(self) -> list[tuple[Attack, float]]:
        """Every attack with every epsilon of its norm: what a model is up against."""
        return [
            (attack, epsilon) for attack in self.attacks for epsilon in self.epsilons[attack.norm]
        ]

    @property
    def cases(self) -> list[Case]:
        """Every strike against every model: S strikes on M models make S * M cases."""
        return [
            (attack.name, epsilon, source)
            for attack, epsilon in self.strikes
            for source in self.models
        ]

    @property
    def unions(self) -> dict[tuple[str, float], list[int]]:
        """(norm, epsilon) -> numbers of the strikes that share them, for the worst case."""
        found: dict[tuple[str, float], list[int]] = {}
        for number, (attack, epsilon) in enumerate(self.strikes):
            found.setdefault((attack.norm, epsilon), []).append(number)
        return found
