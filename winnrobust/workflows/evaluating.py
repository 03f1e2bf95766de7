"""From Python: anyone's models and images in, an `Evaluation` or adversarial examples out."""

import shutil
import sys
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from winnrobust.attacks import NormName, Run, Step
from winnrobust.data.streams import ImageStream
from winnrobust.evaluation import EvaluationSettings, run
from winnrobust.evaluation.one_attack import MODEL, Attacked, attack_images
from winnrobust.evaluation.settings import checked_epsilons
from winnrobust.evaluation.threats import defaults_for, gathered
from winnrobust.reporting import (
    Metadata,
    Model,
    completed,
    load_results,
    write_metadata,
    write_results,
)
from winnrobust.reporting.evaluation import Evaluation
from winnrobust.runtime import distributed
from winnrobust.runtime.devices import device_of, resolve_device
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.files import write_json
from winnrobust.workflows.evaluation_folder import evaluation_folder
from winnrobust.workflows.given import (
    AnyAttack,
    as_attacks,
    labelled,
    module_of,
    modules_of,
    one_attack,
    own_code,
    shown_progress,
    warn_of_doubts,
)
from winnrobust.workflows.surrogates import surrogates_for


def evaluate(
    models: Any,
    images: Any,
    labels: Any = None,
    attacks: Sequence[AnyAttack] | Mapping[str, AnyAttack] | None = None,
    epsilons: Sequence[float] | None = None,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    *,
    threats: str | Sequence[str] | None = None,
    epsilons_l2: Sequence[float] | None = None,
    limit: int | None = None,
    folder: Path | str | None = None,
    progress: bool | Callable[[int, int], None] = False,
    callback: Callable[[Step], None] | None = None,
    **settings: Any,
) -> Evaluation:
    """Attack models, let every model judge every example anew, and keep all outcomes.

    Models are given back as they were: mode, gradients, dtype, device and hooks. What speaks
    against the way in which a model is used is an `EvaluationWarning`.

    Args:
        models: a torch module that takes (N, C, H, W) float32 in [0, 1] and returns logits (N, K),
            or an object with `.logits`; or a dict of them by name. What `load` takes stands for
            the module that it loads.
        images: (N, C, H, W), uint8, or floating point in [0, 1]; or what has its labels: a torch
            `Dataset` or `DataLoader`, a Hugging Face dataset, a folder with a folder for each
            class, or an `.npz` file. They are read batch after batch, in their order.
        labels: (N,) integers, 0 .. K - 1, where the images are an array.
        attacks: names ('winnrobust attacks' lists them; "pgd(steps=100, restarts=5)" has settings
            of its own), attacks (`winnrobust.attacks.PGD(steps=100)`), functions (model, images,
            labels, epsilon) -> images, or attacks of foolbox's, torchattacks' or ART's; or a dict
            of those by the name that tables shall call them. None: `fgsm` and `aa-fast`, where
            they fit.
        epsilons, epsilons_l2: bounds of the attacks in L-infinity and in L2, in the units of the
            images. Without any bounds the size of the images decides, which is said on stderr.
        threats: threat models, as on the command line: ["linf:8/255", "l2:0.5,1", "l1:12",
            "corruptions:1-5", "spatial:30", "patch:5"]. Every attack is made in each norm among
            them that it knows; the last three bring attacks of their own.
        batch_size: images at once; None: the more, the less time a batch takes.
        device: where to compute; None leaves every model where it is.
        limit: attack the first so many images only.
        folder: where to keep the results, as `winnrobust attack --out`: called again with it, an
            interrupted evaluation goes on.
        progress: True shows a bar; or what is called with (done, total), where an image counts
            once for every attack on every model.
        callback: called with a `Step` after each gradient step; see `winnrobust.Step`. On a GPU
            it makes every step wait.
        settings: others of `winnrobust.evaluation.EvaluationSettings`: `steps`, `restarts`,
            `queries`, `loss`, `eot`, `targeted`, `round`, `seconds`, `seed`, `cross`, ... With
            `precision=0.01` images are attacked in a random order until the interval of every error
            is within one point of it, with `until_decided=True` until it is settled who is more
            robust; `.outcomes.image` says which images those were.

    Raises:
        InputError: an argument or a model cannot be used, or an attack left the ball.

    >>> import torch, winnrobust
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 2, bias=False))
    >>> _ = torch.nn.init.eye_(model[1].weight)  # says which pixel is brighter
    >>> images = torch.tensor([[0.9, 0.1], [0.6, 0.5], [0.3, 0.8]]).view(3, 1, 1, 2)
    >>> found = winnrobust.evaluate(model, images, torch.tensor([0, 0, 1]), ["pgd"], [0.1])
    >>> found.clean_accuracy, round(found.robust_accuracy, 3)
    (1.0, 0.667)
    >>> found.broken("pgd", 0.1)
    array([False,  True, False])
    """
    nets = modules_of(models)
    data = labelled(images, labels, limit)
    linf, l2 = (
        () if bounds is None else checked_epsilons(bounds, kind, name)
        for bounds, kind, name in (
            (epsilons, "linf", "epsilons"), (epsilons_l2, "l2", "epsilons_l2")
        )
    )  # fmt: skip
    named = {} if attacks is None else {"attacks": as_attacks(attacks)}
    chosen = EvaluationSettings(
        epsilons=gathered(threats, linf, l2),
        batch_size=batch_size,
        **{"num_examples": 8 if folder else 0} | named | settings,
    )
    defaults = defaults_for(None, data.batch(0, 1).images.shape[1:])
    chosen, filled = chosen.for_first(limit).completed(defaults)
    if filled and distributed.is_main_process():
        print(defaults.explained(filled, "threats=['linf:0.1', ...]"), file=sys.stderr)
    place = None if device is None else resolve_device(str(device))
    warn_of_doubts(nets, data, place)
    metadata = _metadata(nets, data, chosen)
    out = Path(distributed.broadcast(folder or mkdtemp(prefix="winnrobust-")))
    where = place or device_of(next(iter(nets.values())))
    resume_with = f"the same call with folder='{folder}'" if folder else ""
    with evaluation_folder(out, metadata, where, resume_with) as sessions:
        surrogates = surrogates_for(
            chosen.chosen_attacks(), nets, data, chosen.seed, place, progress=progress is True
        )
        with shown_progress(progress) as tell:
            run(
                nets, data, None, chosen, folder=out, device=place, surrogates=surrogates,
                progress=tell, callback=callback,
            )  # fmt: skip
        if distributed.is_main_process():
            _finish(out, sessions, tables=folder is not None)
        distributed.barrier()
    found = Evaluation(out, load_results(out), alone=not isinstance(models, Mapping))
    if folder is None:
        weakref.finalize(found, shutil.rmtree, out, ignore_errors=True)
    return found


def compare(
    first: Any, second: Any, images: Any, labels: Any = None, **settings: Any
) -> Evaluation:
    """Tell which of two models is more robust, on the same images and by the same attacks.

    Args:
        first, second: as a model of `evaluate`; or a dict of one model, which gives it a name.
        images, labels, settings: as for `evaluate`.

    Returns:
        An `Evaluation` of both: `.verdict` says who is more robust and whether it is beyond noise;
        `.paired` has McNemar's test of every attack.

    Raises:
        InputError: as `evaluate`.

    >>> import torch, winnrobust
    >>> bold = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 2, bias=False))
    >>> _ = torch.nn.init.eye_(bold[1].weight)
    >>> images = torch.rand(40, 1, 1, 2)
    >>> labels = images.flatten(1).argmax(1)
    >>> found = winnrobust.compare(bold, {"again": bold}, images, labels, epsilons=[0.1])
    >>> found.models, found.paired.p_value.tolist()
    (['first', 'again'], [1.0, 1.0, 1.0, 1.0])
    """
    named: dict[str, Any] = {}
    for name, model in (("first", first), ("second", second)):
        named |= model if isinstance(model, Mapping) else {name: model}
    if len(named) != 2:
        raise InputError("the two models must have different names")
    return evaluate(named, images, labels, **settings)


def attack(
    model: Any,
    images: Any,
    labels: Any = None,
    attack: AnyAttack = "pgd",
    *,
    epsilon: float | None = None,
    norm: NormName | None = None,
    targets: Tensor | np.ndarray | str | None = None,
    eot: int = 1,
    seed: int = 0,
    surrogates: Mapping[str, nn.Module] | None = None,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    progress: bool | Callable[[int, int], None] = False,
    callback: Callable[[Step], None] | None = None,
    **settings: Any,
) -> Attacked:
    """Make adversarial examples, each checked and judged anew by the model as given.

    Args:
        model, images, labels, device: as for `evaluate`, one model.
        attack: a name, an attack or a function, as for `evaluate`.
        epsilon: bound in the attack's norm, in the units of the images; a minimum-norm attack does
            without.
        norm: one of the attack's (`Attack.norms`): "linf" or "l2" for "pgd"; None: its own.
        targets: (N,) the wrong classes that the model shall see, or how they are chosen: "random"
            or "least-likely". None: any wrong class will do.
        eot: draws averaged in every step and decision, for models that answer at random.
        seed: of all random numbers, which belong to an image and not to its batch.
        surrogates: models by name, for the attack "transfer:NAME"; without any,
            "transfer:surrogate" trains a network that imitates the model's answers to the images.
        batch_size: images at once; None is 128. Changes no result, up to rounding.
        progress: True shows a bar; or what is called with (images done, images in all).
        callback: as for `evaluate`.
        settings: the attack's own, such as `steps`, `restarts` or `loss`.

    Returns:
        `.images`, `.is_adversarial`, `.distance`, `.gradients`, `.queries`, `.predictions`.

    Raises:
        InputError: an argument or the model cannot be used, or the attack left the ball.

    >>> import torch, winnrobust
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 2, bias=False))
    >>> _ = torch.nn.init.eye_(model[1].weight)
    >>> images = torch.tensor([[0.9, 0.1], [0.6, 0.5]]).view(2, 1, 1, 2)
    >>> winnrobust.attack(model, images, torch.tensor([0, 0]), "pgd", epsilon=0.1, steps=5)
    <pgd(steps=5) at Linf 0.1: 1 of 2 adversarial>
    """
    chosen = one_attack(attack, norm)
    net = module_of(model)
    data = labelled(images, labels)
    if surrogates is None:
        place = None if device is None else resolve_device(str(device))
        surrogates = surrogates_for([chosen], {MODEL: net}, data, seed, place).get(MODEL, {})
    given = Run(seed=seed, eot=eot, surrogates=surrogates, callback=callback)
    with shown_progress(progress) as tell:
        return attack_images(
            net, data, chosen(**settings) if settings else chosen, epsilon, given, targets=targets,
            batch_size=batch_size, device=device, progress=tell,
        )  # fmt: skip


def _metadata(
    models: Mapping[str, nn.Module], data: ImageStream, settings: EvaluationSettings
) -> Metadata:
    """Return what results.json says before anything is attacked."""
    rows = [_row(name, model) for name, model in models.items()]
    decisive = settings.decisive()
    return Metadata(
        schema=3, status="running", dataset="data", split="test", n=len(data), limit=None,
        population=len(data) if settings.sampled else None, settings=decisive, models=rows,
        what={"models": [*models], "settings": decisive} | own_code(settings),
    )  # fmt: skip


def _row(name: str, model: nn.Module) -> Model:
    group, _, seed = name.partition("@")
    kind = type(model)
    return Model(
        name=name, group=group, method=None, arch=None, epoch=None, weights_sha256=None,
        path=f"{kind.__module__}.{kind.__qualname__}",
        parameters=sum(each.numel() for each in model.parameters()) or None,
        seed=int(seed) if seed.isdecimal() else None,
    )  # fmt: skip


def _finish(out: Path, sessions: list[dict[str, Any]], tables: bool) -> None:
    """Make a whole results folder of outcomes; tables of one that nobody looks at can wait."""
    manifest = sessions[0] | {"resumed": sessions[1:]}
    if tables:
        write_results(out, manifest)
    else:
        write_json(out / "manifest.json", manifest)
        write_metadata(out, completed(out))
