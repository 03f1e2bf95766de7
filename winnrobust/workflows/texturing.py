"""`winnrobust texture`: a picture or a run in, a texture of any size out."""

import hashlib
from pathlib import Path

import torch

from winnrobust.generation.textures import EMBEDDED, Texture, draw_texture
from winnrobust.runtime import distributed
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.files import check_free_file
from winnrobust.runtime.progress import log, show_progress
from winnrobust.training.config import TrainConfig
from winnrobust.workflows.shared import write_rows
from winnrobust.workflows.synthesizing import load_sampler
from winnrobust.workflows.training import complete_run


def texture_run(runs: Path, config: TrainConfig, device: torch.device) -> Path:
    """Train on crops of a picture, unless a run with these settings is there; return the run.

    Raises:
        InputError: as training.
    """
    picture, source = config.data.dataset, config.data.texture
    if source not in EMBEDDED:  # other pictures may have the same name
        picture += f"-{hashlib.sha256(str(source).encode()).hexdigest()[:6]}"
    path = runs / f"texture-{picture}-{config.model.arch}-seed{config.seed}"
    complete_run(path, config, None, device)
    return path


def check_texture_file(out: Path) -> None:
    """Check that a texture can be written to `out`, a .png that does not exist yet.

    Raises:
        InputError: it cannot.
    """
    if out.suffix.lower() != ".png":
        raise InputError(f"{out} must end in .png")
    if distributed.is_main_process():
        check_free_file(out)


def texture(
    run: Path, size: tuple[int, int], out: Path, device: torch.device, *, seed: int = 0
) -> Texture:
    """Draw a texture from a run and write it.

    Args:
        run: a run folder or model file trained without labels.
        size: width and height in pixels.
        out: a file that `check_texture_file` lets pass.
        seed: of the drawing.

    Raises:
        InputError: the run cannot be used.
    """
    sampler = load_sampler(run)
    if sampler.info.num_classes > 1:
        raise InputError(f"{run} is a classifier; textures come from runs without labels")
    width, height = size
    log(f"drawing {width}x{height} pixels from {run} ({device})")
    with show_progress("texture", "step") as progress:
        made = draw_texture(sampler, width, height, seed=seed, device=device, progress=progress)
    if distributed.is_main_process():
        write_rows(out, [made.image[None]], 1)
    return made
