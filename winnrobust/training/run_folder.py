"""Where the files of a training run are: what training writes and others read."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


class RunFolder:
    """The files of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.json"
        """The effective configuration, every field of `TrainConfig`."""
        self.manifest = path / "manifest.json"
        """Provenance, status ("training" or "complete"), best epoch, test error."""
        self.metrics = path / "metrics.jsonl"
        """One JSON object per finished epoch."""
        self.model = path / "model.safetensors"
        """The weights with the best validation error so far."""
        self.state = path / "state" / "last.safetensors"
        """What resume needs: newest weights, Adam's moments, the history."""

    def epoch_model(self, epoch: int) -> Path:
        """The weights after an epoch, where `keep_every` asks for them."""
        return self.path / "epochs" / f"epoch-{epoch:04d}.safetensors"

    def negatives(self, epoch: int) -> Path:
        """The pseudo-negatives made after an epoch."""
        return self.path / "state" / f"negatives-{epoch:04d}.safetensors"

    def samples(self, epoch: int) -> Path:
        """A picture of them: one row per class."""
        return self.path / "samples" / f"epoch-{epoch:04d}.png"


def thresholds_of(epochs: Sequence[Mapping[str, Any]]) -> tuple[tuple[float, float], ...]:
    """The ranges that early stopping draws from, of epochs' lines in `metrics`; none if not all
    have one.

    Older versions noted only what the network had given to real images while it was trained.
    """
    found = []
    for row in epochs:
        name = "stored_threshold" if "stored_threshold_low" in row else "threshold"
        if f"{name}_low" not in row:
            return ()
        found.append((row[f"{name}_low"], row[f"{name}_high"]))
    return tuple(found)
