"""What iterative attacks share: which images are still active, what was found, what it took.

A loop runs over the *active* images only, those that have not been broken yet. It holds their
numbers `rows` (n,), and whatever else it needs of them in the same order:

    progress = Progress(model, images, labels, run)
    rows = progress.rows()
    points = progress.images[rows]
    for _ in range(steps):
        if progress.over(rows):
            break
        gradient = progress.gradient(rows, points, objective).gradient  # sees what is broken
        points = ...
        rows, points = progress.compact(rows, points)  # what is broken leaves
    progress.leave(rows, points)
    return progress.result()

On a CPU an image leaves at once. Elsewhere to look who has left is to wait for the device, so that
is done every few steps, and the batch is made smaller when a quarter has left. What an image that
has left still does there counts for nothing.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from winnrobust.attacks.base import AttackResult, Run
from winnrobust.attacks.gradients import (
    Answer,
    GradientStatistics,
    Loss,
    LossGradient,
    answer,
    at_least_float32,
    find_loss,
    gradient_of,
)
from winnrobust.attacks.norms import NORMS, NormName, per_image
from winnrobust.runtime import devices

LOOK_EVERY = 5
"""In steps: how often a device is asked how many images are still active."""
WORTHWHILE = 0.75
"""A batch on a device is made smaller once no more than this share of it is active."""

BatchObjective = Callable[[Tensor, Tensor], Tensor]
"""From logits (n, K) of the images numbered (n,) to what an attack raises, (n,)."""


class Progress:
    """A batch under attack. An image is active until it is *broken*: wrong, or seen as its target.

    A model that answers at random must be so in the mean over the draws and in every single one:
    where it is in the mean only, the next draw may be right. What counts in the end is the point
    with the most such draws, and of several the last.

    Attributes:
        model, labels, run: as given.
        images: (N, C, H, W), as given, at least float32.
        numbers: (N,) int64, the images' numbers among all, for random numbers.
        active: (N,) bool.
        found: (N, C, H, W), the best points so far.

    >>> import torch
    >>> from winnrobust.attacks import Progress, Run
    >>> images = torch.tensor([[0.75, 0.25], [0.5, 0.75]]).view(2, 1, 1, 2)
    >>> progress = Progress(torch.nn.Flatten(), images, torch.tensor([0, 0]), Run())
    >>> rows = progress.rows()  # the second image is wrong without an attack
    >>> points, objective = progress.images[rows], progress.objective("margin")
    >>> for _ in range(3):
    ...     gradient = progress.gradient(rows, points, objective).gradient
    ...     points = points + 0.25 * gradient.sign()
    ...     rows, points = progress.compact(rows, points)
    ...     if progress.over(rows):
    ...         break
    >>> progress.leave(rows, points)
    >>> result = progress.result()
    >>> result.images.flatten(1), result.gradients
    (tensor([[0.2500, 0.7500],
            [0.5000, 0.7500]]), tensor([3, 0]))
    """

    def __init__(self, model: nn.Module, images: Tensor, labels: Tensor, run: Run) -> None:
        """Ask the model about the images: there is nothing to do where they are broken already."""
        self.model, self.labels, self.run = model, labels, run
        self.images = at_least_float32(images.detach())
        self.numbers = run.numbers_of(images)
        self.clean = run.clean_pass(model, images, labels)
        self.found = self.images.clone()
        self.active = torch.ones_like(self.numbers, dtype=torch.bool)
        self._most = torch.full_like(self.numbers, -1)  # draws in which `found` is as wanted
        self._gradients = torch.zeros_like(self.numbers)
        self._queries = torch.zeros_like(self.numbers)
        self._unfinished = torch.zeros_like(self.active)
        self._counts = self.numbers.new_zeros(len(GradientStatistics._fields))
        self._unseen: tuple[Tensor, Tensor] | None = None
        self._looks, self._steps, self._late = 0, 0, run.out_of_time()
        if run.early_stop and not self._late:
            everyone = torch.arange(len(images), device=images.device)
            self._see(everyone, self.images, self.clean.answer)

    # What a loop asks

    def rows(self) -> Tensor:
        """Return the numbers (n,) int64 in the batch of the images that are active; none when late.

        Looks at what was left unseen.
        """
        if self._unseen is not None and self.run.early_stop and not self.out_of_time():
            rows, points = self._unseen
            self._unseen = None
            if len(rows):
                self.look(rows, points)
        rows = self.active.nonzero().flatten()
        return rows[:0] if len(rows) and self.out_of_time() else rows

    def over(self, rows: Tensor) -> bool:
        """Tell whether a loop over images ends here: none is left, or time ran out."""
        return not len(rows) or self.out_of_time()

    def out_of_time(self) -> bool:
        """Tell whether the deadline has passed; images that are active then are unfinished."""
        self._late = self._late or self.run.out_of_time()
        return self._late

    def compact(self, rows: Tensor, *remembered: Tensor) -> tuple[Tensor, ...]:
        """Return rows (n,) and what is remembered of them (n, ...), without what has left."""
        stay = self.active[rows]
        if not devices.waits(rows.device):
            worthwhile = not bool(stay.all())
        else:
            self._looks += 1
            worthwhile = self._looks % LOOK_EVERY == 0 and int(stay.sum()) <= WORTHWHILE * len(rows)
        if not worthwhile:
            return (rows, *remembered)
        chosen = stay.nonzero().flatten()
        return tuple(each[chosen] for each in (rows, *remembered))

    # Passes

    def objective(self, loss: str | Loss) -> BatchObjective:
        """Return what to raise: the loss of the labels, or the negative one of the targets.

        Raises:
            InputError: there is no loss of that name.
        """
        function, targets = find_loss(loss), self.run.targets
        if targets is None:
            return lambda logits, rows: function(logits, self.labels[rows])
        return lambda logits, rows: -function(logits, targets[rows])

    def gradient(self, rows: Tensor, points: Tensor, objective: BatchObjective) -> LossGradient:
        """Return d objective / d points (n, C, H, W) of the images numbered `rows`.

        Raises:
            InputError: as `gradients.loss_gradient`.
        """
        seen = self.explore(rows, points, objective)
        self._see(rows, points, seen)
        return seen

    def explore(self, rows: Tensor, points: Tensor, objective: BatchObjective) -> LossGradient:
        """Return the same at points that may be outside of the ball: none of them is found.

        Raises:
            InputError: as `gradients.loss_gradient`.
        """
        seen = gradient_of(lambda logits: objective(logits, rows), self.model, points, self.run.eot)
        active = self.active[rows]
        self._gradients[rows] += self.run.eot * active
        self._counts += (seen.counts * active).sum(1)
        if self.run.callback is not None:
            self._steps += 1
            self.run.tell(self._steps, seen.losses[active])
        return seen

    def look(self, rows: Tensor, points: Tensor) -> Answer:
        """Return what the model says of points (n, C, H, W) of the images numbered `rows`."""
        seen = answer(self.model, points, self.run.eot)
        self._queries[rows] += self.run.eot * self.active[rows]
        self._see(rows, points, seen)
        return seen

    def broken(self, rows: Tensor, seen: Answer) -> Tensor:
        """Tell which of the images numbered `rows` are broken (n,) where the answer is such."""
        in_the_mean = self._wanted(seen.logits.argmax(1), rows)
        return in_the_mean & self._wanted(seen.predictions, rows).all(0)

    def _wanted(self, predictions: Tensor, rows: Tensor) -> Tensor:
        if self.run.targets is None:
            return predictions != self.labels[rows]
        return predictions == self.run.targets[rows]

    def count(self, rows: Tensor, result: AttackResult) -> None:
        """Add what another attack spent on the images numbered `rows`, and where time ran out."""
        self._gradients[rows] += result.gradients
        self._queries[rows] += result.queries
        self._unfinished[rows] = result.unfinished
        self._counts += torch.stack([torch.as_tensor(each) for each in result.statistics]).to(
            self._counts
        )

    # What was found

    def _see(self, rows: Tensor, points: Tensor, seen: Answer) -> None:
        """Remember the points (n, C, H, W) that are the best of their images so far."""
        if not self.run.early_stop:
            return
        draws_wanted = self._wanted(seen.predictions, rows).sum(0)
        better = self.active[rows] & (draws_wanted >= self._most[rows])
        self._keep(rows, points, better)
        self._most[rows] = torch.where(better, draws_wanted, self._most[rows])
        self.active[rows] &= ~self.broken(rows, seen)

    def _keep(self, rows: Tensor, points: Tensor, chosen: Tensor) -> None:
        self.found[rows] = torch.where(
            per_image(chosen), points.to(self.found.dtype), self.found[rows]
        )

    def leave(self, rows: Tensor, points: Tensor) -> None:
        """Hand over the last points (n, C, H, W) of a loop, which nobody has looked at.

        They are looked at if that decides something: before the next loop, or if draws count.
        """
        if len(rows):
            self._unseen = rows, points

    def result(self) -> AttackResult:
        """Return what was found for each image."""
        if self.run.eot > 1 and self.run.early_stop:
            self.rows()  # of several draws the last point may have fewer wrong than one before
        elif self._unseen is not None:
            rows, points = self._unseen
            self._keep(rows, points, self.active[rows])
        return AttackResult(
            images=self.found,
            gradients=self._gradients,
            queries=self._queries,
            unfinished=self.active & (self._unfinished | self._late),
            statistics=GradientStatistics(*self._counts.unbind()),
        )


class Nearest(Progress):
    """A batch for which the nearest broken point of each image is wanted, in some norm.

    Attributes:
        distance: (N,), how far it is: 0 where there is nothing to attack, infinite where nothing
            was found.
        enough: an image is active until its distance is at most this.

    >>> import torch
    >>> from winnrobust.attacks import Nearest, Run
    >>> image = torch.tensor([[[[0.75, 0.25]]]])
    >>> nearest = Nearest(torch.nn.Flatten(), image, torch.tensor([0]), Run(), "linf")
    >>> for epsilon in (0.5, 0.25, 0.375):
    ...     seen = nearest.look(nearest.rows(), image + epsilon * torch.tensor([-1, 1]))
    >>> nearest.result().distance
    tensor([0.3750])
    """

    def __init__(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        run: Run,
        norm: NormName,
        enough: float = 0.0,
    ) -> None:
        self.norm, self.enough = NORMS[norm], enough
        self.distance = at_least_float32(images.detach()).new_full((len(images),), torch.inf)
        super().__init__(model, images, labels, replace(run, early_stop=True))

    def _see(self, rows: Tensor, points: Tensor, seen: Answer) -> None:
        size = self.norm.size(points - self.images[rows])
        nearer = self.broken(rows, seen) & (size < self.distance[rows])
        self._keep(rows, points, nearer)
        self.distance[rows] = torch.where(nearer, size.to(self.distance.dtype), self.distance[rows])
        self.active[rows] &= self.distance[rows] > self.enough

    def result(self) -> AttackResult:
        """Return the nearest broken points, and the images where there are none."""
        return replace(super().result(), distance=self.distance)
