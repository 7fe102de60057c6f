"""The figures of names are those of what ``predict`` answers: with rejection, at every rank, done by hand here."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dnatune import calibration, rejection
from dnatune.evaluation import evaluate_fold
from dnatune.scores import EVIDENCE, Scores
from dnatune.tasks import task
from dnatune.tasks.base import EvaluationSettings
from dnatune.taxonomy import Taxonomy

NAMES = ["A a", "A b", "B a", "C a"]
LINEAGES = {"A a": ["A", "F"], "A b": ["A", "F"], "B a": ["B", "F"], "C a": ["C", "G"]}
TASK = task("multiclass", {"ranks": ["genus", "family"]})
PLAIN = task("multiclass")


def taxonomy(unknown=None, more=None):
    """The tree of the four names; ``unknown`` gives labels by record, ``more`` their lineages."""
    given = {"ranks": ["species", "genus", "family"], "lineages": {**LINEAGES, **(more or {})}}
    labels = {name: number for number, name in enumerate(NAMES)}
    return Taxonomy.of({"label2id": labels, "taxonomy": {**given, "unknown": unknown or {}}})


def evidence(distance, relative=np.nan):
    found = np.full((len(distance), len(EVIDENCE)), np.nan, np.float32)
    found[:, EVIDENCE.index("distance")] = distance
    found[:, EVIDENCE.index("relative")] = relative
    return found


def scored(role, labels, p, distance, kind="", ids=None):
    """Scores of records of one role with the probabilities ``p`` (n, 4) and a ``distance`` (n,) each."""
    n = len(distance)
    logits = np.log(np.maximum(p, 1e-30)).astype(np.float32)
    names = np.array(ids if ids is not None else [f"{role}{kind}{i}" for i in range(n)])
    return Scores(names, np.full(n, role), np.asarray(labels), logits, None, None, np.full(n, kind), evidence(distance))


def sure_of(label, n):
    return np.tile(0.97 * np.eye(4)[label] + 0.0075, (n, 1))


# 39 validation records: the threshold that rejects one in twenty is the second highest distance, 0.38.
VALIDATION = scored("validation", np.tile([0, 1, 2, 3], 10)[:39], sure_of(0, 39), np.arange(1, 40) / 100)


def values(parts, settings, kind="all", split="unknown", of=TASK, stage="calibrated"):
    rows = evaluate_fold(Scores.joined([VALIDATION, *parts]), NAMES, "m", 0, of, settings).metrics
    rows = rows[(rows["split"] == split) & (rows["class"] == kind) & (rows["stage"] == stage)]
    assert not rows["metric"].duplicated().any()
    return rows.set_index("metric")["value"]


TESTED = scored("test", [0, 1, 2, 3], np.vstack([sure_of(label, 1) for label in range(4)]), [0.0] * 4)


def settings(unknown=None, more=None, **others):
    given = {"taxonomy": taxonomy(unknown, more), "rank_threshold": 0.8, "rejection": "distance", **others}
    return EvaluationSettings(**{"calibration": "none", **given})


def test_a_genus_named_for_a_record_whose_genus_is_new_is_over_classified():
    """100 records of genus Z, not in the reference, all rejected as species and all named genus A."""
    ids = [f"u{i}" for i in range(100)]
    new = scored("unknown", [-1] * 100, sure_of(0, 100), [0.5] * 100, "flagged", ids)
    found = values([TESTED, new], settings(dict.fromkeys(ids, "Z z"), {"Z z": ["Z", "F"]}))
    assert (found["novel@species"], found["novel@genus"], found["novel@family"]) == (100, 100, 0)
    assert (found["overclassified@species"], found["overclassified@genus"]) == (0, 1)
    assert found["records@genus"] == 0 and "misclassified@genus" not in found
    assert found["records@family"] == 100 and found["misclassified@family"] == 0
    assert "overclassified@family" not in found


def test_novel_trained_and_unstated_taxa_are_told_apart_for_each_kind():
    label_of = {"u0": "Z z", "u1": "Y y", "u2": "X x", "u3": "B new", "u4": "B new", "u5": "A new"}
    more = {"Z z": ["Z", "F"], "Y y": ["Y", None], "X x": [None, "F"], "B new": ["B", "F"], "A new": ["A", "F"]}
    half = [[0.5, 0.45, 0.03, 0.02]]  # named genus A where it is known; no species is sure
    low = [[0.4, 0.2, 0.3, 0.1]]  # no genus is sure either; family F is
    flagged = scored("unknown", [-1] * 4, np.vstack([half, low, half, half]), [0.1, 0.1, 0.1, 0.9], "flagged",
                     ["u0", "u1", "u2", "u3"])  # fmt: skip
    rare = scored("unknown", [-1] * 2, np.vstack([low, sure_of(1, 1)]), [0.9, 0.1], "rare", ["u4", "u5"])
    chosen = settings(label_of, more)
    found = {kind: values([TESTED, flagged, rare], chosen, kind) for kind in ("flagged", "rare", "all")}
    # Species: all six are new; u5 alone is neither rejected nor unsure.
    assert [found[k]["novel@species"] for k in found] == [4, 2, 6]
    assert [found[k]["overclassified@species"] for k in found] == pytest.approx([0, 0.5, 1 / 6])
    # Genus: new for u0 (named A) and u1 (not named), not stated for u2, trained for u3 (named A), u4 (not), u5 (A).
    assert [found[k]["novel@genus"] for k in found] == [2, 0, 2]
    assert found["flagged"]["overclassified@genus"] == found["all"]["overclassified@genus"] == 0.5
    assert [found[k]["records@genus"] for k in found] == [1, 2, 3]
    assert [found[k]["misclassified@genus"] for k in found] == pytest.approx([1, 0, 1 / 3])
    assert found["all"]["named@genus"] == pytest.approx(2 / 3) and found["all"]["named_right@genus"] == 0.5
    # Family: not stated for u1, trained and rightly named for all others.
    assert [found[k]["novel@family"] for k in found] == [0, 0, 0]
    assert found["all"]["records@family"] == 5 and found["all"]["misclassified@family"] == 0


def test_a_genus_that_this_fold_does_not_train_is_new_to_it():
    # C a is held out, the only species of C; A a is held out too, but A b is trained.
    held = scored("unknown", [-1, -1], sure_of(1, 2), [0.9, 0.1], "held_out", ["h0", "h1"])
    tested = scored("test", [1, 2], np.vstack([sure_of(1, 1), sure_of(2, 1)]), [0, 0])
    chosen = settings(trained=np.array([0, 5, 5, 0]), held_out={"h0": 3, "h1": 0})
    found = values([tested, held], chosen)
    assert (found["novel@genus"], found["overclassified@genus"]) == (1, 1)
    assert (found["records@genus"], found["misclassified@genus"]) == (1, 0)
    assert (found["novel@family"], found["overclassified@family"]) == (1, 1)  # family G has C alone


def test_a_known_record_whose_genus_is_not_stated_is_neither_right_nor_wrong_there():
    tested = scored("test", [0, 3], sure_of(0, 2), [0, 0])  # both named genus A; C a has no genus in the table
    found = values([tested], settings(more={"C a": [None, "G"]}), split="test")
    assert (found["named@genus"], found["named_right@genus"], found["misclassified@genus"]) == (1, 1, 0)
    assert (found["named_right@family"], found["misclassified@family"]) == (0.5, 0.5)


def test_names_of_known_records_are_those_after_rejection():
    p = np.vstack([sure_of(0, 4), [[0.5, 0.45, 0.03, 0.02]] * 2, [[0.4, 0.2, 0.3, 0.1]] * 2])
    #   right  rejected  wrong species  wrong, rejected  genus sure  genus sure, wrong genus  family sure, twice
    truth, distance = [0, 0, 1, 2, 0, 2, 0, 3], [0, 0.9, 0, 0.9, 0, 0, 0, 0]
    found = values([scored("test", truth, p, distance)], settings(), split="test")
    shares = {
        "named@species": 2 / 8, "named_right@species": 1 / 2, "misclassified@species": 1 / 8,
        "named@genus": 6 / 8, "named_right@genus": 4 / 6, "misclassified@genus": 2 / 8,
        "named@family": 1, "named_right@family": 7 / 8, "misclassified@family": 1 / 8,
        "rejected": 2 / 8, "misclassified": 1 / 8, "accuracy_named": 1 / 2,
        "underclassified": 3 / 8,  # one rejected, two unsure whose best guess is right
    }  # fmt: skip
    assert {name: found[name] for name in shares} == pytest.approx(shares)
    # A species whose training records are all elsewhere is new to the fold: a name for it is over-classified.
    found = values([scored("test", truth, p, distance)], settings(trained=np.array([9, 0, 9, 9])), split="test")
    assert (found["novel@species"], found["overclassified@species"]) == (1, 1)
    assert found["misclassified@species"] == 0 and found["misclassified@genus"] == 2 / 8


def test_without_ranks_a_name_is_what_is_not_rejected():
    tested = scored("test", [0, 1, 1, 2], sure_of(1, 4) * 0.4 + 0.15, [0, 0, 0.9, 0.9])
    new = scored("unknown", [-1] * 4, sure_of(0, 4), [0.9, 0.9, 0.9, 0], "rare")
    plain = EvaluationSettings("none", rejection="distance")
    known, unknown = (values([tested, new], plain, split=split, of=PLAIN) for split in ("test", "unknown"))
    assert (known["misclassified"], known["underclassified"], known["accuracy_named"]) == (0.25, 0.25, 0.5)
    assert (unknown["rejected"], unknown["overclassified"]) == (0.75, 0.25)
    assert not known.index.str.contains("@").any() and not unknown.index.str.contains("@").any()


def test_an_unsure_name_of_an_unknown_species_is_no_name():
    """With ranks a species that is neither rejected nor sure enough gets no name of a species."""
    p = np.vstack([sure_of(0, 2), [[0.5, 0.45, 0.03, 0.02]] * 6])
    new = scored("unknown", [-1] * 8, p, [0.9, 0, 0.9, 0.9, 0.9, 0, 0, 0], "flagged")
    found = values([TESTED, new], settings())
    assert (found["rejected"], found["overclassified"], found["overclassified@species"]) == (0.5, 1 / 8, 1 / 8)
    assert found["novel@genus"] == 0 and found["records@genus"] == 0  # nothing is stated


@pytest.mark.parametrize("seed", range(3))
def test_figures_are_those_of_the_table_that_predict_writes(seed):
    rng = np.random.default_rng(seed)
    n, truth = 300, rng.integers(0, 4, 300)
    logits = rng.normal(0, 1.5, (2 * n, 4)) + 3 * np.eye(4)[np.r_[truth, rng.integers(0, 4, n)]]
    near, relative = rng.gamma(2, 0.1, 2 * n), np.where(rng.random(2 * n) < 0.7, rng.integers(0, 4, 2 * n), np.nan)
    label_of = {f"u{i}": ("B new", "Z z")[i % 2] for i in range(n)}
    chosen = settings(label_of, {"B new": ["B", "F"], "Z z": ["Z", "F"]})
    ids, role = np.r_[[f"k{i}" for i in range(n)], list(label_of)], np.repeat(["test", "unknown"], n)
    labels, kind = np.r_[truth, np.full(n, -1)], np.repeat(["", "flagged"], n)
    more = Scores(ids, role, labels, logits.astype(np.float32), None, None, kind, evidence(near, relative))
    found = evaluate_fold(Scores.joined([VALIDATION, more]), NAMES, "m", 0, TASK, chosen)
    p = TASK.judging.calibrated(found.calibrator, more.logits)
    table = TASK.judging.predictions(p, np.ones(2 * n), NAMES, found.calibrator, 2)
    table = TASK.judging.with_evidence(table, p, more.evidence, found.calibrator)
    figures = found.metrics[(found.metrics["class"] == "all") & (found.metrics["stage"] == "calibrated")]
    figures = figures.set_index(["split", "metric"])["value"]
    known, unknown = table[:n], table[n:].reset_index(drop=True)
    depth = {"species": ["species"], "genus": ["species", "genus"], "family": ["species", "genus", "family"]}
    for rank, deep in depth.items():
        named, column = known["rank"].isin(deep), "label" if rank == "species" else rank
        own = pd.Series([(NAMES[i], *LINEAGES[NAMES[i]])[list(depth).index(rank)] for i in truth])
        assert figures["test", f"named@{rank}"] == pytest.approx(named.mean())
        assert figures["test", f"named_right@{rank}"] == pytest.approx((known[column] == own)[named].mean())
        assert figures["test", f"misclassified@{rank}"] == pytest.approx((named & (known[column] != own)).mean())
    named = unknown["rank"].isin(depth["genus"])
    even = unknown.index % 2 == 0
    assert figures["unknown", "overclassified@genus"] == pytest.approx(named[~even].mean())
    assert figures["unknown", "misclassified@genus"] == pytest.approx((named & (unknown["genus"] != "B"))[even].mean())
    assert figures["unknown", "overclassified@species"] == pytest.approx((unknown["rank"] == "species").mean())
    assert figures["unknown", "rejected"] == pytest.approx((unknown["known"] == "no").mean())
    assert 0.2 < named.mean() < 1 and 0.05 < (known["known"] == "no").mean() < 0.9


def test_a_taxon_without_a_name_is_no_name():
    """A rejected sequence of a species without a genus is named by its family."""
    given = {"ranks": ["species", "genus", "family"], "lineages": {"Odd": [None, "F"], "B b": ["B", "F"]}}
    tree = Taxonomy.of({"label2id": {"Odd": 0, "B b": 1}, "taxonomy": {**given, "unknown": {}}})
    calibrator = {"method": "none", "ranks": {**tree.to_json(), "threshold": 0.8}}
    calibrator["rejection"] = {"score": "distance", "thresholds": {"distance": 0.1}}
    p = np.array([[0.95, 0.05]] * 2)
    table = TASK.judging.predictions(p, np.ones(2), ["Odd", "B b"], calibrator, 1)
    table = TASK.judging.with_evidence(table, p, evidence([0, 1]), calibrator)
    assert table["rank"].tolist() == ["species", "family"] and table["taxon"].tolist() == ["Odd", "F"]


def test_a_line_that_keeps_95_of_100_known_test_records():
    # Twenty known test records: the line is at the nineteenth distance, 0.19; what lies on it is kept.
    tested = scored("test", [0] * 20, sure_of(0, 20), np.arange(1, 21) / 100)
    new = scored("unknown", [-1] * 4, sure_of(0, 4), [0.185, 0.19, 0.195, 0.5], "flagged")
    found = values([tested, new], EvaluationSettings("none", rejection="distance"), of=PLAIN)
    assert found["rejected_at_95"] == 0.5 and found["rejected"] == 0.25


def test_records_that_were_left_out_are_counted_as_accepted_beside():
    tested = scored("test", [0] * 20, sure_of(0, 20), np.arange(1, 21) / 100)
    new = scored("unknown", [-1] * 4, sure_of(0, 4), [0.3, 0.9, 0.9, 0.9], "flagged")
    plain = EvaluationSettings("none", rejection="distance", left_out={"flagged": 2, "rare": 3})
    found = {kind: values([tested, new], plain, kind, of=PLAIN) for kind in ("flagged", "rare", "all")}
    assert [found[kind]["left_out"] for kind in found] == [2, 3, 5]
    assert [found[kind]["records"] for kind in found] == [4, 0, 4]
    assert [found[kind]["rejected_of_all"] for kind in found] == pytest.approx([3 / 6, 0, 3 / 9])
    assert [found[kind]["rejected_at_95_of_all"] for kind in found] == pytest.approx([4 / 6, 0, 4 / 9])
    assert found["flagged"]["rejected"] == found["all"]["rejected"] == 0.75
    none_left = values([tested, new], EvaluationSettings("none", rejection="distance"), of=PLAIN)
    assert none_left["left_out"] == 0 and "rejected_of_all" not in none_left


@pytest.mark.parametrize("ranked", [False, True])
def test_the_threshold_of_probabilities_is_that_of_records_the_calibration_was_not_fitted_on(ranked):
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 4, 60)
    logits = (rng.normal(0, 1.5, (60, 4)) + 2 * np.eye(4)[labels]).astype(np.float32)
    validation = Scores(np.arange(60).astype(str), np.full(60, "validation"), labels, logits)
    chosen = EvaluationSettings("isotonic", rejection="probability", cv_folds=5, seed=3)
    fitted = PLAIN.judging.calibrate(validation, chosen)
    best = np.zeros(60)
    part = calibration.parts_of_groups(labels, 3, 5)
    for rows in (np.flatnonzero(part == number) for number in range(5)):
        others = np.setdiff1d(np.arange(60), rows)
        p = calibration.apply(calibration.fit("isotonic", logits[others], labels[others], 3), logits[rows])
        best[rows] = p.max(axis=1)
    wanted = rejection.threshold(1 - best, 0.05)
    in_sample = rejection.threshold(1 - PLAIN.judging.calibrated(fitted, logits).max(axis=1), 0.05)
    assert wanted > in_sample + 0.01  # the calibration is surer of its own records
    if ranked:
        ranked_settings = settings(calibration="isotonic", rejection="probability", seed=3)
        found = TASK.judging.calibrate(validation, ranked_settings)["rejection"]["thresholds"]["probability"]
        assert found > rejection.threshold(
            1 - TASK.judging.calibrated(TASK.judging.calibrate(validation, ranked_settings), logits).max(axis=1), 0.05
        )
    else:
        assert fitted["rejection"]["thresholds"]["probability"] == pytest.approx(wanted)
