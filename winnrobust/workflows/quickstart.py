"""`winnrobust quickstart`: a page of models that come along, then of two trained here."""

import math
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F

from winnrobust.data.datasets import to_unit
from winnrobust.evaluation import EvaluationSettings
from winnrobust.models import build
from winnrobust.reporting import terminal_summary
from winnrobust.runtime import distributed
from winnrobust.runtime.progress import log
from winnrobust.training.config import TrainConfig, make_config
from winnrobust.training.run_folder import RunFolder
from winnrobust.workflows.comparing import attacked_page, check_page
from winnrobust.workflows.images import ImageSource
from winnrobust.workflows.shared import REFERENCE_METHOD, load_data
from winnrobust.workflows.training import complete_run

QUICK = make_config(
    {"dataset": "mnist5k", "arch": "vanilla", "recipe": "fast", "lr": 0.006, "epochs": 16}
)
"""What is trained: chosen on validation images (reports/quickstart/protocol.md)."""
SHIPPED = (Path("zoo:mnist-vanilla-baseline"), Path("zoo:mnist-vanilla-winn"))
"""What the first page shows."""
ATTACK = EvaluationSettings(attacks=["fgsm"], epsilons={"linf": [0.125]})
"""FGSM at the paper's epsilon, with the stable loss."""
STEPS_OF_WINN = 3.0
"""An epoch of the WINN takes as long as so many of the baseline."""
OTHER_SECONDS, OTHER_STEPS = 4.0, 300
"""What attacks and pages take: so long, and as long as so many training steps."""


def quickstart(config: TrainConfig, out: Path, device: torch.device) -> Path:
    """Attack models that come along, train a baseline and a WINN, attack both, and return the page.

    What is there already is kept, so that the same call goes on after an interruption.

    Raises:
        InputError: `out` holds something else.
    """
    log(f"this machine: {told(estimated_seconds(config, device))} in all, a first page before that")
    check_page(out / "report")
    first = out / "first"
    if not distributed.broadcast((first / "index.html").exists()):
        page = _attacked(SHIPPED, first, config, device)
        log(f"open {page}; now two networks are trained like these, for less long")
    last = []
    for method in (REFERENCE_METHOD, config.method):
        run = RunFolder(out / "runs" / method)
        settings = config.replace(method=method, keep_every=config.epochs)
        complete_run(run.path, settings, None, device)
        last.append(run.epoch_model(config.epochs))  # 500 validation images choose by luck
    return _attacked(last, out / "report", config, device)


def _attacked(models: Sequence[Path], out: Path, config: TrainConfig, device: torch.device) -> Path:
    """Attack models, say who is more robust, and return the page."""
    source = ImageSource(dataset=config.data.dataset)
    page = attacked_page(
        models,
        out,
        ATTACK,
        source,
        with_diagnosis=False,
        device=device,
        resume_with="the same command",
    )
    log(terminal_summary(out / "results"))
    return page


def estimated_seconds(config: TrainConfig, device: torch.device) -> float:
    """Measure some steps of the baseline's training, and return what all of it will take."""
    dataset = load_data(config.data.dataset, None)
    size = config.optimization.batch_size
    network = build(config.model.arch, 1, 28, 10, torch.Generator().manual_seed(0)).to(device)
    optimizer = torch.optim.Adam(network.parameters())
    images = to_unit(dataset.train.images[:size]).to(device)
    labels = dataset.train.labels[:size].to(device)
    seconds = []
    for _ in range(12):
        began = time.perf_counter()
        optimizer.zero_grad()
        loss = F.cross_entropy(network(images).logits, labels)
        loss.backward()
        optimizer.step()
        loss.item()  # waits for a GPU
        seconds.append(time.perf_counter() - began)
    steps = config.epochs * math.ceil(len(dataset.train) / size)
    return median(seconds[2:]) * (steps * (1 + STEPS_OF_WINN) + OTHER_STEPS) + OTHER_SECONDS


def told(seconds: float) -> str:
    """
    >>> told(95), told(200)
    ('about 1.5 minutes', 'about 3.5 minutes')
    """
    return f"about {max(1, math.ceil(seconds / 30)) / 2:g} minutes"
