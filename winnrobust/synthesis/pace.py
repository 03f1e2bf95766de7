"""How far ascents are that follow each other."""

from collections.abc import Callable

Progress = Callable[[int, int, str], None]
"""Called with steps done, steps at most, and a few words."""


def silent(done: int, total: int, text: str) -> None:
    """Show no progress."""


class Pace:
    """Counts the steps of some ascents of at most `limit` steps, one after the other.

    Where one stops early its other steps count as done, so that an ETA that is made of them is one
    at most for the current ascent, and about right for those to come.
    """

    def __init__(self, ascents: int, limit: int, progress: Progress) -> None:
        self.total, self.limit, self.progress = ascents * limit, limit, progress
        self.ended = self.steps = 0

    def step(self, text: str) -> None:
        """Count a step."""
        self.steps = min(self.steps + 1, self.limit)
        self.progress(self.ended * self.limit + self.steps, self.total, text)

    def end(self, text: str = "") -> None:
        """Go on to the next ascent."""
        self.ended, self.steps = self.ended + 1, 0
        self.progress(self.ended * self.limit, self.total, text)
