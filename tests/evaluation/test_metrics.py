"""The tables from counts that can be checked by hand."""

import math

import pytest

from winnrobust.attacks import GradientStatistics
from winnrobust.evaluation.metrics import (
    PAIRED_COLUMNS,
    WORST_COLUMNS,
    PairCounts,
    PairedCounts,
    adversarial_error,
    clean_table,
    correction_rate,
    gradient_table,
    mcnemar,
    paired_table,
    results_table,
    worst_table,
)


def test_the_papers_integers_give_the_papers_percentages():
    # Table 3 on 10,000 test images (its percentages as counts).
    percent = {
        "vanilla": (adversarial_error(3241, 10_000), 32.41),
        "ICN": (adversarial_error(1902, 10_000), 19.02),
        "WINN": (adversarial_error(799, 10_000), 7.99),
        "of vanilla's by WINN": (correction_rate(3241, 3241 - 2917), 90.00),
        "of vanilla's by ICN": (correction_rate(3241, 3241 - 1704), 52.58),
        "of ICN's by vanilla": (correction_rate(1902, 1902 - 1116), 58.68),
        "of WINN's by vanilla": (correction_rate(799, 799 - 375), 46.93),
    }
    for name, (rate, printed) in percent.items():
        assert round(100 * rate.value, 2) == printed, name


def test_tidy_table_by_hand():
    # On a's examples: a errs on 8 of 20, b on 5, both on 2, so b corrects 6 of 8.
    pairs = [
        PairCounts("fgsm", "Linf", 0.125, "a", "a", 8, 8, 8),
        PairCounts("fgsm", "Linf", 0.125, "a", "b", 8, 5, 2),
    ]
    table = results_table(20, {"a": 1, "b": 3}, pairs)
    assert list(table.columns) == [
        "attack",
        "norm",
        "epsilon",
        "source",
        "target",
        "n",
        "clean_errors_source",
        "clean_errors_target",
        "source_errors",
        "target_errors",
        "both_errors",
        "adversarial_error",
        "adversarial_error_low",
        "adversarial_error_high",
        "correction_rate",
        "correction_rate_low",
        "correction_rate_high",
    ]
    same, other = (table.iloc[row] for row in range(2))
    assert list(other[:11]) == ["fgsm", "Linf", 0.125, "a", "b", 20, 1, 3, 8, 5, 2]
    assert other.adversarial_error == 0.4
    assert other.correction_rate == 0.75
    # Wilson for 8 of 20 and 6 of 8.
    assert (other.adversarial_error_low, other.adversarial_error_high) == pytest.approx(
        (0.2188, 0.6134), abs=5e-5
    )
    assert (other.correction_rate_low, other.correction_rate_high) == pytest.approx(
        (0.4093, 0.9285), abs=5e-5
    )
    assert same.correction_rate == 0


def test_undefined_correction_is_nan_not_zero():
    table = results_table(5, {"a": 0}, [PairCounts("fgsm", "Linf", 0.0, "a", "a", 0, 0, 0)])
    row = table.iloc[0]
    assert row.adversarial_error == 0
    for column in ("correction_rate", "correction_rate_low", "correction_rate_high"):
        assert math.isnan(row[column])
    assert math.isnan(clean_table(0, {"a": 0}).error[0])


def test_clean_and_gradient_tables():
    clean = clean_table(20, {"a": 1, "b": 3})
    assert list(clean.columns) == ["model", "n", "errors", "error", "error_low", "error_high"]
    assert clean.error.tolist() == [0.05, 0.15]
    gradients = gradient_table({("fgsm", "a"): GradientStatistics(80, 12, 20, 3, 4, 1)})
    assert gradients.to_dict("records") == [
        {
            "attack": "fgsm",
            "source": "a",
            "entries": 80,
            "zero_entries": 12,
            "images": 20,
            "zero_images": 3,
            "tiny_images": 4,
            "nonfinite_images": 1,
        }
    ]


def test_mcnemar_by_hand():
    # Ten discordant images, nine on one side: 2 * (C(10, 0) + C(10, 1)) / 2**10.
    assert mcnemar(9, 1) == mcnemar(1, 9) == pytest.approx(22 / 1024)
    assert mcnemar(4, 4) == 1
    assert mcnemar(0, 0) == 1


def test_paired_and_worst_tables():
    paired = paired_table(20, [PairedCounts("fgsm", "Linf", 0.1, "a", "b", 9, 1)])
    assert list(paired.columns) == list(PAIRED_COLUMNS)
    assert paired.iloc[0].tolist() == [
        "fgsm", "Linf", 0.1, "a", "b", 20, 9, 1, pytest.approx(22 / 1024),
    ]  # fmt: skip
    worst = worst_table(20, {("Linf", 0.1, "a"): 5})
    assert list(worst.columns) == list(WORST_COLUMNS)
    assert worst.iloc[0].tolist()[:6] == ["Linf", 0.1, "a", 20, 5, 0.25]
