"""A rejected sequence has the genus and family of its closest relative; known ones are named by probability alone."""

import numpy as np
import pandas as pd
import pytest

from dnatune.baselines import METHODS
from dnatune.engine import seen_by
from dnatune.evaluation import evaluate_fold
from dnatune.relatives import NONE, choices_at, relatives_of_rejected, with_relatives
from dnatune.scores import EVIDENCE, Scores
from dnatune.tasks import task
from dnatune.tasks.base import EvaluationSettings
from dnatune.taxonomy import Taxonomy

RANKS = ("species", "genus", "family")
LINEAGES = {"A a": ["A", "F"], "A b": ["A", "F"], "B a": ["B", "F"], "C a": ["C", "G"]}
NAMES = list(LINEAGES)
TASK = task("multiclass", {"ranks": ["genus", "family"]})
FITTED = {"score": "distance", "thresholds": {"distance": 0.1}}
NAN = float("nan")


def tree(unknown=None, extra=None):
    given = {"ranks": list(RANKS), "lineages": {**LINEAGES, **(extra or {})}, "unknown": unknown or {}}
    return Taxonomy.of({"label2id": {name: i for i, name in enumerate(NAMES)}, "taxonomy": given})


def evidence(distances, relatives):
    """Rows with a distance and a relative; the other columns empty."""
    found = np.full((len(distances), len(EVIDENCE)), np.nan, np.float32)
    found[:, EVIDENCE.index("distance")] = distances
    found[:, EVIDENCE.index("relative")] = relatives
    return found


def test_only_rejected_records_with_a_hit_have_a_relative():
    found = relatives_of_rejected(np.full((4, 4), 0.25), evidence([0.05, 0.2, 0.2, 0.09], [1, 2, NAN, 3]), FITTED)
    assert found.tolist() == [NONE, 2, NONE, NONE]
    for given, fitted in ((None, FITTED), (evidence([1], [1]), None), (evidence([NAN], [1]), FITTED)):
        assert relatives_of_rejected(np.full((1, 4), 0.25), given, fitted).tolist() == [NONE]


def test_a_relative_stands_with_the_probability_it_has_all_the_same():
    genus = np.array([[0.7, 0.2, 0.1]] * 2)
    best, top = choices_at(tree(), 1, genus, np.array([NONE, 2]))
    assert best.tolist() == [0, 1] and top.tolist() == [0.7, 0.2]
    best, top = choices_at(tree(), 2, np.array([[0.9, 0.1]] * 2), np.array([3, 2]))
    assert best.tolist() == [1, 0] and top.tolist() == [0.1, 0.9]


def test_the_prediction_of_a_rejected_sequence_goes_by_its_relative():
    p = np.array([[0.85, 0.05, 0.05, 0.05], [0.5, 0.1, 0.35, 0.05], [0.02, 0.03, 0.05, 0.9], [0.02, 0.03, 0.9, 0.05]])
    calibrator = {"method": "none", "ranks": {**tree().to_json(), "threshold": 0.8}, "rejection": FITTED}
    names = TASK.judging.predictions(p, np.ones(4), NAMES, calibrator, 2)
    # The first is known; the second looks most like B a, the third like A b, the last like B a.
    table = TASK.judging.with_evidence(names, p, evidence([0, 1, 1, 1], [3, 2, 1, 2]), calibrator)
    assert table["known"].tolist() == ["yes", "no", "no", "no"]
    assert table["genus"].tolist() == ["A", "B", "A", "B"]
    assert table["family"].tolist() == ["F", "F", "F", "F"]
    np.testing.assert_allclose(table["genus_probability"], [0.9, 0.35, 0.05, 0.9])
    np.testing.assert_allclose(table["family_probability"], [0.95, 0.95, 0.1, 0.95])
    # Where relative and probabilities disagree on the genus only the family is sure, where on all, nothing.
    assert table["rank"].tolist() == ["species", "family", "", "genus"]
    assert table["taxon"].tolist() == ["A a", "F", "", "B"]
    assert table["label"].tolist() == names["label"].tolist()
    assert TASK.judging.other_forms(table.assign(id=list("wxyz")), calibrator)["qiime"]["Taxon"].tolist() == [
        "f__F; g__A; s__A a", "f__F", "Unassigned", "f__F; g__B",
    ]  # fmt: skip


def test_figures_of_unknown_records_ask_the_relatives():
    # Ten test and validation records of known species near their own, four of an unknown species of genus B.
    label = np.tile(np.arange(4), 10)
    unknown = {f"u{i}": "B new" for i in range(4)}
    logits = np.concatenate([8 * np.eye(4)[label], np.tile([4.0, 0, 3, 0], (4, 1))]).astype(np.float32)
    seen = evidence(np.r_[np.linspace(0, 0.05, 40), [0.3, 0.3, 0.3, 0.0]], np.r_[label, [2, 2, 0, 2]])
    role = np.r_[np.tile(["validation"] * 4 + ["test"] * 4, 5), ["unknown"] * 4]
    ids = np.r_[[f"k{i}" for i in range(40)], list(unknown)]
    kind = np.r_[[""] * 40, ["rare"] * 4]
    scores = Scores(ids, role, np.r_[label, [-1] * 4], logits, None, None, kind, seen)
    settings = EvaluationSettings(
        "none", taxonomy=tree(unknown, {"B new": ["B", "F"]}), rank_threshold=0.8, rejection="distance"
    )
    rows = evaluate_fold(scores, NAMES, "m", 0, TASK, settings).metrics.query("split == 'unknown'")
    values = rows[rows["class"] == "all"].set_index("metric")["value"]
    # By probability all four are of genus A. The relatives of the three rejected ones say B, B, A.
    assert values["accuracy@genus"] == pytest.approx(0.5)
    assert values["accuracy@family"] == 1 and values["rejected"] == 0.75


def test_held_out_species_are_asked_for_a_genus_that_the_fold_has_trained():
    logits = np.log(np.float32([[0.1, 0.7, 0.1, 0.1], [0.1, 0.1, 0.1, 0.7], [0.1, 0.1, 0.7, 0.1]]))
    ids = np.array(["h1", "h2", "r1"])
    kind = np.array(["held_out", "held_out", "rare"])
    known = Scores(np.array(["k"]), np.array(["validation"]), np.zeros(1, int), logits[:1], kind=np.array([""]))
    tested = Scores(np.array(["t"]), np.array(["test"]), np.ones(1, int), logits[:1], kind=np.array([""]))
    strange = Scores(ids, np.repeat("unknown", 3), np.full(3, -1), logits, kind=kind)
    settings = EvaluationSettings(
        "none",
        taxonomy=tree({"r1": "B new"}, {"B new": ["B", "F"]}),
        trained=np.array([0, 5, 5, 0]),  # A a and C a are held out: genus A has A b left, genus C has nothing
        held_out={"h1": 0, "h2": 3},
    )
    rows = evaluate_fold(Scores.joined([known, tested, strange]), NAMES, "m", 0, TASK, settings).metrics
    rows = rows[(rows["split"] == "unknown") & rows["metric"].isin(["records@genus", "accuracy@genus"])]
    assert dict(zip(zip(rows["metric"], rows["class"], strict=True), rows["value"], strict=True)) == {
        ("records@genus", "held_out"): 1, ("accuracy@genus", "held_out"): 1,
        ("records@genus", "rare"): 1, ("accuracy@genus", "rare"): 1,
        ("records@genus", "all"): 2, ("accuracy@genus", "all"): 1,
    }  # fmt: skip


def test_a_top_hit_finds_relatives_and_the_engine_takes_them_to_its_witness():
    look = METHODS["vsearch_top_hit"].evidence
    hits = look(np.float32([[69, 97, 80], [69, 69, 69]]))
    assert hits[0, EVIDENCE.index("relative")] == 1 and np.isnan(hits[1, EVIDENCE.index("relative")])
    other = evidence([0.4, 0.5], [NAN, NAN])
    scores = {
        name: Scores(np.array(["a", "b"]), np.array(["test"] * 2), np.zeros(2, int), np.zeros((2, 3)), evidence=seen)
        for name, seen in (("model", other), ("bayes", None), ("hit", hits))
    }
    joined = seen_by("model", scores)
    np.testing.assert_array_equal(joined[:, 1], other[:, 1])
    np.testing.assert_array_equal(joined[:, 3], hits[:, 3])
    alone = seen_by(None, scores)
    assert np.isnan(alone[:, :3]).all() and alone[0, 3] == 1
    assert with_relatives(other, [other, None]) is other and with_relatives(None, [None]) is None


def test_without_ranks_or_rejection_nothing_changes():
    table = pd.DataFrame({"label": ["A a"]})
    calibrator = {"method": "none", "rejection": FITTED}
    said = TASK.judging.with_evidence(table, np.array([[0.7, 0.1, 0.1, 0.1]]), evidence([0.5], [2]), calibrator)
    assert said.columns.tolist() == ["label", "rejection_score", "known"] and said["known"].tolist() == ["no"]
