"""`winnrobust train` as a user types it (in process; tests/faults runs real processes)."""

import json
import re

import pytest
import torch

from tests.cli.conftest import SMALL, TINY, assert_one_line, winnrobust
from winnrobust.runtime.errors import InputError
from winnrobust.training.config import SETTINGS, option_name
from winnrobust.training.manifest import reopen_run
from winnrobust.workflows.training import complete_run


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    runs = tmp_path_factory.mktemp("cli") / "runs"
    result = winnrobust(*SMALL, "--runs", runs)
    assert result.exit_code == 0, result.output
    (run,) = runs.iterdir()
    return run


def test_a_run_has_everything_the_readme_names(trained):
    names = {str(path.relative_to(trained)) for path in trained.rglob("*") if path.is_file()}
    assert names >= {
        "config.json", "manifest.json", "metrics.jsonl", "model.safetensors", "training.png",
        "samples/epoch-0001.png", "state/last.safetensors",
    }  # fmt: skip
    assert "mnist5k-vanilla-winn-seed0" in trained.name


def test_prints_plain_lines_without_a_terminal(tmp_path):
    result = winnrobust(*TINY, "--method", "baseline", "--out", tmp_path / "run")
    lines = result.output.splitlines()
    assert lines[0].startswith("training baseline vanilla on mnist5k (cpu) in ")
    assert lines[1].startswith("epoch   1/1  loss ")
    assert "validation error" in lines[1]
    assert lines[2].startswith("best epoch 1: validation error ")
    assert "\r" not in result.output


def test_settings_come_from_defaults_then_file_then_options(tmp_path):
    settings = tmp_path / "settings.toml"
    settings.write_text("lr = 0.002\ngp-weight = 3\n")
    out = tmp_path / "run"
    result = winnrobust(*SMALL, "--config", settings, "--gp-weight", 4, "--out", out)
    assert result.exit_code == 0, result.output
    config = json.loads((out / "config.json").read_text())["optimization"]
    assert (config["lr"], config["gp_weight"], config["alpha"]) == (0.002, 4.0, 0.01)


def test_every_setting_has_an_option(tmp_path):
    help_text = winnrobust("train", "--help-all").output
    for name in SETTINGS:
        assert option_name(name) in help_text


@pytest.mark.parametrize("command", ["train", "compare", "texture"])
def test_help_shows_what_matters_by_topic_and_says_where_the_rest_is(command):
    help_text = winnrobust(command, "--help").output
    assert "\nAdversarial training:\n  --at-epsilon " in help_text
    assert {"--out PATH", "--help-all"} <= set(re.findall(r"--out PATH|--help-all", help_text))
    settings = [name for name in SETTINGS if f"  {option_name(name)} " in help_text]
    assert 14 <= len(settings) <= 20
    assert f"Show the other {len(SETTINGS) - len(settings)} options" in help_text


def test_help_of_train_shows_twenty_options_beside_help_itself():
    help_text = winnrobust("train", "--help").output
    shown = set(re.findall(r"^  (?:-h, )?(--[\w-]+)", help_text, re.MULTILINE))
    assert len(shown - {"--help", "--help-all"}) == 20


def test_help_of_attack_shows_its_options_by_topic_and_the_rest_with_help_all():
    short, whole = (winnrobust("attack", flag).output for flag in ("--help", "--help-all"))
    assert re.findall(r"^(\w[\w ]*):$", short, re.MULTILINE) == [
        "Models", "Images", "Attacks", "Time", "This command",
    ]  # fmt: skip
    first, rest = (set(re.findall(r"^  (--[\w-]+)", text, re.MULTILINE)) for text in (short, whole))
    assert {"--model", "--data", "--attacks", "--threat", "--fail-if", "--help-all"} < first < rest
    assert f"Show the other {len(rest - first)} options" in " ".join(short.split())


def test_an_existing_folder_is_left_alone(trained):
    before = (trained / "model.safetensors").read_bytes()
    assert_one_line(winnrobust(*SMALL, "--out", trained), "already exists and is left untouched")
    assert (trained / "model.safetensors").read_bytes() == before


def test_resume_of_a_complete_run_trains_on_only_with_more_epochs(tmp_path):
    runs = tmp_path / "runs"
    winnrobust(*SMALL, "--runs", runs)
    again = winnrobust("train", "--dataset", "mnist5k", "--runs", runs, "--resume")
    assert again.exit_code == 0, again.output
    assert "is complete: 1 epochs" in again.output
    more = winnrobust("train", "--dataset", "mnist5k", "--runs", runs, "--resume", "--epochs", 2)
    assert more.exit_code == 0, more.output
    assert "epoch   2/2" in more.output


def test_resume_takes_the_newest_run_with_what_was_given(tmp_path):
    runs = tmp_path / "runs"
    for name, command in (("a", [*SMALL, "--seed", 1]), ("b", [*TINY, "--method", "baseline"])):
        result = winnrobust(*command, "--out", runs / name)
        assert result.exit_code == 0, result.output
    (runs / "foreign").mkdir()
    (runs / "foreign" / "config.json").write_text("[]")
    (runs / "foreign" / "manifest.json").write_text("{}")
    resume = ["train", "--resume", "--runs", runs]
    assert f"{runs / 'b'} is complete" in winnrobust(*resume).output
    assert f"{runs / 'a'} is complete" in winnrobust(*resume, "--seed", 1).output
    assert f"{runs / 'a'} is complete" in winnrobust(*resume, "--method", "winn").output
    assert_one_line(winnrobust(*resume, "--dataset", "mnist"), "no run to resume", "dataset mnist")


def test_resume_takes_no_epochs_back(tmp_path):
    out = tmp_path / "run"
    assert winnrobust(*TINY, "--epochs", 3, "--method", "baseline", "--out", out).exit_code == 0
    manifest = out / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"complete"', '"training"'))
    before = (out / "config.json").read_bytes()
    result = winnrobust("train", "--resume", "--out", out, "--epochs", 2)
    assert_one_line(result, "has 3 epochs already; --epochs 2 cannot take any back")
    assert (out / "config.json").read_bytes() == before


def test_resume_with_other_settings_is_refused(trained):
    result = winnrobust("train", "--resume", "--out", trained, "--lr", 0.5)
    assert_one_line(result, "was started with --lr 0.001, not 0.5")


def test_resume_needs_a_run(tmp_path):
    result = winnrobust("train", "--resume", "--out", tmp_path)
    assert_one_line(result, "is not a training run")
    result = winnrobust("train", "--resume", "--runs", tmp_path)
    assert_one_line(result, "no run to resume under")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--arch", "resnet99"], "'resnet99' is not one of 'vanilla', 'resnet32'"),
        (["--dataset", "imagenet"], "'imagenet' is not one of 'mnist'"),
        (["--method", "magic"], "'magic' is not one of 'baseline', 'winn'"),
        (["--lr", "-1"], "--lr must be above 0, not -1.0"),
        (["--lr", "nan"], "'--lr': it must be a number, not nan"),
        (["--lr", "fast"], "'fast' is not a valid float"),
        (["--epochs", "0"], "--epochs must be at least 1, not 0"),
        (["--device", "quantum"], "--device quantum cannot be used here"),
        (["--device", "meta"], "--device meta cannot be used here"),
        (["--lr", "inf"], "--lr must be a finite number, not inf"),
        (["--batch-size", "9" * 10], "--batch-size must be at most 2147483647"),
        (["--batch-size", "9" * 20], "'--batch-size': 99999999999999999999 is too large"),
        (["--synthesis-lr", "1e300"], "--synthesis-lr must be at most 3e+38"),
        (["--config", "none.toml"], "none.toml does not exist"),
        (["--epoch", "1"], "No such option '--epoch'"),
    ],
)
def test_bad_input_ends_in_one_line(arguments, message, tmp_path):
    result = winnrobust("train", "--dataset", "mnist5k", "--out", tmp_path / "run", *arguments)
    assert_one_line(result, message)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            "--method dcgan-negatives --alpha 7 --gp-share 0.1 --synthesis-lr 9 --trades-beta 3",
            "method dcgan-negatives does not use --alpha (of winn), --gp-share (of winn),"
            " --synthesis-lr (of winn, icn, gdl), --trades-beta (of trades); leave that out",
        ),
        (
            "--method baseline --recipe fast --no-synthesis-carry-adam",
            "method baseline does not use --synthesis-carry-adam (of winn, icn, gdl)",
        ),
        ("--method gdl --synthesis-pool-share 0", "--synthesis-pool-share (of winn, icn)"),
        ("--at-steps 3", "method winn does not use --at-steps (of pgd-at, trades)"),
        (
            "--unsupervised --method wgan-gp --dcgan-lr 0.5 --at-epsilon 0.9 --trades-beta 7",
            "method wgan-gp without labels does not use --dcgan-lr (of training with labels),",
        ),
        ("--initial gaussian --noise-dim 3", "--initial gaussian does not use --noise-dim"),
    ],
)
def test_an_option_that_does_nothing_ends_in_one_line(tmp_path, arguments, message):
    place = ["--dataset", "mnist5k", "--out", tmp_path / "run"]
    assert_one_line(winnrobust("train", *arguments.split(), *place), message)
    assert not (tmp_path / "run").exists()


def test_a_setting_of_the_file_that_does_nothing_ends_in_one_line(tmp_path):
    settings = tmp_path / "settings.toml"
    settings.write_text('method = "trades"\nlr = 0.002\ngp-weight = 3\n')
    result = winnrobust(*TINY, "--config", settings, "--out", tmp_path / "run")
    assert_one_line(result, "method trades does not use --gp-weight (of winn)")


def test_what_a_run_has_may_be_said_again(tmp_path):
    """Every setting is in its config.json; none has to be true of the options' own method."""
    out = tmp_path / "run"
    assert winnrobust(*TINY, "--method", "baseline", "--out", out).exit_code == 0
    result = winnrobust("train", "--resume", "--out", out, "--at-epsilon", 0.125)
    assert "is complete" in result.output


def test_a_comparison_takes_what_the_method_beside_the_baseline_uses(tmp_path):
    """What both trainings take is in test_attack.py."""
    result = winnrobust("compare", "--method", "trades", "--alpha", 3, "--out", tmp_path / "out")
    assert_one_line(result, "method trades does not use --alpha (of winn)")
    result = winnrobust("compare", "--method", "baseline", "--alpha", 3, "--out", tmp_path / "out")
    assert_one_line(result, "method baseline does not use --alpha (of winn)")


def test_a_comparison_goes_on_with_a_run_whatever_says_nothing_to_its_method(tmp_path):
    """A baseline cannot be told of WINN's settings; the comparison's WINN can."""
    out, cpu = tmp_path / "run", torch.device("cpu")
    assert winnrobust(*TINY, "--method", "baseline", "--out", out).exit_code == 0
    _, config = reopen_run(out)
    complete_run(out, config.replace(alpha=3.0, synthesis_max_steps=2), None, cpu)
    with pytest.raises(InputError, match=r"was started with --lr 0.001, not 0.5"):
        complete_run(out, config.replace(lr=0.5), None, cpu)


def test_too_little_memory_ends_in_one_line(tmp_path):
    result = winnrobust(*SMALL, "--noise-dim", 2**31 - 1, "--out", tmp_path / "run")
    assert_one_line(result, "not enough memory for these settings")


def test_a_diverged_loss_ends_in_one_line(tmp_path):
    result = winnrobust(*SMALL, "--lr", "1e30", "--out", tmp_path / "run")
    assert_one_line(result, "training has diverged", "lower --lr")


def test_an_unwritable_folder_ends_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    assert_one_line(winnrobust(*SMALL, "--out", tmp_path / "file" / "run"), "cannot write to")


def test_an_unknown_command_is_named():
    assert_one_line(winnrobust("trian"), "trian")


def test_version_and_help_work():
    assert winnrobust("--version").output.startswith("winnrobust, version ")
    help_text = winnrobust("--help").output
    for command in ("quickstart", "train", "attack", "compare", "report"):
        assert command in help_text
