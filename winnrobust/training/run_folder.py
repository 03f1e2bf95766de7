"""Where the files of a training run are: what training writes and others read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class RunFolder:
    """The files of one run."""

    path: Path

    @property
    def config(self) -> Path:
        """The effective configuration, every field of `TrainConfig`."""
        return self.path / "config.json"

    @property
    def manifest(self) -> Path:
        """Provenance, status ("training" or "complete"), best epoch, test error."""
        return self.path / "manifest.json"

    @property
    def metrics(self) -> Path:
        """One JSON object per finished epoch."""
        return self.path / "metrics.jsonl"

    @property
    def model(self) -> Path:
        """The weights with the best validation error so far."""
        return self.path / "model.safetensors"

    def epoch_model(self, epoch: int) -> Path:
        """The weights after an epoch, where `keep_every` asks for them."""
        return self.path / "epochs" / f"epoch-{epoch:04d}.safetensors"

    @property
    def state(self) -> Path:
        """What resume needs: newest weights, Adam's moments, the history."""
        return self.path / "state" / "last.safetensors"

    def negatives(self, epoch: int) -> Path:
        """The pseudo-negatives made after an epoch."""
        return self.path / "state" / f"negatives-{epoch:04d}.safetensors"

    def samples(self, epoch: int) -> Path:
        """A picture of them: one row per class."""
        return self.path / "samples" / f"epoch-{epoch:04d}.png"


def thresholds_of(epochs: Sequence[Mapping[str, Any]]) -> tuple[tuple[float, float], ...]:
    """The ranges that early stopping draws from, of epochs' lines in `metrics`; none if not all
    have one."""
    if not all("threshold_low" in row for row in epochs):
        return ()
    return tuple((row["threshold_low"], row["threshold_high"]) for row in epochs)
