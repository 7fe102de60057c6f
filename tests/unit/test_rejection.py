"""Unknown sequences: scores, thresholds and figures against scikit-learn and cases done by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logsumexp, softmax
from sklearn.metrics import roc_auc_score

from dnatune import rejection
from dnatune.evaluation import evaluate_fold
from dnatune.final_answer import Judged
from dnatune.rejection_figures import accuracy_of_named, evaluate_rejection
from dnatune.scores import Scores
from dnatune.tasks import task
from dnatune.tasks.base import EvaluationSettings
from dnatune.vector_distances import FARTHEST, nearest_distances

TASK = task("multiclass")
SETTINGS = EvaluationSettings("none")
NAMES = ["Aus", "Bus", "Cus"]


def drawn(n: int, kind: str = "", shift: float = 4.0, seed: int = 0) -> Scores:
    """Return scores of n records; unknown ones (``kind``) have flat logits and lie far away."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    logits = rng.normal(0, 1, (n, 3)).astype(np.float32)
    if not kind:
        logits[np.arange(n), labels] += shift
    near = rng.gamma(2, 0.02, n) + (0.1 if kind else 0)
    evidence = np.column_stack([logsumexp(logits, axis=1), near, near, np.full(n, np.nan)]).astype(np.float32)
    role = "unknown" if kind else "validation"
    ids = np.array([f"{kind}{seed}_{i}" for i in range(n)])
    own = np.full(n, -1) if kind else labels
    return Scores(ids, np.full(n, role), own, logits, np.arange(n), None, np.full(n, kind or ""), evidence)


def fold(validation: int = 400, test: int = 500, seed: int = 0) -> Scores:
    """Return the scores of a fold: validation, test, two kinds of unknown records."""
    tested = replace(drawn(test, seed=seed + 1), role=np.full(test, "test"))
    return Scores.joined(
        [drawn(validation, seed=seed), tested, drawn(30, "rare", seed=7), drawn(60, "flagged", seed=8)]
    )


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30), st.lists(st.integers(0, 9), min_size=1, max_size=30))
def test_auroc_is_that_of_scikit_learn_ties_included(known, unknown):
    truth = np.r_[np.zeros(len(known)), np.ones(len(unknown))]
    found = rejection.auroc(np.array(known, float), np.array(unknown, float))
    assert found == pytest.approx(roc_auc_score(truth, np.r_[known, unknown]))


def test_the_threshold_is_the_conformal_rank():
    # 19 values at 5 %: rank ceil(20 * 0.95) = 19, the highest; 39 values: rank 38, the second highest.
    assert rejection.threshold(np.arange(19.0), 0.05) == 18
    assert rejection.threshold(np.arange(39.0), 0.05) == 37
    assert rejection.threshold(np.arange(5.0), 0.05) == 4  # too few: nothing on validation is rejected


def judged(scores, calibrator):
    parts = [scores.part(role) for role in ("test", "unknown")]
    said = [Judged.of(part, TASK.judging.calibrated(calibrator, part.logits), calibrator) for part in parts]
    return evaluate_rejection(*said, calibrator["rejection"])


@pytest.mark.parametrize("score", rejection.SCORES)
@pytest.mark.parametrize("false_alarm", [0.05, 0.2])
def test_about_the_promised_share_of_new_known_records_is_kept(score, false_alarm):
    kept = []
    for seed in range(0, 40, 2):
        scores = fold(200, 1000, seed)
        settings = EvaluationSettings("none", rejection=score, false_alarm=false_alarm)
        calibrator = TASK.judging.calibrate(scores.part("validation"), settings)
        rows, _ = judged(scores, calibrator)
        kept.append(1 - value(rows, "test", "rejected"))
    # The standard error of the mean of 20 thresholds is below 0.007 even at 20 %.
    assert np.mean(kept) == pytest.approx(1 - false_alarm, abs=0.02)


def value(rows, split, metric, group="all"):
    found = rows[(rows["split"] == split) & (rows["metric"] == metric) & (rows["class"] == group)]["value"]
    assert len(found) == 1
    return found.iloc[0]


def test_figures_of_a_fold_against_plain_arithmetic():
    scores = fold()
    calibrator = TASK.judging.calibrate(scores.part("validation"), EvaluationSettings("none", rejection="energy"))
    rows, curves = judged(scores, calibrator)
    test, unknown = scores.part("test"), scores.part("unknown")
    limit = np.sort(-logsumexp(scores.part("validation").logits.astype(float), axis=1))[int(np.ceil(401 * 0.95)) - 1]
    known = -logsumexp(test.logits.astype(float), axis=1)
    right = test.logits.argmax(axis=1) == test.label
    assert value(rows, "test", "misclassified") == np.mean((known <= limit) & ~right)
    assert value(rows, "test", "underclassified") == np.mean((known > limit) & right)
    assert value(rows, "test", "accuracy_named") == right[known <= limit].mean()
    for group in ("rare", "flagged", "all"):
        mine = unknown.logits if group == "all" else unknown.logits[unknown.kind == group]
        score = -logsumexp(mine.astype(float), axis=1)
        truth = np.r_[np.zeros(len(known)), np.ones(len(score))]
        assert value(rows, "unknown", "records", group) == len(score)
        assert value(rows, "unknown", "auroc", group) == pytest.approx(roc_auc_score(truth, np.r_[known, score]))
        assert value(rows, "unknown", "rejected", group) == np.mean(score > limit)
        assert value(rows, "unknown", "overclassified", group) == np.mean(score <= limit)
        top = 1 - softmax(mine.astype(float), axis=1).max(axis=1)
        of_known = 1 - softmax(test.logits.astype(float), axis=1).max(axis=1)
        expected = roc_auc_score(truth, np.r_[of_known, top])
        assert value(rows, "unknown", "auroc_probability", group) == pytest.approx(expected)
    assert len(curves["rejection_known"]) == 500 and len(curves["rejection_flagged"]) == 60


def test_accuracy_among_the_least_strange():
    # Ten records, the two strangest wrong: right up to 80 % named, 0.8 with all.
    found = accuracy_of_named(np.arange(10.0), np.arange(10) < 8)
    assert found[79] == 1 and found[99] == 0.8 and found[89] == pytest.approx(8 / 9) and found[0] == 1


def test_without_held_out_species_a_distance_is_taken_where_there_is_one():
    scores = drawn(300)
    assert TASK.judging.calibrate(scores, SETTINGS)["rejection"]["score"] == "distance"
    evidence = scores.evidence
    bare = replace(scores, evidence=np.full_like(evidence, np.nan))
    fitted = TASK.judging.calibrate(bare, SETTINGS)["rejection"]
    assert fitted["score"] == "probability" and set(fitted["thresholds"]) == {"probability"}


def test_a_score_that_a_model_lacks_and_a_small_validation_part_are_said():
    few = drawn(8)
    bare = Scores(few.id, few.role, few.label, few.logits)
    settings = EvaluationSettings("none", rejection="distance")
    fitted = TASK.judging.calibrate(bare, settings)["rejection"]
    assert fitted["score"] == "probability"
    assert "no score 'distance'" in fitted["note"] and "19 needed" in fitted["note"]


def test_without_validation_nothing_is_rejected():
    calibrator = TASK.judging.calibrate(drawn(5).part("test"), SETTINGS)
    assert calibrator["rejection"]["thresholds"] == {}
    assert TASK.judging.with_evidence(pd.DataFrame(index=range(3)), np.eye(3), None, calibrator).columns.empty


@given(st.integers(1, 25), st.integers(1, 30), st.integers(0, 10**6))
def test_distances_against_all_pairs(queries, labelled, seed):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(queries, 4)), rng.normal(size=(labelled, 4))
    labels, predicted = rng.integers(0, 5, labelled), rng.integers(0, 6, queries)
    found = nearest_distances(x, y, labels, predicted)
    cosine = 1 - (x @ y.T) / np.linalg.norm(x, axis=1)[:, None] / np.linalg.norm(y, axis=1)
    for i in range(queries):
        for column, mask in enumerate((labels == predicted[i], labels >= 0)):
            expected = cosine[i, mask].min() if mask.any() else FARTHEST
            assert found[i, column] == pytest.approx(expected, abs=1e-5)


def test_distances_in_blocks_are_those_at_once(monkeypatch):
    rng = np.random.default_rng(0)
    x, y, labels = rng.normal(size=(50, 8)), rng.normal(size=(40, 8)), rng.integers(0, 7, 40)
    once = nearest_distances(x, y, labels, np.zeros(50, int))
    blocks = [slice(i, i + 3) for i in range(0, 50, 3)]
    monkeypatch.setattr("dnatune.vector_distances.row_blocks", lambda shape, cells: blocks)
    np.testing.assert_allclose(nearest_distances(x, y, labels, np.zeros(50, int)), once, atol=1e-6)


def test_scores_keep_kind_and_evidence(tmp_path):
    scores = fold(20, 20)
    scores.save(tmp_path / "s.npz")
    back = Scores.load(tmp_path / "s.npz").part("unknown")
    assert set(back.kind) == {"rare", "flagged"}
    np.testing.assert_array_equal(back.evidence, scores.part("unknown").evidence)
    with pytest.raises(ValueError, match="evidence"):
        Scores(back.id, back.role, back.label, back.logits, evidence=np.zeros((3, 2)))


def test_held_out_species_choose_the_score_but_not_the_threshold():
    scores, strange = drawn(300), drawn(100, "held_out", seed=5)
    # To the distances they look like known ones; their energy gives them away.
    evidence = np.tile(np.float32([-9, 0, 0, np.nan]), (100, 1))
    plain = TASK.judging.calibrate(scores, SETTINGS)["rejection"]
    fitted = TASK.judging.calibrate(scores, SETTINGS, replace(strange, evidence=evidence))["rejection"]
    assert (plain["score"], plain["power"]) == ("distance", {})
    assert fitted["score"] == "energy" and fitted["power"]["energy"] == 1 and fitted["power"]["distance"] == 0
    assert fitted["thresholds"] == plain["thresholds"]


def test_neither_test_records_nor_those_that_are_only_measured_have_a_say():
    scores = Scores.joined([fold(), drawn(40, "held_out", seed=3)])
    spoilt, measured = scores.logits.copy(), (scores.role == "test") | np.isin(scores.kind, ("rare", "flagged"))
    spoilt[measured] = spoilt[measured][:, ::-1] * 3
    evidence = scores.evidence.copy()
    evidence[measured] += 1
    fitted = [
        evaluate_fold(given, NAMES, "m", 0, TASK, EvaluationSettings("none")).calibrator
        for given in (scores, replace(scores, logits=spoilt, evidence=evidence))
    ]
    assert fitted[0] == fitted[1] and fitted[0]["rejection"]["power"]
