"""`winnrobust detect` as a user types it."""

import json

import numpy as np
import pandas as pd

from tests.cli.conftest import assert_one_line, winnrobust


def test_a_table_on_the_terminal_and_in_a_folder(runs, tmp_path):
    ood = tmp_path / "noise.npz"
    pixels = np.random.default_rng(0).integers(0, 255, (30, 28, 28), dtype=np.uint8)
    np.savez(ood, images=pixels, labels=np.zeros(30, int))
    out = tmp_path / "detection"
    result = winnrobust("detect", runs / "baseline", runs / "winn", "--attacks", "fgsm",
                        "--ood", ood, "--limit", 40, "--steps", 2,
                        "--out", out)  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "adaptive attack 0.125" in result.output
    table = pd.read_csv(out / "detection.csv")
    pairs = set(zip(table.model, table.detector, strict=True))
    assert pairs == {
        ("baseline", "softmax"), ("baseline", "energy"),
        ("winn", "critic"), ("winn", "softmax"), ("winn", "energy"),
    }  # fmt: skip
    assert set(table.against) == {"noise", "fgsm", "adaptive"}
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["out_of_distribution"] == {"noise": 30}


def test_bad_input_ends_in_one_line(runs, tmp_path):
    wide = tmp_path / "wide.npz"
    np.savez(wide, images=np.zeros((5, 32, 32), np.uint8), labels=np.zeros(5, int))
    for options, message in (
        (["--attacks", "cw-l2"], "must be in the L-infinity norm"),
        (["--attacks", "magic"], "unknown attack 'magic'"),
        (["--eps", "0.1,0.2"], "--eps must be a single bound"),
        (["--limit", "10"], "--limit must be at least 20"),
        (["--ood", wide], "have the shape (1, 32, 32)"),
        (["--foreign", "nowhere"], "is neither a folder"),
        (["--out", runs], "already exists"),
    ):
        assert_one_line(winnrobust("detect", runs / "winn", *options), message)
