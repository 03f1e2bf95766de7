"""What a method says that it uses, beside what trainings read."""

import pytest
import torch

from winnrobust.data.datasets import Dataset
from winnrobust.generation.sampling import Sampler, draw
from winnrobust.models.checkpoint import load_cascades
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.settings import Settings
from winnrobust.training.config import SETTINGS, TrainConfig, make_config
from winnrobust.training.loop import train
from winnrobust.training.manifest import start_run
from winnrobust.training.methods import (
    INITIAL,
    METHODS,
    UNSUPERVISED,
    Method,
    initial_of,
    method_of,
)
from winnrobust.training.methods.from_config import INITIAL_SETTINGS
from winnrobust.training.methods.settings import OF_A_METHOD, check_given, check_settings
from winnrobust.training.recipes import RECIPES

CPU = torch.device("cpu")
NAMES = {setting.place: setting.name for setting in SETTINGS.values()}
READ_EARLIER = {"data", "texture", "image_size", "recipe", "hold_out"}
"""By what finds the data, and the other settings."""
READ_IN_VAIN = {"dcgan-negatives": {"pool_newest"}}
"""By a pool that is filled anew after every epoch."""
SMALL = {
    "dataset": "mnist5k", "limit_train": 10, "epochs": 2, "batch_size": 5,
    "negatives_per_class": 2, "synthesis_max_steps": 1, "at_steps": 1,
    "iteration_images": 25, "iteration_passes": 1, "start_images": 4,
}  # fmt: skip


class Watched:
    """Settings that note the names of those that are read."""

    def __init__(self, settings: Settings, read: set[str], group: tuple[str, ...] = ()) -> None:
        self._settings, self._read, self._group = settings, read, group

    def __getattr__(self, name: str):
        own = vars(type(self._settings)).get(name)
        if isinstance(own, property):
            return own.fget(self)
        value = getattr(self._settings, name)
        if isinstance(value, Settings):
            return Watched(value, self._read, (name,))
        if (*self._group, name) in NAMES:
            self._read.add(NAMES[*self._group, name])
        return value


def outcome(path, digits, config: TrainConfig):
    """Train, and draw a sample if there are any: the networks, and which settings were read."""
    data = Dataset("mnist5k", 10, digits.train, digits.valid.first(10), digits.test.first(10))
    data = data.without_labels() if config.unsupervised else data
    run = start_run(path, config, data, CPU)
    read: set[str] = set()
    watched = Watched(config, read)
    train(run, watched, data, CPU)
    networks, info = load_cascades(run.model)
    if method_of(config).goal is not Method.goal:
        classes = torch.zeros(1, dtype=torch.int64)
        draw(Sampler(networks, info, watched, info.thresholds), classes, seed=0, device=CPU)
    return networks, read


def small(**settings) -> TrainConfig:
    return make_config(SMALL | settings)


@pytest.fixture(scope="module")
def always_read(tmp_path_factory, digits):
    """What a training reads that has nothing besides the network."""
    run = tmp_path_factory.mktemp("settings") / "run"
    return outcome(run, digits, small(method="baseline"))[1] - METHODS["baseline"].uses


@pytest.mark.parametrize(
    ("method", "unsupervised"),
    [(name, False) for name in METHODS] + [(name, True) for name in UNSUPERVISED],
)
def test_a_method_reads_what_it_says_that_it_uses(
    tmp_path, digits, always_read, method, unsupervised
):
    config = small(method=method, unsupervised=unsupervised)
    idle = INITIAL_SETTINGS - {"initial"} - INITIAL[config.negatives.initial]
    uses = (UNSUPERVISED if unsupervised else METHODS)[method].uses
    _, read = outcome(tmp_path / "run", digits, config)
    in_vain = READ_IN_VAIN.get(method, set())
    assert read - always_read - in_vain == uses - idle
    assert not in_vain & uses


def test_what_no_method_names_is_read_by_every_training(always_read):
    assert always_read | READ_EARLIER == set(SETTINGS) - OF_A_METHOD


def test_what_is_read_in_vain_changes_nothing(tmp_path, digits):
    configs = [small(method="dcgan-negatives", pool_newest=newest) for newest in (1.0, 0.1)]
    weights = [
        list(outcome(tmp_path / str(number), digits, config)[0][0].parameters())
        for number, config in enumerate(configs)
    ]
    assert all(map(torch.equal, *weights))


@pytest.mark.parametrize("initial", INITIAL)
def test_an_initial_distribution_reads_what_it_says(initial):
    read: set[str] = set()
    initial_of(Watched(small(initial=initial), read), 1, 28)
    assert read - {"initial", "seed"} == INITIAL[initial]


@pytest.mark.parametrize("method", METHODS)
def test_the_fast_recipe_has_something_for_every_method_with_labels(method):
    anyone = set(RECIPES["fast"]) & (set(SETTINGS) - OF_A_METHOD)
    assert anyone == {"batch_size", "lr", "average_decay"}
    check_given(["recipe", "method"], make_config({"recipe": "fast", "method": method}))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"method": "baseline", "negatives_weight": 0.9, "lr": 0.1, "dcgan_lr": 3},
            "method baseline does not use --negatives-weight (of icn, gdl, dcgan-negatives),"
            " --dcgan-lr (of dcgan-negatives); leave that out",
        ),
        (
            {"start_images": 5},
            "method winn does not use --start-images (of training without labels); leave that out",
        ),
        (
            {"unsupervised": True, "method": "wgan-gp", "at_epsilon": 0.9, "start_images": 5},
            "method wgan-gp without labels does not use --at-epsilon (of training with labels),"
            " --start-images (of winn, inn); leave that out",
        ),
        ({"at_epsilon": 0.125}, "method winn does not use --at-epsilon (of pgd-at, trades); leave"),
        (
            {"initial": "gaussian", "noise_dim": 5},
            "--initial gaussian does not use --noise-dim; leave that out",
        ),
        ({"unsupervised": True, "noise_dim": 5}, "--initial appendix-d does not use --noise-dim"),
        ({"method": "magic", "alpha": 1}, "unknown method 'magic'"),
    ],
)
def test_settings_without_use_are_named_even_at_their_defaults(given, message):
    with pytest.raises(InputError) as error:
        check_given(given, make_config(given))
    assert str(error.value).startswith(message)


def test_an_unknown_initial_distribution_is_left_to_its_own_check():
    given = {"initial": "magic", "noise_dim": 5}
    check_given(given, make_config(given))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cascades": 2}, "--cascades has no effect on training with labels; add --unsupervised"),
        ({"data": "pictures"}, "--data has no effect on training with labels"),
        ({"image_size": 32}, "--image-size is for --data and --texture"),
        ({"width": 0.5}, "--width scales cnn64 and wgan-resnet only, not vanilla"),
        (
            {"unsupervised": True, "method": "wgan-gp", "cascades": 2},
            "method wgan-gp has no cascades",
        ),
        ({"arch": "magic"}, "unknown architecture 'magic'; known are vanilla"),
        ({"initial": "magic"}, "unknown initial distribution 'magic'; known are projected"),
    ],
)
def test_settings_that_do_not_go_together_are_named(settings, message):
    with pytest.raises(InputError, match=message):
        check_settings(make_config(settings))
