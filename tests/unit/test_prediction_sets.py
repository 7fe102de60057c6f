"""Sets of names: the promise kept on exchangeable data, a hand-computed case, whole groups, and a slow second way."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from dnatune import calibration, prediction_sets
from dnatune.evaluation import evaluate_fold
from dnatune.files import read_json, write_json
from dnatune.prediction_sets import (
    columns,
    groups_for_own,
    groups_needed,
    judge,
    label_scores,
    members,
    thresholds,
)
from dnatune.scores import Scores
from dnatune.tasks import task
from dnatune.tasks.base import EvaluationSettings


def drawn(rng, n, classes, spread=1.7, factor=3.0):
    """Logits ``factor`` times too sure of themselves, and labels drawn from the honest ones."""
    logits = rng.normal(0, spread, (n, classes))
    label = (rng.random((n, 1)) > softmax(logits, axis=1).cumsum(axis=1)).sum(axis=1).clip(max=classes - 1)
    return (logits * factor).astype(np.float32), label


def fit(method, validation, coverage, seed, folds, then=None, allow_empty=False):
    """Fit sets as the evaluation does, on probabilities that were calibrated without the record."""
    labels, groups = validation.label, validation.group
    unseen = calibration.held_out(method, validation.logits, labels, seed, folds, groups, then)
    return prediction_sets.fit(unseen, labels, groups, coverage, allow_empty)


def scores_of(logits, label, group=None, role="validation"):
    return Scores(np.arange(len(label)).astype(str), np.full(len(label), role), label, logits, group)


def sets_of(fitted, p):
    """Return the set of each row as a list of class ids."""
    found = []
    for _, ids, sizes in members(fitted, p):
        found += [part.tolist() for part in np.split(ids, np.cumsum(sizes)[:-1])]
    return found


def slow_score(p, label):
    """The same by its words: what a class and all no more probable ones have, less 0.001 per place after the 5th; 1 or
    more for the most probable, by how much the others have."""
    place = 1 + sum(1 for x in p if x > p[label])
    if place == 1:
        return 1 - math.log((math.fsum(p) - p[label]) / math.fsum(p))
    return math.fsum(x for x in p if x <= p[label]) / math.fsum(p) - 0.001 * max(0, place - 5)


def slow_threshold(scores, groups, coverage):
    """The largest score whose groups' shares reach (K + 1) coverage, tried one after the other."""
    k = len(set(groups))
    size = {g: list(groups).count(g) for g in groups}
    for t in sorted(scores, reverse=True):
        if sum(1 / size[g] for s, g in zip(scores, groups, strict=True) if s >= t) >= (k + 1) * coverage - 1e-9:
            return t
    return None


def test_a_case_by_hand():
    p = np.array([[0.5, 0.3, 0.2], [0.2, 0.5, 0.3], [0.4, 0.4, 0.2]])
    # The first name, by the 0.5 that the others have; 0.2 alone; the first name, as two are tied.
    first = [1 - math.log(0.5), 1 - math.log(0.6)]
    assert label_scores(p, np.array([0, 0, 1])).tolist() == pytest.approx([first[0], 0.2, first[1]])
    fitted = {"shared": 0.5, "own": {"2": 0.25}}
    # Row 1: 0 (1), 1 (0.5); 2 has 0.2 < 0.25. Row 2: 1 (1), 2 (0.5); 0 has 0.2 < 0.5. Row 3: 0 and 1; 2 has 0.2.
    assert sets_of(fitted, p) == [[0, 1], [1, 2], [0, 1]]
    table, sizes = judge(fitted, p, np.array([2, 1, 1]), np.array([4, 4, 9]), np.array([5, 6, 7]))
    values = table.set_index(["class", "metric"])["value"]
    assert values["all", "set_coverage"] == pytest.approx(2 / 3) and values["all", "set_size"] == 2
    # The first two are copies, of which one is missed: (1/2 + 1) / 2.
    assert values["all", "set_coverage_distinct"] == pytest.approx(0.75)
    assert "rare classes" not in values.index and values["common classes", "set_records"] == 3
    assert sizes.tolist() == [2, 2, 2]
    assert columns(fitted, p, ["a", "b", "c"])["set"] == ["a; b", "b; c", "a; b"]
    # 1.6: sure of the first name (others at most exp(-0.6) = 0.549). Row 3 is not, and keeps one only if it must.
    strict = {"shared": 1.6, "own": {}}
    assert columns(strict, p, ["a", "b", "c"])["set"] == ["a", "b", "a; b"]
    told = columns({**strict, "allow_empty": True}, p, ["a", "b", "c"])
    assert told["set"] == ["a", "b", ""] and told["set_size"].tolist() == [1, 1, 0]
    table, _ = judge({**strict, "allow_empty": True}, p, np.array([0, 1, 0]), np.arange(3), None)
    assert table.set_index("metric")["value"][["set_coverage", "set_empty"]].tolist() == pytest.approx([2 / 3, 1 / 3])


def test_the_quantile_is_the_finite_sample_one():
    scores, alone = np.arange(1, 20) / 20, np.arange(19)
    # ceil(20 x 0.9) = the 18th of 19 from above; ceil(10 x 0.9) = the 9th of 9; of 8 none.
    assert prediction_sets.threshold(scores, alone, 0.9) == pytest.approx(0.1)
    assert prediction_sets.threshold(scores[:9], alone[:9], 0.9) == pytest.approx(0.05)
    assert prediction_sets.threshold(scores[:8], alone[:8], 0.9) is None
    assert (groups_needed(0.9), groups_for_own(0.9), groups_needed(0.99)) == (9, 19, 99)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 60), st.integers(1, 30), st.sampled_from([0.5, 0.8, 0.9]))
def test_fast_and_slow_ways_agree(seed, n, groups, coverage):
    rng = np.random.default_rng(seed)
    # Rounded: ties within and between rows.
    p = np.round(rng.dirichlet(np.full(9, 0.5), n), 1) + 0.01
    p /= p.sum(axis=1, keepdims=True)
    labels, group = rng.integers(0, 3, n), rng.integers(0, groups, n)
    found = label_scores(p, labels)
    assert found.tolist() == pytest.approx([slow_score(row, y) for row, y in zip(p, labels, strict=True)], abs=1e-12)
    fitted = thresholds(found, labels, group, coverage)
    own = [y for y in range(3) if len(set(group[labels == y])) >= groups_for_own(coverage)]
    assert sorted(fitted["own"]) == [str(y) for y in own]
    for y in own:
        assert fitted["own"][str(y)] == slow_threshold(found[labels == y], group[labels == y], coverage)
    others = ~np.isin(labels, own)
    expected = slow_threshold(found[others], group[others], coverage)
    if expected is None:
        expected = slow_threshold(found, group, coverage)
        assert fitted["shared_from"] == "all classes"
    assert fitted["shared"] == expected and ("note" in fitted) == (expected is None)
    if expected is not None:
        limit = [fitted["own"].get(str(y), expected) for y in range(9)]
        for row, mine in zip(p, sets_of(fitted, p), strict=True):
            assert set(mine) == {y for y in range(9) if slow_score(row, y) >= min(limit[y] - 1e-9, 1)}
            assert mine[0] == row.argmax() and list(row[mine]) == sorted(row[mine], reverse=True)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_sets_grow_with_coverage_and_are_never_empty(seed):
    rng = np.random.default_rng(seed)
    logits, label = drawn(rng, 200, 8)
    p, scores = softmax(logits.astype(float), axis=1), scores_of(logits, label)
    before = [set()] * 200
    for coverage in (0.5, 0.7, 0.8, 0.9, 0.95):
        # Without thresholds of classes: a class may lose its own as the number that it takes grows.
        fitted = {**thresholds(label_scores(p, label), np.zeros(200, int), scores.group, coverage), "own": {}}
        now = [set(mine) for mine in sets_of(fitted, p)]
        assert all(small <= large and large for small, large in zip(before, now, strict=True))
        before = now


@pytest.mark.parametrize("method", ["none", "temperature"])
def test_sets_that_may_be_empty_keep_what_was_asked_of_a_sure_model(method):
    """A model that is right for 97 %, asked for 90 %: mean coverage over 60 repeats is within 2 points."""
    kept, never_empty, wrong_if_empty = [], [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        (logits, label), (new, truth) = drawn(rng, 150, 12, 30.0, 1.5), drawn(rng, 300, 12, 30.0, 1.5)
        calibrator = calibration.fit(method, logits, label, 0)
        p, validation = calibration.apply(calibrator, new), scores_of(logits, label)
        sets = fit(method, validation, 0.9, 0, 5, allow_empty=True)
        assert all(limit <= prediction_sets.FIRST for limit in sets["own"].values())
        table, sizes = judge(sets, p, truth, np.arange(len(truth)), None)
        kept.append(table["value"][0])
        never_empty.append(
            judge(fit(method, validation, 0.9, 0, 5), p, truth, np.arange(len(truth)), None)[0]["value"][0]
        )
        wrong_if_empty += (p.argmax(axis=1) != truth)[sizes == 0].tolist()
    assert np.mean(kept) == pytest.approx(0.9, abs=0.02) and np.mean(never_empty) > 0.95
    assert np.mean(wrong_if_empty) > 0.1  # the empty ones are the doubtful ones: of all, 3 % are wrong


@pytest.mark.parametrize(("method", "n"), [("none", 60), ("temperature", 150), ("platt", 100), ("isotonic", 150)])
def test_the_promise_is_kept_on_new_records(method, n):
    """Calibration and thresholds from the same n records; mean coverage over 60 repeats is within 2 points."""
    kept, careless = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        (logits, label), (new, truth) = drawn(rng, n, 20), drawn(rng, 300, 20)
        calibrator = calibration.fit(method, logits, label, 0)
        p, validation = calibration.apply(calibrator, new), scores_of(logits, label)
        kept.append(judge(fit(method, validation, 0.9, 0, 5), p, truth, np.arange(len(truth)), None)[0]["value"][0])
        seen = label_scores(calibration.apply(calibrator, logits), label)
        careless.append(
            judge(thresholds(seen, label, validation.group, 0.9), p, truth, np.arange(len(truth)), None)[0]["value"][0]
        )
    assert 0.88 <= np.mean(kept) <= 0.925
    if method == "isotonic":  # what the parts are for
        assert np.mean(careless) < 0.87


def test_the_guarantee_itself_is_exact_on_exchangeable_records():
    """Scores without ties: mean coverage lies between 0.9 and 0.9 + 1/(n + 1), here with n = 19."""
    kept = []
    for seed in range(4000):
        values = np.random.default_rng(seed).random(20)
        kept.append(values[19] >= prediction_sets.threshold(values[:19], np.arange(19), 0.9))
    assert np.mean(kept) == pytest.approx(0.9, abs=0.015)


def test_between_two_scores_as_much_is_kept_as_was_asked():
    """13 groups: 0.9 x 14 = 12.6, so the 13th of 13 keeps 13/14 of new ones; 0.6 of the way to it, 0.9."""
    scores = np.arange(13, 0, -1) / 10
    assert prediction_sets.threshold(scores, np.arange(13), 0.9) == pytest.approx(0.1)
    assert prediction_sets.threshold(scores, np.arange(13), 0.9, True) == pytest.approx(0.2 - 0.6 * 0.1)
    # Nothing was rounded: 0.9 x 20 = 18.
    assert prediction_sets.threshold(np.arange(19) / 10, np.arange(19), 0.9, True) == pytest.approx(0.1)
    kept = []
    for seed in range(4000):
        values = np.random.default_rng(seed).random(14)
        limits = [prediction_sets.threshold(values[:13], np.arange(13), 0.9, between) for between in (False, True)]
        kept.append(values[13] >= np.array(limits))
    assert np.mean(kept, axis=0) == pytest.approx([13 / 14, 0.9], abs=0.012)


def test_every_class_with_members_enough_has_the_promise_by_itself():
    own, others = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)

        def part(n, rng=rng):
            # Class 0 is common and hard, the twelve others rare and easy.
            label = np.where(rng.random(n) < 0.4, 0, rng.integers(1, 13, n))
            logits = rng.normal(0, 1, (n, 13)) + np.eye(13)[label] * np.where(label == 0, 1.0, 3.0)[:, None]
            return logits.astype(np.float32), label

        (logits, label), (new, truth) = part(150), part(400)
        fitted = fit("none", scores_of(logits, label), 0.9, 0, 5)
        assert "0" in fitted["own"]
        p = softmax(new.astype(float), axis=1)
        hit = np.array([y in mine for y, mine in zip(truth, sets_of(fitted, p), strict=True)])
        own.append(hit[truth == 0].mean())
        others.append(hit[truth > 0].mean())
    assert 0.89 <= np.mean(own) <= 0.93 and 0.89 <= np.mean(others) <= 0.93


def test_copies_of_a_sequence_count_once():
    scores = np.array([1 - 0.05 * i for i in range(19)] + [0.02] * 30)
    group = np.array([*range(19), *[18] * 30])
    # The 19th group has 31 copies of two scores; it still weighs as one of 19.
    assert prediction_sets.threshold(scores, group, 0.9) == pytest.approx(1 - 0.05 * 17)
    assert prediction_sets.threshold(scores, np.arange(49), 0.9) == pytest.approx(0.02)


def test_new_groups_are_covered_however_alike_their_members():
    kept = []
    for seed in range(600):
        rng = np.random.default_rng(seed)
        group = np.repeat(np.arange(41), rng.integers(1, 12, 41))
        scores = rng.normal(0, 1, 41)[group] + 0.1 * rng.normal(0, 1, len(group))
        new = group == 40
        kept.append((scores[new] >= prediction_sets.threshold(scores[~new], group[~new], 0.9)).mean())
    assert np.mean(kept) == pytest.approx(0.9, abs=0.03)


def test_the_order_of_names_with_next_to_nothing_is_kept():
    """1 minus the probability of the others would be 1 for all of them."""
    p = softmax(np.array([[0.0, -50.0, -300.0, -600.0]]), axis=1)
    fitted = thresholds(label_scores(np.repeat(p, 9, axis=0), np.full(9, 2)), np.full(9, 2), np.arange(9), 0.9)
    assert sets_of(fitted, p) == [[0, 1, 2]]


def test_a_class_absent_from_validation_can_be_in_a_set():
    rng = np.random.default_rng(0)
    logits, label = drawn(rng, 200, 10)
    logits, label = logits[label < 9], label[label < 9]
    fitted = fit("none", scores_of(logits, label), 0.9, 0, 5)
    p = np.full((1, 10), 0.01)
    p[0, 9], p[0, 3] = 0.6, 0.32
    assert sets_of(fitted, p)[0][0] == 9 and "9" not in fitted["own"]


def test_too_few_records_make_no_sets_and_say_so(caplog):
    rng = np.random.default_rng(0)
    for n in (0, 1, 8):
        fitted = fit("temperature", scores_of(*drawn(rng, n, 4)), 0.9, 0, 5)
        assert fitted["shared"] is None and f"there are {n}" in fitted["note"] and "Prediction sets" in caplog.text
        told = columns(fitted, np.full((3, 4), 0.25), list("abcd"))
        assert told["set"] == ["", "", ""] and told["set_size"].isna().all()
    assert fit("temperature", scores_of(*drawn(rng, 9, 4)), 0.9, 0, 5)["shared"] is not None


def test_a_fold_writes_its_sets_and_predictions_have_them(tmp_path):
    rng = np.random.default_rng(5)
    logits, label = drawn(rng, 600, 7)
    role = np.array(["validation", "test", "test"])[np.arange(600) % 3]
    scores = Scores(np.arange(600).astype(str), role, label, logits)
    kind, names = task("multiclass"), [f"species {i}" for i in range(7)]
    given_settings = EvaluationSettings("temperature", set_coverage=0.8, trained=np.array([1, 5, 6, 90, 90, 90, 90]))
    result = evaluate_fold(scores, names, "m", 0, kind, given_settings)
    values = result.metrics.set_index(["split", "stage", "class", "metric"])["value"].sort_index()["test", "calibrated"]
    assert values["all", "set_coverage"] == pytest.approx(0.8, abs=0.06)
    test = scores.part("test")
    assert values["rare classes", "set_records"] == (test.label <= 1).sum()
    assert values["common classes", "set_records"] == (test.label > 1).sum()
    assert values["all", "set_size"] == pytest.approx(result.curves["set_size"].mean())
    assert result.curves["set_asked"] == 0.8
    write_json(tmp_path / "calibration.json", result.calibrator)
    again = read_json(tmp_path / "calibration.json")
    p = kind.judging.calibrated(again, test.logits)
    table = kind.judging.predictions(p, np.full(400, 100), names, again, 3)
    assert list(table.columns) == ["label", "probability", "top_3", "set", "set_size"]
    hit = [names[y] in text.split("; ") for y, text in zip(test.label, table["set"], strict=True)]
    assert np.mean(hit) == pytest.approx(values["all", "set_coverage"])
    assert (table["set"].str.split("; ").str.len() == table["set_size"]).all()
    assert (table["set"].str.split("; ").str[0] == table["label"]).all()
    old = {key: value for key, value in again.items() if key != "sets"}
    assert "set" not in kind.judging.predictions(p, np.full(400, 100), names, old, 3)


def test_thresholds_are_those_of_the_probabilities_that_a_new_record_will_have():
    rng = np.random.default_rng(2)
    logits, label = drawn(rng, 60, 4)
    seen = []

    def then(p, labels):
        seen.append(len(labels))
        return lambda probabilities: probabilities[:, ::-1] * 0 + 0.25

    fitted = fit("none", scores_of(logits, label), 0.9, 0, 5, then)
    assert seen == [48] * 5  # each part is changed by what the four others said
    assert fitted["shared"] == pytest.approx(1 - math.log(0.75))  # all classes are equally probable then
    assert fit("none", scores_of(logits, label), 0.9, 0, 5)["shared"] < 1.0
