"""What is checked, and said, before an evaluation starts its long work."""

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from winnrobust.attacks import ATTACKS, PREFIX, Attack, bpda, loss_gradient
from winnrobust.attacks.patch import check_side
from winnrobust.data.datasets import ImageSplit, to_unit
from winnrobust.data.folders import Pictures
from winnrobust.evaluation import EvaluationSettings
from winnrobust.evaluation.prediction import check_classes, errors_named
from winnrobust.evaluation.state import frozen
from winnrobust.evaluation.targets import check_targets
from winnrobust.external.conventions import check_shape_taken, doubts, doubts_of_images
from winnrobust.runtime.devices import device_of
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.progress import log
from winnrobust.workflows.candidates import Candidate

WHITE_BOX = "white-box"


def check_fit(
    candidates: Sequence[Candidate],
    settings: EvaluationSettings,
    test: ImageSplit | Pictures,
    device: torch.device,
) -> list[str]:
    """Check that the models take the images and know their classes, and that what is asked for can
    be done to them.

    Says what is doubtful about the way in which models from elsewhere are used, and returns it.

    Raises:
        InputError: a model does not, or a target, a patch or a layer is none of theirs.
    """
    few = to_unit(test.batch(0, 2).images)
    modules = {candidate.name: candidate.module for candidate in candidates}
    for side in settings.bounds("patch"):
        check_side(int(side), *few.shape[2:])
    with frozen(modules.values(), device):
        for name, module in modules.items():
            check_shape_taken(name, module, few)
        classes = check_classes(modules, few, test.labels)
        check_targets(settings.targeted, len(test), classes)
        for layer in bpda.layers(settings.chosen_attacks()):
            for name, module in modules.items():
                with errors_named(name, few):
                    bpda.straight_through(module, few.to(device_of(module)), layer)
        found = list(doubts_of_images(test))
        for each in candidates:
            if each.external:
                module, given = each.external.module, each.external.preprocessing
                found += doubts(each.name, module, given, test)
    for doubt in found:
        log(f"note: {doubt}")
    return found


def needs_gradient(attack: Attack) -> bool:
    """Tell whether an attack follows the gradients that a model has by itself."""
    return attack.access == WHITE_BOX and not attack.name.startswith(bpda.PREFIX)


def check_gradients(
    modules: Mapping[str, nn.Module],
    attacks: Sequence[Attack],
    test: ImageSplit | Pictures,
    device: torch.device,
) -> None:
    """Check that models have a gradient for the attacks that need one.

    Raises:
        InputError: one has none.
    """
    few = test.batch(0, 2)
    with frozen(modules.values(), device):
        for name, module in modules.items():
            own = f"{PREFIX}{name}"  # made on this model, for the others
            needing = dict.fromkeys(  # each once, in however many norms
                each.name for each in attacks if own == each.name or needs_gradient(each)
            )
            if needing:
                _check_gradient(name, module, to_unit(few.images), few.labels, list(needing))


def _check_gradient(
    name: str, module: nn.Module, images: torch.Tensor, labels: torch.Tensor, needing: Sequence[str]
) -> None:
    place = device_of(module)
    with errors_named(name, images):
        try:
            loss_gradient(module, images.to(place), labels.to(place))
        except InputError:
            free = [each for each in ATTACKS.values() if each.access == "black-box"]
            known = [f"{each.name} ({' or '.join(each.norms)})" for each in free]
            raise InputError(
                f"it has no gradient, which {', '.join(needing)} would follow; with --attacks name"
                f" some that need none: {', '.join(known)}, {PREFIX}OTHER-MODEL; --adapt looks"
                " for a gradient inside"
            ) from None
