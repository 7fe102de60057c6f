"""What the report says of sets of names and of differences between models, and the figure of the sets."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from dnatune import figures_sets, report_words, report_words_differences, report_words_sets
from dnatune.comparison import METRIC_COLUMNS, TEST_COLUMNS
from dnatune.report_words import Estimate


def rows(model, coverage, rare=None, size=1.5, empty=0.0):
    """metrics.tsv of two folds whose coverage is 0.01 below and above."""
    found = []
    for name, kept in {"all": coverage, "rare classes": rare, "common classes": coverage}.items():
        if kept is None:
            continue
        for fold, off in ((0, -0.01), (1, 0.01)):
            values = {
                "set_coverage": kept + off,
                "set_coverage_distinct": kept,
                "set_size": size,
                "set_size_median": 1,
                "set_single": 0.7,
            }
            values |= {"set_empty": empty, "set_records": 50}
            found += [(model, fold, "test", "calibrated", metric, name, v) for metric, v in values.items()]
    return pd.DataFrame(found, columns=METRIC_COLUMNS)


def said(coverage, promised=0.9, accuracy=0.5, rare=None, empty=0.0):
    table = report_words_sets.table(rows("m", coverage, rare, empty=empty))
    return " ".join(report_words_sets.sentences(table, "m", promised, accuracy))


def test_the_table_has_means_over_folds_and_the_worst_and_best_one():
    table = report_words_sets.table(pd.concat([rows("m", 0.9, 0.8), rows("b", 0.95)]))
    assert table[["model", "classes"]].to_numpy().tolist() == [
        ["m", "all"], ["m", "rare classes"], ["m", "common classes"], ["b", "all"], ["b", "common classes"],
    ]  # fmt: skip
    first = table.iloc[0]
    assert first["set_coverage"] == pytest.approx(0.9) and first["set_records"] == 100
    assert (first["set_coverage_low"], first["set_coverage_high"]) == pytest.approx((0.89, 0.91))
    assert report_words_sets.table(rows("m", 0.9).iloc[:0]).empty


def test_a_kept_and_a_broken_promise_in_words():
    assert "promise was 90.0 % and is kept: the true name is in the set of 91.0 %" in said(0.91)
    assert "(90.0 % to 92.0 % in single folds)" in said(0.91)
    assert "is kept" in said(0.885) and "is not kept" in said(0.87)
    assert "1.5 names on average, and one name alone for 70.0 %" in said(0.91)


def test_the_promise_counts_identical_sequences_once():
    table = report_words_sets.table(rows("m", 0.87))
    table["set_coverage_distinct"] = 0.905
    text = " ".join(report_words_sets.sentences(table, "m", 0.9, 0.5))
    assert "and is kept: the true name is in the set of 87.0 %" in text
    assert "90.5 % with identical ones counted once" in text and "identical" not in said(0.91)


def test_a_model_better_than_the_promise_is_explained():
    assert "first name alone is right for 97.0 %, more than was asked" in said(0.97, accuracy=0.97)
    assert "more than was asked" not in said(0.9, accuracy=0.85) + said(0.9, accuracy=math.nan)


def test_empty_sets_are_explained_and_not_those_that_cannot_be_empty():
    told = said(0.9, accuracy=0.97, empty=0.08)
    assert "For 8.0 % the set is empty" in told and "more than was asked" not in told
    assert "empty." not in said(0.97, accuracy=0.97) and "sets.allow_empty" in said(0.97, accuracy=0.97)


def test_rare_classes_that_fall_short_are_warned_of():
    assert "rely less on the sets" in said(0.9, rare=0.7) and "70.0 % (1.5 names" in said(0.9, rare=0.7)
    assert "rely less on the sets" not in said(0.9, rare=0.89)
    assert report_words_sets.sentences(report_words_sets.table(rows("m", 0.9)), "other", 0.9, 0.5) == []


def test_bars_of_set_sizes_are_shares_of_all():
    share, names = figures_sets.sizes_by_bar(np.array([1, 1, 1, 1, 2, 4, 5, 7, 60, 200]))
    assert dict(zip(names, share, strict=True)) == pytest.approx(
        {"1": 40, "2": 10, "3": 0, "4–5": 20, "6–10": 10, "11–50": 0, "> 50": 20}
    )
    assert figures_sets.sizes_by_bar(np.ones(5, int)) == ([100.0], ["1"])
    assert figures_sets.sizes_by_bar(np.array([1, 3]))[1] == ["1", "2", "3"]
    assert figures_sets.sizes_by_bar(np.array([0, 1, 1, 3])) == ([25.0, 50.0, 0.0, 25.0], ["none", "1", "2", "3"])


def test_the_figure_shows_each_fold_and_says_where_there_are_no_sets():
    folds = [{"set_size": np.array([1, 1, 2]), "set_asked": np.array(0.9)}] * 2
    left = figures_sets.prediction_sets(rows("m", 0.91, 0.7), folds, "m").axes[0]
    drawn = [list(line.get_xdata()) for line in left.lines]
    assert any(x == pytest.approx([0.69, 0.71]) for x in drawn) and any(x == pytest.approx([0.9, 0.9]) for x in drawn)
    assert left.get_xlim()[0] < 0.69
    empty = figures_sets.prediction_sets(rows("m", 0.9), [{"other": np.ones(1)}], "m")
    assert "no sets" in empty.axes[0].texts[0].get_text()


def paired(*found):
    """paired_tests.tsv from (test, metric, a, b, difference, p, p_holm)."""
    lines = [(t, m, a, b, d, d - 0.1, d + 0.1, p, h, 5, 100) for t, m, a, b, d, p, h in found]
    return pd.DataFrame(lines, columns=TEST_COLUMNS)


TESTS = paired(
    ("folds", "accuracy", "lm", "knn", 0.02, 0.03, 0.3),
    ("sequences", "accuracy", "lm", "knn", 0.02, 0.001, 0.01),
    ("sequences", "log_loss", "lm", "knn", 0.5, 0.001, 0.01),
    ("sequences", "brier", "lm", "knn", -0.01, 0.03, 0.2),
    ("sequences", "accuracy", "majority", "lm", -0.8, 0.0001, 0.001),
    ("sequences", "accuracy", "lm", "nb", 0.001, 0.6, 1.0),
)


def test_only_differences_that_survive_the_correction_are_called_real():
    text = report_words_differences.differences("lm", ["knn", "majority", "nb"], TESTS, report_words.metric)
    assert "Against knn: better in accuracy; worse in log loss; no real difference in Brier score." in text
    assert "Against majority: better in accuracy." in text
    assert "Against nb: no real difference in anything tested." in text
    assert "all tests are corrected" in text and "drawn anew" in text
    # Of the three real ones the accuracy against knn alone was tested over folds, where it is not clear.
    assert text.endswith("0 of these 1 differences are also clear over folds, where luck in training counts too.")
    assert report_words_differences.differences("lm", ["knn"], TESTS.iloc[:0], report_words.metric) == ""
    folds = report_words_differences.differences("lm", ["knn"], TESTS.iloc[:1], report_words.metric)
    assert "folds are compared" in folds and "no real difference in anything tested" in folds


def test_a_metric_that_only_folds_can_test_counts_too():
    tests = paired(
        ("folds", "pr_auc_macro", "lm", "knn", 0.1, 1e-6, 1e-5),
        ("sequences", "accuracy", "lm", "knn", 0.01, 0.3, 0.6),
        ("folds", "accuracy", "lm", "knn", 0.01, 1e-6, 1e-5),
    )
    text = report_words_differences.differences("lm", ["knn"], tests, report_words.metric)
    assert "Against knn: better in macro PR-AUC; no real difference in accuracy." in text
    assert "for other metrics folds are compared" in text and "also clear" not in text


@pytest.mark.parametrize(
    ("place", "words"),
    [(0, "not sure: lm is ahead"), (1, "lm is better"), (2, "knn is better"), (4, "lm is better"), (5, "no clear")],
)
def test_each_row_has_its_verdict(place, words):
    row = TESTS.iloc[place].to_dict()
    assert report_words_differences.verdict(row, report_words.metric(row["metric"]).more_is_better).startswith(words)
    assert report_words_differences.verdict({**row, "p_value": math.nan, "p_holm": math.nan}, True).startswith(
        "no test"
    )


def test_the_answer_goes_by_the_corrected_p_over_sequences():
    own, rival = {"accuracy": Estimate(0.9)}, {"knn": {"accuracy": Estimate(0.88)}}
    text = report_words.baseline_sentence("lm", rival, own, TESTS, ("accuracy",)).text
    assert text.startswith("Yes") and "p = 0.01" in text and "corrected for the number of tests" in text
    text = report_words.baseline_sentence("lm", rival, own, TESTS.iloc[:1], ("accuracy",)).text
    assert text.startswith("Not shown") and "p = 0.3" in text
