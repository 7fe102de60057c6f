"""Metrics of many labels against scikit-learn, thresholds against a search by hand, parts that lack a label."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from dnatune.multilabel_metrics import best_threshold, evaluate_labels, rank_labels, thresholds_of

NAMES = ["a", "b", "c", "d"]


def part(seed=0, n=200, labels=4):
    """Probabilities with ties, and targets that they know something of."""
    rng = np.random.default_rng(seed)
    p = rng.random((n, labels)).round(2)
    return p, (rng.random((n, labels)) < p * 0.6).astype(np.int8)


def values(table, name="all"):
    return table[table["class"] == name].set_index("metric")["value"]


def test_figures_equal_those_of_scikit_learn():
    p, y = part()
    thresholds = np.array([0.5, 0.3, 0.6, 0.45])
    table = evaluate_labels(p, y, thresholds, NAMES)
    given = p >= thresholds
    found = values(table)
    for average in ("macro", "micro"):
        for name in ("f1", "precision", "recall"):
            expected = getattr(sklearn_metrics, f"{name}_score")(y, given, average=average, zero_division=0)
            assert found[f"{name}_{average}"] == pytest.approx(expected)
        expected = sklearn_metrics.average_precision_score(y, p, average=average)
        assert found[f"pr_auc_{average}"] == pytest.approx(expected)
    assert found["roc_auc_macro"] == pytest.approx(sklearn_metrics.roc_auc_score(y, p, average="macro"))
    assert found["subset_accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(y, given))
    assert found["hamming_loss"] == pytest.approx(sklearn_metrics.hamming_loss(y, given))
    assert found["brier"] == pytest.approx(sklearn_metrics.brier_score_loss(y.ravel(), p.ravel()))
    assert found["log_loss"] == pytest.approx(sklearn_metrics.log_loss(y.ravel(), p.ravel()))
    for i, name in enumerate(NAMES):
        own = values(table, name)
        assert own["support"] == y[:, i].sum() and own["threshold"] == thresholds[i]
        assert own["f1"] == pytest.approx(sklearn_metrics.f1_score(y[:, i], given[:, i]))
        assert own["pr_auc"] == pytest.approx(sklearn_metrics.average_precision_score(y[:, i], p[:, i]))


def test_calibration_error_by_hand():
    p, y = np.array([[0.02, 0.98], [0.02, 0.98]]), np.array([[0, 1], [1, 1]], np.int8)
    # Bin of 0.02: half of two have the label; bin of 0.98: both. (0.48 x 2 + 0.02 x 2) / 4
    assert values(evaluate_labels(p, y, np.full(2, 0.5), NAMES[:2]))["ece"] == pytest.approx(0.25)


@pytest.mark.parametrize("case", ["one label absent", "one label everywhere", "no label at all", "one record", "none"])
def test_a_part_that_lacks_a_label_crashes_nothing(case):
    p, y = part(n=30)
    if case == "one label absent":
        y[:, 2] = 0
    elif case == "one label everywhere":
        y[:, 1] = 1
    elif case == "no label at all":
        y[:] = 0
    elif case == "one record":
        p, y = p[:1], np.array([[0, 1, 0, 0]], np.int8)
    else:
        p, y = p[:0], y[:0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        thresholds = thresholds_of("tuned", p, y)
        table = evaluate_labels(p, y, thresholds, NAMES)
    found = values(table)
    assert found["records"] == len(y)
    if case == "one label absent":
        present = [0, 1, 3]
        expected = sklearn_metrics.average_precision_score(y[:, present], p[:, present], average="macro")
        assert found["pr_auc_macro"] == pytest.approx(expected)
        assert np.isnan(values(table, "c")["f1"]) and values(table, "c")["support"] == 0
        # Wrongly given labels that nobody has still count against every decision.
        given = p >= thresholds
        assert found["f1_micro"] == pytest.approx(sklearn_metrics.f1_score(y, given, average="micro"))
    if case == "one label everywhere":
        assert np.isfinite(found["roc_auc_macro"]) and np.isnan(values(table, "b")["roc_auc"])
    if case == "no label at all":
        assert np.isnan(found["pr_auc_macro"]) and found["hamming_loss"] == (p >= 0.5).mean()


@given(st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=1, max_size=40))
def test_the_best_threshold_is_the_best_of_all(pairs):
    scores, truth = np.array([s / 12 for s, _ in pairs]), np.array([t for _, t in pairs], np.int8)
    if not truth.any():
        truth[0] = 1

    def f1(threshold):
        given = scores >= threshold
        return 2 * (given & (truth > 0)).sum() / (given.sum() + truth.sum())

    assert f1(best_threshold(scores, truth)) == pytest.approx(max(f1(t) for t in np.r_[scores, scores + 1e-6, 0]))


def test_labels_with_few_records_share_a_threshold():
    p, y = part(n=100)
    y[:, 3] = 0
    y[:9, 3] = 1
    thresholds = thresholds_of("tuned", p, y)
    assert thresholds[0] == best_threshold(p[:, 0], y[:, 0])
    assert thresholds[3] == best_threshold(p.ravel(), y.ravel()) != best_threshold(p[:, 3], y[:, 3])
    assert thresholds_of(0.3, p, y).tolist() == [0.3] * 4


def test_interpolated_precision_is_the_mean_over_labels_with_records():
    p, y = part(n=50)
    y[:, 0] = 0
    expected = []
    for i in (1, 2, 3):
        precision, recall, _ = sklearn_metrics.precision_recall_curve(y[:, i], p[:, i])
        expected.append([precision[:-1][recall[:-1] >= r - 1e-12].max() for r in np.arange(101) / 100])
    np.testing.assert_allclose(rank_labels(p, y).precision, np.mean(expected, axis=0))
