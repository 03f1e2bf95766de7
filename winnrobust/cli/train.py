"""`winnrobust train`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from winnrobust.cli.grouped import Grouped
from winnrobust.cli.options import (
    config_file_option,
    config_options,
    data_root_option,
    device_option,
    given_settings,
    out_option,
    runs_option,
    with_place,
)
from winnrobust.training.config import make_config
from winnrobust.training.recipes import UNSUPERVISED

if TYPE_CHECKING:
    import torch


@click.command(cls=Grouped)
@config_options(without_labels=UNSUPERVISED["winn"])
@config_file_option
@out_option("Folder of the run.  [default: a new one under --runs]")
@runs_option
@click.option(
    "--resume",
    is_flag=True,
    help="Continue the run in --out, or the newest one under --runs with the given data set,"
    " architecture, method, and seed. It keeps its own settings, but --epochs can extend it.",
)
@data_root_option
@device_option
def train(
    config_file: Path | None,
    out: Path | None,
    runs: Path,
    resume: bool,
    data_root: Path | None,
    device: "torch.device",
    **settings: Any,
) -> None:
    """Train a WINN, or a method to compare it with; keep the epoch with the best validation error.

    Methods: winn; baseline, the same network with cross-entropy only; icn, cross-entropy plus a
    logistic loss on the network's own pseudo-negatives (Jin et al. 2017); gdl and dcgan-negatives,
    the same with pseudo-negatives from a generative model trained alongside (Tu 2007; Radford et
    al. 2016); pgd-at, cross-entropy on PGD examples (Madry et al. 2018); trades, cross-entropy plus
    the divergence between images and adversarial examples (Zhang et al. 2019). For pgd-at and
    trades, the error under PGD selects the epoch. Options that the method does not use are refused.

    With --unsupervised: winn, a critic that generates; inn, its predecessor with the sigmoid
    cross-entropy; wgan-gp, the same critic trained against a generator network. An epoch is then
    one of the paper's iterations, and the networks of the last one are kept: without labels there
    is no error to select by.

    \b
    winnrobust train --dataset mnist --arch resnet32
    winnrobust train --dataset mnist --arch resnet32 --method baseline
    winnrobust train --dataset mnist --arch resnet32 --method pgd-at
    winnrobust train --unsupervised --dataset mnist --cascades 4
    winnrobust train --unsupervised --data my-pictures --arch cnn64 --flip
    winnrobust train --unsupervised --texture grass --arch cnn64
    winnrobust train --resume --out runs/my-run
    """
    from winnrobust.training.methods.settings import check_given
    from winnrobust.workflows.runs import new_run_path, newest_run_like
    from winnrobust.workflows.training import resume_run, train_run

    given = with_place(given_settings(config_file, settings))
    config = make_config(given, str(config_file or "options"))
    if resume:
        resume_run(out or newest_run_like(runs, given), given, data_root, device)
    else:
        check_given(given, config)
        train_run(out or new_run_path(runs, config), config, data_root, device)
