import json
from pathlib import Path

import pytest

from winnrobust import zoo
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.readers import read_json
from winnrobust.training.config import (
    SETTINGS,
    TrainConfig,
    flat,
    make_config,
    option_name,
    read_toml,
)
from winnrobust.training.manifest import reopen_run
from winnrobust.training.recipes import RECIPES


def test_defaults_are_the_papers():
    config = TrainConfig()
    optimization, synthesis = config.optimization, config.synthesis
    assert (config.epochs, optimization.batch_size, optimization.lr) == (200, 100, 1e-3)
    assert (optimization.adam_beta1, optimization.adam_beta2) == (0.0, 0.9)
    assert optimization.adam_eps == 1e-8
    assert (optimization.alpha, optimization.gp_weight) == (0.01, 10.0)
    assert config.negatives.per_class == 100
    assert (synthesis.lr, synthesis.beta1, synthesis.beta2) == (0.02, 0.9, 0.9)
    assert (synthesis.max_steps, synthesis.tolerance) == (2000, 1e-3)
    assert synthesis.class_weight == 0.5
    assert not synthesis.carry_adam
    assert (config.negatives.noise_dim, config.negatives.noise_weight_std) == (128, 0.1)


def test_integers_serve_as_floats_but_not_the_other_way_round():
    assert isinstance(make_config({"lr": 1}).optimization.lr, float)
    with pytest.raises(InputError, match=r"--epochs must be of type int, not 2.5"):
        make_config({"epochs": 2.5})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": 0.0}, "--lr must be above 0, not 0.0"),
        ({"lr": float("nan")}, "--lr must be a finite number, not nan"),
        ({"lr": float("inf")}, "--lr must be a finite number, not inf"),
        ({"epochs": 0}, "--epochs must be at least 1, not 0"),
        ({"epochs": True}, "--epochs must be of type int, not True"),
        ({"adam_beta2": 1.0}, "--adam-beta2 must be below 1, not 1.0"),
        ({"alpha": -0.1}, "--alpha must be at least 0, not -0.1"),
        ({"gp_weight": -1}, "--gp-weight must be at least 0, not -1"),
        ({"at_epsilon": 1.5}, "--at-epsilon must be at most 1, not 1.5"),
        ({"at_steps": 0}, "--at-steps must be at least 1, not 0"),
        ({"at_step_size": 0.0}, "--at-step-size must be above 0, not 0.0"),
        ({"limit_train": 0}, "--limit-train must be at least 1, not 0"),
        ({"width": 65}, "--width must be at most 64, not 65"),
        ({"image_size": 15}, "--image-size must be at least 16, not 15"),
        ({"seed": -1}, "--seed must be at least 0, not -1"),
        ({"seed": 2**64}, "--seed must be at most 2147483647, not 18446744073709551616"),
        ({"synthesis_carry_adam": 1}, "--synthesis-carry-adam must be of type bool, not 1"),
        ({"arch": 3}, "--arch must be of type str, not 3"),
        ({"arch": []}, "--arch must be of type str, not []"),
        ({"synthesis": {"lr": -1}}, "--synthesis-lr must be above 0, not -1"),
        ({"data": {"folder": 3}}, "--data must be of type str, not 3"),
        ({"data": 3}, "--data must be of type str, not 3"),
    ],
)
def test_bad_values_are_named_as_on_the_command_line(settings, message):
    for attempt in (
        lambda: make_config(settings),
        lambda: TrainConfig(**settings),
        lambda: TrainConfig().replace(**settings),
    ):
        with pytest.raises(InputError) as error:
            attempt()
        assert str(error.value) == message


@pytest.mark.parametrize(
    "settings",
    [
        {"epochs": 10**5000},  # more digits than Python prints
        {"lr": 10**400},
        {"arch": "\ud800"},
        {"arch": "a" * 10**6},
        {"arch": json.loads("[" * 900 + "]" * 900)},
        {"recipe": []},
        {"unsupervised": True, "method": []},
    ],
)
def test_monstrous_values_are_refused_in_a_line(settings):
    with pytest.raises(InputError) as error:
        make_config(settings)
    assert len(str(error.value)) < 300
    assert "\n" not in str(error.value)


def test_unknown_settings_are_named_with_the_known_ones():
    with pytest.raises(
        InputError, match=r"file\.toml: unknown setting epoch; known are adam_beta1"
    ):
        make_config({"epoch": 3}, "file.toml")
    with pytest.raises(InputError, match=r"unknown setting optimization\.momentum; known are"):
        TrainConfig(optimization={"momentum": 0.9})


def test_settings_have_a_place_and_an_options_name():
    config = TrainConfig(epochs=3, synthesis_lr=0.5, data="pictures", negatives={"share": 0.25})
    assert config.synthesis.lr == 0.5
    assert config.data.folder == "pictures"
    assert config == TrainConfig(
        epochs=3, synthesis={"lr": 0.5}, data={"folder": "pictures"}, negatives_share=0.25
    )
    assert (config.flat()["data"], config.flat()["negatives_share"]) == ("pictures", 0.25)
    assert set(config.flat()) == set(SETTINGS)


def test_a_copy_changes_what_it_is_told_and_nothing_else():
    config = TrainConfig(epochs=3, synthesis_lr=0.5)
    changed = config.replace(synthesis_lr=0.25, data={"flip": True})
    assert changed.flat() == config.flat() | {"synthesis_lr": 0.25, "flip": True}
    assert config.synthesis.lr == 0.5


def test_what_is_stored_comes_back(tmp_path):
    """As groups; and as one table, which is what older versions wrote."""
    config = TrainConfig(dataset="mnist5k", arch="resnet13", lr=0.1, at_step_size=0.25, seed=3)
    assert config.model_dump()["optimization"]["lr"] == 0.1
    (tmp_path / "manifest.json").write_text("{}")
    for stored in (config.model_dump(), config.flat()):
        (tmp_path / "config.json").write_text(json.dumps(stored))
        assert reopen_run(tmp_path)[1] == config


@pytest.mark.parametrize("model", zoo.models(), ids=lambda model: model.name)
def test_the_configurations_of_the_zoo_are_read_as_they_were_written(model):
    """They are of several older versions."""
    stored = {
        name: value
        for name, value in flat(read_json(model.folder / "config.json")).items()
        if value is not None
    }
    _, config = reopen_run(model.folder)
    assert config.flat() == TrainConfig().flat() | stored
    assert (config.data.dataset, config.model.arch) == (model.dataset, model.arch)


@pytest.mark.parametrize(
    "text",
    [
        "gp-weight = 5\nepochs = 3\nsynthesis_lr = 1\n",
        "epochs = 3\n[optimization]\ngp-weight = 5\n[synthesis]\nlr = 1\n",
    ],
)
def test_toml_files_may_have_groups_and_keys_may_be_spelled_like_options(tmp_path, text):
    path = tmp_path / "settings.toml"
    path.write_text(text)
    assert read_toml(path) == {"gp_weight": 5, "epochs": 3, "synthesis_lr": 1}


@pytest.mark.parametrize(
    "content",
    [
        b"epochs = = 3",
        b"\xff",
        b"epochs = 1" + b"0" * 5000,
        b"epochs = " + b"[" * 10**5,
        b"epochs = 3\nepochs = 4",
    ],
)
def test_broken_toml_is_named(tmp_path, content):
    path = tmp_path / "settings.toml"
    path.write_bytes(content)
    with pytest.raises(InputError, match="is not valid TOML"):
        read_toml(path)


def test_missing_toml_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.toml does not exist"):
        read_toml(tmp_path / "none.toml")


def test_every_setting_has_a_help_text():
    assert all(setting.info.description.endswith(".") for setting in SETTINGS.values())
    assert option_name("gp_weight") == "--gp-weight"


def test_recipes_set_defaults_that_a_user_overrules():
    assert make_config({"recipe": "paper"}) == TrainConfig()
    fast = make_config({"recipe": "fast", "batch_size": 7}).flat()
    assert fast == TrainConfig().flat() | RECIPES["fast"] | {"recipe": "fast", "batch_size": 7}
    # What was stored goes on as it was stored, whatever the recipe says by then.
    stored = fast | {"synthesis_max_steps": 3}
    assert make_config(stored, "config.json").synthesis.max_steps == 3
    with pytest.raises(InputError, match="unknown recipe 'faster'; known are paper, fast"):
        make_config({"recipe": "faster"})


def test_a_grouped_file_of_a_recipe_overrules_it(tmp_path: Path):
    path = tmp_path / "settings.toml"
    path.write_text('recipe = "fast"\n[synthesis]\nmax-steps = 3\n')
    config = make_config(read_toml(path))
    assert (config.synthesis.max_steps, config.optimization.batch_size) == (3, 50)
