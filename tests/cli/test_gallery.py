"""`winnrobust gallery` as a user types it."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.cli.conftest import assert_one_line, winnrobust

TINY = [
    "--epochs", "1", "--iteration-images", "250", "--iteration-passes", "1",
    "--negatives-per-class", "3", "--synthesis-max-steps", "2", "--device", "cpu",
]  # fmt: skip
SMALL = [*TINY, "--start-images", "4"]
PLACE = ["train", "--unsupervised", "--dataset", "mnist5k", "--limit-train", "100"]
DIGITS = [*PLACE, *SMALL]
WGAN = [*PLACE, *TINY, "--method", "wgan-gp"]


@pytest.fixture(scope="module")
def generators(tmp_path_factory):
    """A folder with a single WINN, a cascade, WGAN-GP, a texture, and a detection table."""
    folder = tmp_path_factory.mktemp("generators")
    picture = np.random.default_rng(0).integers(0, 255, (30, 30), dtype=np.uint8)
    Image.fromarray(picture).save(folder / "my.png")
    for name, options in (
        ("single", DIGITS),
        ("cascade", [*DIGITS, "--cascades", "2"]),
        ("wgan", WGAN),
        ("texture", ["train", "--unsupervised", "--texture", folder / "my.png", *SMALL,
                     "--arch", "cnn64", "--width", "0.125", "--image-size", "16"]),
    ):  # fmt: skip
        result = winnrobust(*options, "--out", folder / name)
        assert result.exit_code == 0, result.output
    (folder / "detection").mkdir()
    row = {"model": "winn", "detector": "critic", "against": "<fgsm>", "epsilon": 0.125,
           "n_real": 10, "n_other": 5, "auroc": 0.75, "auroc_low": 0.5,
           "auroc_high": 0.9}  # fmt: skip
    pd.DataFrame([row]).to_csv(folder / "detection" / "detection.csv", index=False)
    path = folder / "single" / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {"resumed": [{"command": "winnrobust train --resume"}]}))
    (folder / "detection" / "manifest.json").write_text('{"command": "winnrobust detect x"}')
    return folder


def test_one_page_of_everything(runs, generators, tmp_path):
    out = tmp_path / "report"
    names = ("single", "cascade", "wgan", "texture")
    result = winnrobust("gallery", runs / "winn", *(generators / name for name in names),
                        "--classifier", runs / "baseline", "--n", 20, "--size", "20x16",
                        "--detection", generators / "detection", "--out", out)  # fmt: skip
    assert result.exit_code == 0, result.output
    assert f"open {out / 'index.html'}" in result.output
    found = pd.read_csv(out / "scores.csv").generator.tolist()
    assert found == ["WINN with labels", "WINN-single", "WINN, 2 cascades, after 1",
                     "WINN, 2 cascades", "WGAN-GP's critic"]  # fmt: skip
    assert Image.open(out / "textures" / "texture-my-20x16.png").size == (20, 16)
    page, text = ((out / name).read_text() for name in ("index.html", "report.md"))
    for part in ("How good are samples?", "WINN's critic and WGAN-GP's", "Are others noticed?"):
        assert part in page.replace("&#39;", "'")
        assert part in text
    assert "75.0 [50.0, 90.0] (5)" in page
    assert "<fgsm>" not in page
    assert 'src="http' not in page
    links = re.findall(r"\]\((\S+\.png)\)", text)
    assert len(links) > 10
    assert all((out / link).is_file() for link in links)
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["runs"]["WINN-single"]["config"]["method"] == "winn"
    assert manifest["quality"]["WINN-single"]["n"] == 20
    assert len(manifest["classifiers"][0]["sha256"]) == 64
    for command in ("winnrobust detect x", "winnrobust train --resume"):
        assert command in page


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    """A folder with a little of CIFAR-10, and a classifier and a generator of it."""
    folder = tmp_path_factory.mktemp("colours")
    random = np.random.default_rng(0)
    for name, count in (("train_20k", 2_050), ("test", 20)):
        images = random.integers(0, 255, (count, 32, 32, 3), dtype=np.uint8)
        np.savez(folder / f"cifar10_{name}.npz", images=images, labels=np.arange(count) % 10)
    places = ["--dataset", "cifar10-20k", "--data-root", folder]
    result = winnrobust("train", *places, "--method", "baseline", "--epochs", 1, "--device", "cpu",
                        "--out", folder / "baseline")  # fmt: skip
    assert result.exit_code == 0, result.output
    result = winnrobust("train", "--unsupervised", *places, *SMALL, "--flip", "--arch",
                        "wgan-resnet", "--width", "0.0625", "--out", folder / "single")  # fmt: skip
    assert result.exit_code == 0, result.output
    return folder


def test_every_data_set_has_its_own_classifier_and_table(runs, generators, colours, tmp_path):
    out = tmp_path / "report"
    generated = [generators / "single", generators / "cascade", colours / "single"]
    judges = [part for path in (runs, colours) for part in ("--classifier", path / "baseline")]
    places = ["--data-root", colours, "--n", 20]
    result = winnrobust("gallery", *generated, *judges, *places, "--out", out)
    assert result.exit_code == 0, result.output
    scores = pd.read_csv(out / "scores.csv")
    assert list(zip(scores.dataset, scores.generator, strict=True)) == [
        ("mnist5k", "WINN-single"),
        ("mnist5k", "WINN, 2 cascades, after 1"),
        ("mnist5k", "WINN, 2 cascades"),
        ("cifar10-20k", "WINN-single, cifar10-20k"),
    ]
    text = (out / "report.md").read_text()
    assert "How good are samples? cifar10-20k" in text
    assert "WINN, 2 cascades above WINN, 2 cascades, after 1" in text
    assert "WINN, 2 cascades above WINN-single" in text

    bad = tmp_path / "bad"
    result = winnrobust("gallery", colours / "single", *judges[:2], *places, "--out", bad)
    assert_one_line(result, "name a classifier of cifar10-20k, to score the samples")
    result = winnrobust("gallery", *generated, *judges, *judges[:2], *places, "--out", bad)
    assert_one_line(result, "name one classifier of mnist5k")
    assert not bad.exists()


def test_samples_like_a_users_own_pictures_are_shown_without_scores(tmp_path):
    """Nobody knows their classes; their neighbors are the pictures themselves."""
    folder, out = tmp_path / "my pictures", tmp_path / "report"
    folder.mkdir()
    for number in range(4):
        pixels = np.full((20, 20), 60 * number, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    result = winnrobust("train", "--unsupervised", "--data", folder, "--image-size", 16, "--arch",
                        "cnn64", "--width", 0.125, *SMALL, "--out", tmp_path / "run")  # fmt: skip
    assert result.exit_code == 0, result.output
    result = winnrobust("gallery", tmp_path / "run", "--n", 20, "--out", out)
    assert result.exit_code == 0, result.output
    assert not (out / "scores.csv").exists()
    assert "How good" not in (out / "report.md").read_text()
    pixels = np.asarray(Image.open(out / "neighbors" / "winn-single.png").convert("L"))
    assert pixels.shape == (2 * 18 + 2, 20 * 18 + 2)
    below = pixels[20:36]
    gray = {int(below[0, 2 + 18 * column]) for column in range(20)}
    assert gray <= {0, 120, 180}, "the one of 60 validates"


def test_two_textures_of_one_name_keep_their_own_pictures(generators, tmp_path):
    out = tmp_path / "report"
    other = tmp_path / "other"
    shutil.copytree(generators / "texture", other)
    result = winnrobust("gallery", generators / "texture", other, "--size", "8x8", "--out", out)
    assert result.exit_code == 0, result.output
    assert {path.name for path in (out / "textures").iterdir()} == {
        "texture-my-8x8.png", "texture-my--seed-0-8x8.png",
    }  # fmt: skip


def test_critics_are_compared_only_where_their_trainings_are(runs, generators, tmp_path):
    """Another seed: other starting images, other batches."""
    other, out = tmp_path / "other", tmp_path / "report"
    result = winnrobust(*WGAN, "--seed", 1, "--out", other)
    assert result.exit_code == 0, result.output
    result = winnrobust("gallery", generators / "single", other, "--classifier", runs / "baseline",
                        "--n", 20, "--out", out)  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "WGAN-GP" in (out / "report.md").read_text()
    assert "Both critics" not in (out / "report.md").read_text()


def test_textures_alone_need_no_classifier(generators, tmp_path):
    out = tmp_path / "report"
    result = winnrobust("gallery", generators / "texture", "--size", "8x8", "--out", out)
    assert result.exit_code == 0, result.output
    assert (out / "index.html").is_file()
    assert not (out / "scores.csv").exists()


def test_bad_input_ends_in_one_line(runs, generators, tmp_path):
    out = tmp_path / "report"
    single = generators / "single"
    for arguments, message in (
        ([single], "name a classifier of mnist5k, to score the samples"),
        ([single, single], "is named twice"),
        ([runs / "winn", "--classifier", runs / "winn"], "would score its own samples"),
        ([runs / "baseline"], "method baseline draws no samples"),
        ([single, "--classifier", single], "was trained without labels; it cannot score samples"),
        ([single, "--classifier", runs / "baseline", "--n", 5], "there are 5 samples"),
        ([tmp_path], "is not a training run"),
        (
            [single, "--classifier", runs / "baseline", "--detection", tmp_path],
            "detection.csv does not exist",
        ),
    ):
        assert_one_line(winnrobust("gallery", *arguments, "--out", out), message)
        assert not out.exists()
