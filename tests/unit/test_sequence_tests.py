"""Paired tests over test sequences: against exact and other people's arithmetic, whole groups, right error rates."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score, log_loss

from dnatune.comparison import TEST_COLUMNS, holm
from dnatune.evaluation import evaluate_fold
from dnatune.scores import Scores
from dnatune.sequence_tests import _aligned, _Figures, bootstrap_tests, percentile_test, read_outcomes, resamples
from dnatune.tasks import task
from dnatune.tasks.base import EvaluationSettings

TESTED = task("multiclass").tested


def outcome(right, label=None, group=None, fold=0, loss=None, other=1):
    """A table of test sequences; wrong ones get the name ``other`` steps on among 4."""
    right = np.asarray(right, bool)
    label = np.zeros(len(right), int) if label is None else np.asarray(label)
    return pd.DataFrame(
        {
            "fold": fold,
            "id": np.arange(len(right)).astype(str),
            "group": np.arange(len(right)) if group is None else group,
            "label": label,
            "predicted": np.where(right, label, (label + other) % 4),
            "log_loss": np.where(right, 0.1, 2.0) if loss is None else loss,
            "brier": np.where(right, 0.05, 1.2),
        }
    )


def row(tests, metric):
    (found,) = tests[tests["metric"] == metric].to_dict("records")
    return found


def test_holm_by_hand_and_with_gaps():
    # 0.01 x 4, 0.03 x 3 = 0.09, 0.04 x 2 = 0.08 (not below 0.09), 0.5 x 1
    assert holm(np.array([0.5, 0.01, 0.04, 0.03])).tolist() == pytest.approx([0.5, 0.04, 0.09, 0.09])
    found = holm(np.array([np.nan, 0.02, 0.9]))
    assert math.isnan(found[0]) and found[1:].tolist() == pytest.approx([0.04, 0.9])
    assert len(holm(np.array([]))) == 0 and holm(np.array([0.7, 0.6])).max() == 1.0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_its_step_down_rule(p):
    """Reject from the smallest on while p <= alpha / (tests left): the same hypotheses, for any alpha."""
    corrected = holm(np.array(p))
    for alpha in (0.01, 0.05, 0.3):
        rejected = []
        for step, i in enumerate(np.argsort(p, kind="stable")):
            if p[i] * (len(p) - step) > alpha:
                break
            rejected.append(int(i))
        assert sorted(rejected) == np.flatnonzero(corrected <= alpha).tolist()


def test_interval_and_p_are_those_of_scipys_paired_bootstrap():
    rng = np.random.default_rng(0)
    a, b = rng.random(300) < 0.9, rng.random(300) < 0.85
    tests = bootstrap_tests({"a": outcome(a), "b": outcome(b)}, TESTED, seed=0)
    assert list(tests.columns) == TEST_COLUMNS and set(tests["metric"]) == {"accuracy", "f1_macro", "log_loss", "brier"}
    found = row(tests, "accuracy")
    theirs = stats.bootstrap(
        (a.astype(float), b.astype(float)), lambda x, y, axis: x.mean(axis) - y.mean(axis), paired=True,
        n_resamples=20_000, method="percentile", rng=np.random.default_rng(1), vectorized=True,
    )  # fmt: skip
    assert found["difference"] == pytest.approx(a.mean() - b.mean())
    assert found["ci_low"] == pytest.approx(theirs.confidence_interval.low, abs=0.004)
    assert found["ci_high"] == pytest.approx(theirs.confidence_interval.high, abs=0.004)
    normal = 2 * stats.norm.sf(abs(found["difference"]) / theirs.standard_error)
    assert found["p_value"] == pytest.approx(normal, rel=0.25)
    assert (found["folds"], found["groups"]) == (1, 300)


def test_all_draws_of_three_sequences():
    """27 draws of 3 sequences whose differences are 1, 1, -1: the exact shares."""
    exact = np.array([sum((1, 1, -1)[i] for i in (a, b, c)) for a in range(3) for b in range(3) for c in range(3)])
    low, high, p = percentile_test(exact / 3)
    below = (exact <= 0).mean()  # (1/3)^3 + 3 (1/3)^2 (2/3) = 7/27
    assert below == pytest.approx(7 / 27) and p == pytest.approx(2 * (1 + 7) / 28)
    # Sorted they begin -1, -1/3: the 2.5 % quantile lies at 0.025 x 26 = 0.65 of that step.
    assert (low, high) == pytest.approx((-1 + 0.65 * 2 / 3, 1))
    drawn = np.concatenate(list(resamples(3, 30_000, 0))) @ np.array([1, 1, -1])
    assert (drawn <= 0).mean() == pytest.approx(7 / 27, abs=0.01)


def test_figures_of_a_draw_are_scikit_learns_on_the_drawn_sequences():
    rng = np.random.default_rng(2)
    label, group = rng.integers(0, 4, 60), rng.integers(0, 25, 60)
    group = np.unique(group, return_inverse=True)[1]
    tables = {
        "a": outcome(rng.random(60) < 0.7, label, group),
        "b": outcome(rng.random(60) < 0.5, label, group, other=2),
    }
    weights = next(resamples(group.max() + 1, 5, 0))
    accuracy, f1, loss = _Figures(tables, group).of(weights, ["accuracy", "f1_macro", "log_loss"])
    for draw, weight in enumerate(weights):
        rows = np.repeat(np.arange(60), weight[group].astype(int))
        for i, table in enumerate(tables.values()):
            truth, given_name = label[rows], table["predicted"].to_numpy()[rows]
            present = np.unique(truth)
            assert accuracy[draw, i] == pytest.approx(accuracy_score(truth, given_name))
            expected = f1_score(truth, given_name, labels=present, average="macro", zero_division=0)
            assert f1[draw, i] == pytest.approx(expected)
            assert loss[draw, i] == pytest.approx(table["log_loss"].to_numpy()[rows].mean())


def test_copies_of_a_sequence_are_one_observation():
    rng = np.random.default_rng(3)
    a, b = rng.random(80) < 0.95, rng.random(80) < 0.8
    once = row(bootstrap_tests({"a": outcome(a), "b": outcome(b)}, TESTED, 0), "accuracy")
    copies = {m: outcome(np.repeat(x, 10), group=np.repeat(np.arange(80), 10)) for m, x in (("a", a), ("b", b))}
    tenfold = row(bootstrap_tests(copies, TESTED, 0), "accuracy")
    for key in ("difference", "ci_low", "ci_high", "p_value", "groups"):
        assert tenfold[key] == pytest.approx(once[key])
    alone = {m: outcome(np.repeat(x, 10)) for m, x in (("a", a), ("b", b))}
    assert row(bootstrap_tests(alone, TESTED, 0), "accuracy")["p_value"] < once["p_value"]


def test_equal_models_have_no_difference_and_one_model_no_pair():
    same = outcome(np.arange(50) % 5 > 0)
    tests = bootstrap_tests({"a": same, "b": same.copy()}, TESTED, 0)
    assert (tests["p_value"] == 1).all() and (tests["p_holm"] == 1).all() and (tests["difference"] == 0).all()
    assert bootstrap_tests({"a": same}, TESTED, 0).empty and bootstrap_tests({}, TESTED, 0).empty
    assert bootstrap_tests({"a": same, "b": same}, ("r2",), 0).empty


def test_sequences_are_matched_by_fold_and_id_not_by_place():
    a = pd.concat([outcome([True, False, True], fold=0), outcome([True, True, False], fold=1)])
    mixed = a.sample(frac=1, random_state=0)
    tests = bootstrap_tests({"a": a, "b": mixed}, TESTED, 0)
    assert (tests["difference"] == 0).all() and (tests["groups"] == 6).all() and (tests["folds"] == 2).all()
    fewer = _aligned({"a": a, "b": mixed[mixed["id"] != "1"]})
    assert [len(table) for table in fewer.values()] == [4, 4]


def test_false_alarms_are_as_rare_as_promised():
    alarms = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        group = rng.integers(0, 60, 200)
        shared = rng.random(60)[group]  # whole groups are hard or easy
        a, b = rng.random(200) < shared, rng.random(200) < shared
        difference = np.bincount(group, a.astype(float) - b, minlength=60)
        size = np.bincount(group, minlength=60)
        drawn = np.concatenate(list(resamples(60, 500, seed)))
        alarms += percentile_test((drawn @ difference) / (drawn @ size))[2] < 0.05
    assert alarms / 200 < 0.1


def test_a_small_p_survives_however_many_tests_there_are():
    rng = np.random.default_rng(4)
    tables = {f"m{i}": outcome(rng.random(60) < 0.9) for i in range(12)} | {"bad": outcome(np.zeros(60, bool))}
    tests = bootstrap_tests(tables, TESTED, 0)
    against = tests[tests["model_b"] == "bad"]
    assert len(tests) == 78 * 4 and (against["p_holm"] < 0.05).all()


def test_outcomes_of_evaluated_folds_are_read_back(tmp_path):
    rng = np.random.default_rng(0)
    for fold in (0, 1):
        label = rng.integers(0, 4, 120)
        logits = rng.normal(0, 1, (120, 4)) + 2 * np.eye(4)[label]
        role = np.array(["validation", "test", "test"])[np.arange(120) % 3]
        scores = Scores(np.arange(120).astype(str), role, label, logits.astype(np.float32), np.arange(120) // 2)
        result = evaluate_fold(scores, list("abcd"), "m", fold, task("multiclass"), EvaluationSettings("temperature"))
        folder = tmp_path / "models" / "m" / f"fold_{fold}"
        folder.mkdir(parents=True)
        np.savez(folder / "curves.npz", **result.curves)
        values = result.metrics.query("split == 'test' and stage == 'calibrated' and `class` == 'all'")
        expected = values.set_index("metric")["value"]
        table = read_outcomes([folder / "curves.npz"])["m"]
        assert table["log_loss"].mean() == pytest.approx(expected["log_loss"])
        assert table["brier"].mean() == pytest.approx(expected["brier"])
        assert (table["label"] == table["predicted"]).mean() == pytest.approx(expected["accuracy"])
        p = np.exp(logits[role == "test"] / result.calibrator["temperature"])
        p /= p.sum(axis=1, keepdims=True)
        assert table["log_loss"].mean() == pytest.approx(log_loss(label[role == "test"], p), abs=1e-5)
    both = read_outcomes(sorted(tmp_path.glob("models/*/*/curves.npz")))["m"]
    assert both["fold"].value_counts().to_dict() == {0: 80, 1: 80} and both["id"].iloc[0] == "1"
