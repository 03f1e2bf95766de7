"""`winnrobust texture`: a picture or a run in, a texture of any size out."""

from pathlib import Path

import torch
import torchvision

from winnrobust import distributed
from winnrobust.config import TrainConfig
from winnrobust.errors import InputError
from winnrobust.files import check_free, replacing
from winnrobust.progress import bar, say
from winnrobust.textures import draw_texture
from winnrobust.workflows.synthesizing import load_sampler
from winnrobust.workflows.training import complete_run


def texture_run(runs: Path, config: TrainConfig, device: torch.device) -> Path:
    """Train on crops of a picture, unless a run with these settings is there; return the run.

    Raises:
        InputError: as training.
    """
    path = runs / f"texture-{config.dataset}-{config.arch}-seed{config.seed}"
    complete_run(path, config, None, device)
    return path


def texture(
    run: Path, size: tuple[int, int], out: Path, device: torch.device, *, seed: int = 0
) -> None:
    """Draw a texture from a run and write it.

    Args:
        run: a run folder or model file trained without labels.
        size: width and height in pixels.
        out: a .png that does not exist yet.
        seed: of the drawing.

    Raises:
        InputError: the run or the file cannot be used.
    """
    if out.suffix != ".png":
        raise InputError(f"{out} must end in .png")
    if distributed.is_first():
        check_free(out)
    sampler = load_sampler(run)
    if sampler.info.num_classes > 1:
        raise InputError(f"{run} is a classifier; textures come from runs without labels")
    width, height = size
    say(f"drawing {width}x{height} pixels from {run} ({device})")
    with bar(0, "texture", unit="step") as status:

        def tell(text: str) -> None:
            status.set_postfix_str(text, refresh=False)
            status.update()

        picture = draw_texture(sampler, width, height, seed=seed, device=device, progress=tell)
    if distributed.is_first():
        with replacing(out) as temporary:
            torchvision.utils.save_image(picture, temporary)
