from dataclasses import asdict, fields

import pytest

from winnrobust.runtime.errors import InputError
from winnrobust.training.config import TrainConfig, make_config, option_name, read_toml
from winnrobust.training.recipes import RECIPES


def test_defaults_are_the_papers():
    config = TrainConfig()
    assert (config.epochs, config.batch_size, config.lr) == (200, 100, 1e-3)
    assert (config.adam_beta1, config.adam_beta2, config.adam_eps) == (0.0, 0.9, 1e-8)
    assert (config.alpha, config.gp_weight) == (0.01, 10.0)
    assert config.negatives_per_class == 100
    assert (config.synthesis_lr, config.synthesis_beta1, config.synthesis_beta2) == (0.02, 0.9, 0.9)
    assert (config.synthesis_max_steps, config.synthesis_tolerance) == (2000, 1e-3)
    assert config.synthesis_class_weight == 0.5
    assert not config.synthesis_carry_adam
    assert (config.noise_dim, config.noise_weight_std) == (128, 0.1)


def test_integers_serve_as_floats_but_not_the_other_way_round():
    assert isinstance(make_config({"lr": 1}, "test").lr, float)
    with pytest.raises(InputError, match=r"--epochs must be of type int, not 2.5"):
        make_config({"epochs": 2.5}, "test")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": 0.0}, "--lr must be above 0, not 0.0"),
        ({"lr": float("nan")}, "--lr must be a finite number, not nan"),
        ({"epochs": 0}, "--epochs must be at least 1, not 0"),
        ({"epochs": True}, "--epochs must be of type int, not True"),
        ({"adam_beta2": 1.0}, "--adam-beta2 must be below 1, not 1.0"),
        ({"alpha": -0.1}, "--alpha must be at least 0, not -0.1"),
        ({"at_epsilon": 1.5}, "--at-epsilon must be at most 1, not 1.5"),
        ({"at_steps": 0}, "--at-steps must be at least 1, not 0"),
        ({"at_step_size": 0.0}, "--at-step-size must be above 0, not 0.0"),
        ({"limit_train": 0}, "--limit-train must be at least 1, not 0"),
        ({"seed": -1}, "--seed must be at least 0, not -1"),
        ({"synthesis_carry_adam": 1}, "--synthesis-carry-adam must be of type bool, not 1"),
        ({"arch": 3}, "--arch must be of type str, not 3"),
    ],
)
def test_bad_values_are_named(settings, message):
    with pytest.raises(InputError) as error:
        make_config(settings, "test")
    assert str(error.value) == message


def test_unknown_settings_are_named_with_the_known_ones():
    with pytest.raises(
        InputError, match=r"file\.toml: unknown setting epoch; known are adam_beta1"
    ):
        make_config({"epoch": 3}, "file.toml")


def test_toml_keys_may_be_spelled_like_options(tmp_path):
    path = tmp_path / "settings.toml"
    path.write_text("gp-weight = 5\nepochs = 3\n")
    assert read_toml(path) == {"gp_weight": 5, "epochs": 3}


@pytest.mark.parametrize(
    ("content", "message"), [(b"epochs = = 3", "is not valid TOML"), (b"\xff", "is not valid TOML")]
)
def test_broken_toml_is_named(tmp_path, content, message):
    path = tmp_path / "settings.toml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_toml(path)


def test_missing_toml_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.toml does not exist"):
        read_toml(tmp_path / "none.toml")


def test_every_setting_has_a_help_text():
    assert all(setting.metadata["help"].endswith(".") for setting in fields(TrainConfig))
    assert option_name("gp_weight") == "--gp-weight"


def test_recipes_set_defaults_that_a_user_overrules():
    assert make_config({"recipe": "paper"}, "options") == TrainConfig()
    fast = make_config({"recipe": "fast", "batch_size": 7}, "options")
    assert fast.batch_size == 7
    assert {name: getattr(fast, name) for name in RECIPES["fast"] if name != "batch_size"} == {
        name: value for name, value in RECIPES["fast"].items() if name != "batch_size"
    }
    # What was stored goes on as it was stored, whatever the recipe says by then.
    stored = asdict(fast) | {"synthesis_max_steps": 3}
    assert make_config(stored, "config.json").synthesis_max_steps == 3
    with pytest.raises(InputError, match="unknown recipe 'faster'; known are paper, fast"):
        make_config({"recipe": "faster"}, "options")
