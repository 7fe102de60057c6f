"""Probabilities at every rank: one tree, calibrated, judged, and given to new sequences in a form QIIME reads."""

import json
import logging
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from dnatune import rank_calibration
from dnatune.calibration import METHODS
from dnatune.comparison import compare
from dnatune.evaluation import evaluate_fold
from dnatune.final_answer import final_answer
from dnatune.rank_metrics import mistakes
from dnatune.rank_predictions import qiime_table, rank_columns
from dnatune.scores import Scores
from dnatune.tasks import task
from dnatune.tasks.base import EvaluationSettings
from dnatune.taxonomy import Taxonomy

RANKS = ("species", "genus", "family")
NAMES = ["A a", "A b", "A c", "B a", "B b", "C a"]
GENUS = np.array([0, 0, 0, 1, 1, 2])  # A, B, C
FAMILY = np.array([0, 0, 0, 0, 0, 1])  # F, G
LINEAGES = {"A a": "AF", "A b": "AF", "A c": "AF", "B a": "BF", "B b": "BF", "C a": "CG"}
LINEAGES = {name: list(line) for name, line in LINEAGES.items()}
TASK = task("multiclass", {"ranks": ["genus", "family"]})


def taxonomy(lineages=LINEAGES, unknown=None, ranks=RANKS):
    known = [name for name in lineages if name not in (unknown or {}).values()]
    given = {"ranks": list(ranks), "lineages": lineages, "unknown": unknown or {}}
    return Taxonomy.of({"label2id": {name: i for i, name in enumerate(known)}, "taxonomy": given})


@st.composite
def trees(draw):
    """A tree of up to 8 labels and 3 higher ranks, some taxa without a name."""
    labels = draw(st.integers(2, 8))
    lineages, above = {}, {}
    for label in range(labels):
        line, below = [], f"s{label}"
        for rank in range(3):
            # What the lowest taxon with a name says holds for all of its labels.
            upper = draw(st.sampled_from([None, *(f"{rank}{n}" for n in range(3))]))
            line.append(above.setdefault((below, rank), upper))
            below = line[-1] or below
        lineages[f"s{label}"] = line
    return taxonomy(lineages, ranks=("species", "genus", "family", "order"))


@settings(max_examples=60, deadline=None)
@given(trees(), st.integers(0, 2**32 - 1))
def test_what_a_taxon_has_is_reduced_over_its_members(tree, seed):
    values = np.random.default_rng(seed).random((4, len(tree.parents[0])))
    for rank, parent in enumerate(tree.parents):
        members = [values[:, parent == taxon] for taxon in range(parent.max() + 1)]
        sums = np.column_stack([of.sum(axis=1) for of in members])
        highest = np.column_stack([of.max(axis=1) for of in members])
        np.testing.assert_allclose(tree.over_members(np.add, values, rank), sums, rtol=1e-14)
        assert (tree.over_members(np.maximum, values, rank) == highest).all()
        values = sums


def test_the_temperature_of_a_step_is_that_of_its_members_in_the_whole_table():
    tree, rng = taxonomy(), np.random.default_rng(4)
    labels = rng.integers(0, len(NAMES), 150)
    logits = rng.normal(size=(150, len(NAMES))) + 2 * np.eye(len(NAMES))[labels]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    found = rank_calibration.fit(tree, p, labels, 0.8)["temperatures"]
    for rank, (rolled, parent) in enumerate(zip(tree.roll_up(p), tree.parents, strict=False)):
        truth = tree.of_label[rank][labels]
        masked = np.where(parent[None, :] == parent[truth][:, None], np.log(rolled), -np.inf).astype(np.float32)
        assert found[rank] == pytest.approx(METHODS["temperature"].fit(masked, truth)["temperature"], rel=1e-3)


@settings(max_examples=60, deadline=None)
@given(trees(), st.lists(st.floats(0.05, 20), min_size=4, max_size=4), st.integers(0, 2**32 - 1), st.floats(0.1, 300))
def test_probabilities_add_up_to_one_and_never_fall_on_the_way_up(tree, temperatures, seed, scale):
    rng = np.random.default_rng(seed)
    logits = scale * rng.normal(size=(5, len(tree.parents[0])))
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    fitted = {**tree.to_json(), "temperatures": temperatures}
    rolled = tree.roll_up(rank_calibration.apply(json.loads(json.dumps(fitted)), p))
    for rank, values in enumerate(rolled):
        assert np.isfinite(values).all() and (values >= 0).all()
        np.testing.assert_allclose(values.sum(axis=1), 1, atol=1e-9)
        if rank:
            parent = tree.parents[rank - 1]
            assert (values[:, parent] >= rolled[rank - 1]).all()


@settings(max_examples=15, deadline=None)
@given(trees(), st.integers(0, 2**32 - 1), st.integers(2, 40))
def test_a_fitted_calibration_keeps_the_tree_and_never_makes_its_own_records_worse(tree, seed, records):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(tree.parents[0]), records)
    p = rng.dirichlet(np.full(len(tree.parents[0]), 0.5), records)
    fitted = rank_calibration.fit(tree, p, labels, 0.8)
    after = tree.roll_up(rank_calibration.apply(fitted, p.copy()))
    for rank, (old, new) in enumerate(zip(tree.roll_up(p), after, strict=True)):
        truth, rows = tree.of_label[rank][labels], np.arange(records)
        losses = [-np.log(np.maximum(q[rows, truth], 1e-300)).mean() for q in (old, new)]
        assert losses[1] <= losses[0] + 1e-4
        np.testing.assert_allclose(new.sum(axis=1), 1, atol=1e-9)


def overconfident(records=4000, seed=0):
    """Labels drawn from known probabilities of families and within them; stated with too sharp families."""
    rng = np.random.default_rng(seed)
    step = [rng.dirichlet(np.full(k, 1.5), records) for k in (2, 2, 3, 2)]
    family, genus, first, second = step
    true = np.column_stack([
        first * (genus[:, :1] * family[:, :1]), second * (genus[:, 1:] * family[:, :1]), family[:, 1:]
    ])  # fmt: skip
    labels = (true.cumsum(axis=1) > rng.random((records, 1))).argmax(axis=1)
    sharp = family**3 / (family**3).sum(axis=1, keepdims=True)
    return true, true * (sharp / family)[:, FAMILY], labels


def test_each_rank_is_calibrated_by_its_own_step():
    """The families are stated three times too sharply, the steps below rightly: that is what is found and undone."""
    true, stated, labels = overconfident()
    fitted = rank_calibration.fit(taxonomy(), stated, labels, 0.8)
    species, genus, family = fitted["temperatures"]
    assert family == pytest.approx(3, rel=0.1)
    assert [species, genus] == pytest.approx([1, 1], abs=0.1)
    np.testing.assert_allclose(rank_calibration.apply(fitted, stated.copy()), true, atol=0.03)


def test_no_calibration_is_plain_sums():
    _, stated, labels = overconfident(50)
    for fitted in (
        rank_calibration.fit(taxonomy(), stated, labels, 0.8, adjust=False),
        rank_calibration.fit(taxonomy(), stated[:1], labels[:1], 0.8),
    ):
        assert fitted["temperatures"] == [1, 1, 1]
        np.testing.assert_array_equal(rank_calibration.apply(fitted, stated.copy()), stated)


def fold(seed=0, unknown=5):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 6, 120)
    logits = 2.5 * np.eye(6)[labels] + rng.normal(0, 1.2, (120, 6)) + rng.normal(0, 1, (120, 3))[:, GENUS]
    roles = np.repeat(["validation", "test"], 60)
    more = rng.normal(0, 2, (unknown, 6))
    return Scores(
        np.array([f"r{i}" for i in range(120 + unknown)]), np.r_[roles, np.repeat("unknown", unknown)],
        np.r_[labels, np.full(unknown, -1)], np.r_[logits, more].astype(np.float32),
    )  # fmt: skip


def by_hand(p, truth, rank_of):
    """Return the figures of one rank from scikit-learn, for probabilities summed by hand."""
    classes = rank_of.max() + 1
    q = np.stack([p[:, rank_of == k].sum(axis=1) for k in range(classes)], axis=1)
    truth, guess = rank_of[truth], q.argmax(axis=1)
    present = np.unique(truth)
    area = [sklearn_metrics.average_precision_score(truth == k, q[:, k]) for k in present]
    return {
        "accuracy": sklearn_metrics.accuracy_score(truth, guess),
        "f1_macro": sklearn_metrics.f1_score(truth, guess, labels=present, average="macro", zero_division=0),
        "mcc": sklearn_metrics.matthews_corrcoef(truth, guess),
        "log_loss": sklearn_metrics.log_loss(truth, q, labels=range(classes)),
        "brier": ((q - np.eye(classes)[truth]) ** 2).sum(axis=1).mean(),
        "pr_auc_macro": np.mean(area),
    }


def named_by_hand(p, truth, rank_of, threshold, rejected):
    """Return the figures of names of one rank: where the summed probability reaches the threshold, and no species for
    what is rejected."""
    q = np.stack([p[:, rank_of == k].sum(axis=1) for k in range(rank_of.max() + 1)], axis=1)
    named, right = (q.max(axis=1) >= threshold) & ~rejected, q.argmax(axis=1) == rank_of[truth]
    values = {"named": named.mean(), "named_right": right[named].mean(), "misclassified": (named & ~right).mean()}
    return {**values, "novel": 0}


@pytest.mark.parametrize("method", ["none", "temperature", "isotonic"])
def test_metrics_at_ranks_agree_with_scikit_learn_on_sums(method):
    scores = fold()
    chosen = EvaluationSettings(method, taxonomy=taxonomy(), rank_threshold=0.7)
    found = evaluate_fold(scores, NAMES, "m", 0, TASK, chosen)
    assert json.loads(json.dumps(found.calibrator)) == found.calibrator
    calibrated = TASK.judging.calibrated(found.calibrator, scores.logits)
    raw = np.exp(scores.logits.astype(float))
    raw /= raw.sum(axis=1, keepdims=True)
    table = found.metrics.set_index(["split", "stage", "metric"])["value"]
    for split, stage, p in (("test", "raw", raw), ("test", "calibrated", calibrated), ("validation", "raw", raw)):
        rows = scores.role == split
        for rank, rank_of in (("genus", GENUS), ("family", FAMILY)):
            for metric, value in by_hand(p[rows], scores.label[rows], rank_of).items():
                assert table[split, stage, f"{metric}@{rank}"] == pytest.approx(value, abs=1e-6), (stage, metric, rank)
    p, truth = calibrated[scores.role == "test"], scores.label[scores.role == "test"]
    rejected = 1 - p.max(axis=1) > found.calibrator["rejection"]["thresholds"]["probability"]
    for rank, rank_of in zip(RANKS, (np.arange(6), GENUS, FAMILY), strict=True):
        wanted = named_by_hand(p, truth, rank_of, 0.7, rejected & (rank == "species"))
        for metric, value in wanted.items():
            assert table["test", "calibrated", f"{metric}@{rank}"] == pytest.approx(value), (metric, rank)
    # Nothing is rejected before calibration: names there are nobody's answer.
    raw = found.metrics[found.metrics["stage"] == "raw"]["metric"]
    assert not raw.str.contains("named|classified|novel").any()
    # Nothing falls on the way up, so the share of named records does not either.
    shares = [table["test", "calibrated", f"named@{rank}"] for rank in RANKS]
    assert shares == sorted(shares)


def test_calibrated_labels_are_those_of_the_same_tree():
    """The metrics of names and those of ranks speak of one distribution: sums of names are what ranks have."""
    scores = fold()
    found = evaluate_fold(scores, NAMES, "m", 0, TASK, EvaluationSettings("temperature", taxonomy=taxonomy()))
    p = TASK.judging.calibrated(found.calibrator, scores.part("test").logits)
    label = scores.part("test").label
    table = found.metrics.query("split == 'test' and stage == 'calibrated'").set_index(["metric", "class"])["value"]
    assert table["log_loss", "all"] == pytest.approx(sklearn_metrics.log_loss(label, p, labels=range(6)), abs=1e-6)


def test_without_ranks_nothing_is_added():
    plain = evaluate_fold(fold(), NAMES, "m", 0, task("multiclass"), EvaluationSettings("temperature"))
    assert "ranks" not in plain.calibrator
    assert not plain.metrics["metric"].str.contains("@").any()
    assert "qiime" not in task("multiclass").other_forms


def test_test_records_do_not_touch_the_calibration():
    scores = fold()
    spoilt = Scores(scores.id, scores.role, scores.label, np.where((scores.role == "test")[:, None], 0, scores.logits))
    chosen = EvaluationSettings("temperature", taxonomy=taxonomy())
    one, two = (evaluate_fold(s, NAMES, "m", 0, TASK, chosen).calibrator for s in (scores, spoilt))
    assert one == two


def test_where_mistakes_land():
    predicted = np.array([0, 1, 2, 3, 5, 5, 3])
    truth = np.array([0, 0, 0, 0, 0, 5, 5])
    table = mistakes(predicted, truth, taxonomy())
    # Right: 0 and 5. Right genus: two for A. Right family: B for A. No rank right: C for A, B for C.
    assert table.to_dict("list") == {
        "rank": ["species", "genus", "family", "none"], "count": [2, 2, 1, 2], "tested": [7] * 4,
    }  # fmt: skip


def test_unknown_records_are_asked_for_the_genus_that_is_known():
    lineages = {**LINEAGES, "A rare": ["A", "F"], "D rare": ["D", "F"], "E rare": ["E", "H"]}
    unknown = {"u1": "A rare", "u2": "A rare", "u3": "D rare", "u4": "E rare"}
    logits = np.log([[0.5, 0.4, 0.02, 0.02, 0.02, 0.04], [0.01, 0.01, 0.01, 0.9, 0.06, 0.01],
                     [0.3, 0.1, 0.1, 0.3, 0.1, 0.1], [0.02, 0.02, 0.02, 0.02, 0.02, 0.9]])  # fmt: skip
    scores = Scores(np.array(list(unknown)), np.repeat("unknown", 4), np.full(4, -1), logits.astype(np.float32))
    known = fold(unknown=0)
    chosen = EvaluationSettings("none", taxonomy=taxonomy(lineages, unknown), rank_threshold=0.8)
    found = evaluate_fold(Scores.joined([known, scores]), NAMES, "m", 0, TASK, chosen).metrics
    at_ranks = (found["split"] == "unknown") & found["metric"].str.contains("@")
    table = found[at_ranks].set_index("metric")["value"].to_dict()
    assert table == pytest.approx({
        "novel@species": 4, "overclassified@species": 0.5,  # u2 and u4 get a species, which cannot be right
        "records@genus": 2, "accuracy@genus": 0.5, "named@genus": 1, "named_right@genus": 0.5,  # genus A: u1, u2
        "misclassified@genus": 0.5, "novel@genus": 2, "overclassified@genus": 0.5,  # genera D (not named) and E (C)
        "records@family": 3, "accuracy@family": 1, "named@family": 1, "named_right@family": 1,
        "misclassified@family": 0, "novel@family": 1, "overclassified@family": 1,  # family H, named G
    })  # fmt: skip


def test_intervals_at_ranks_have_the_range_of_the_metric():
    rows = [("m", fold, "test", "raw", "log_loss@genus", "all", value) for fold, value in enumerate((2.0, 3.0))]
    columns = ["model", "fold", "split", "stage", "metric", "class", "value"]
    (row,) = compare(pd.DataFrame(rows, columns=columns)).to_dict("records")
    assert row["ci_low"] == 0 and row["ci_high"] > 3


def named(p, lineages=LINEAGES, ranks=RANKS, threshold=0.8):
    """Return (table of names as predict gives it, what was fitted)."""
    tree = taxonomy(lineages, ranks=ranks)
    fitted = rank_calibration.fit(tree, np.array(p), np.zeros(len(p), int), threshold, adjust=False)
    calibrator = {"method": "none", "ranks": json.loads(json.dumps(fitted))}
    table = TASK.judging.predictions(np.array(p), np.ones(len(p)), list(lineages), calibrator, 2)
    table.insert(0, "id", [f"q{i}" for i in range(len(p))])
    return table, calibrator


SURE = [0.9, 0.02, 0.02, 0.02, 0.02, 0.02]
GENUS_ONLY = [0.45, 0.4, 0.05, 0.04, 0.03, 0.03]
FAMILY_ONLY = [0.3, 0.2, 0.1, 0.25, 0.14, 0.01]
NOTHING = [0.2, 0.1, 0.1, 0.05, 0.05, 0.5]


def test_every_prediction_has_the_deepest_rank_that_is_sure():
    table, _ = named([SURE, GENUS_ONLY, FAMILY_ONLY, NOTHING])
    assert list(table.columns) == [
        "id", "label", "probability", "top_2", "genus", "genus_probability", "family", "family_probability",
        "rank", "taxon", "taxon_probability",
    ]  # fmt: skip
    assert table["rank"].tolist() == ["species", "genus", "family", ""]
    assert table["taxon"].tolist() == ["A a", "A", "F", ""]
    np.testing.assert_allclose(table["genus_probability"], [0.94, 0.9, 0.6, 0.5])
    np.testing.assert_allclose(table["family_probability"], [0.98, 0.97, 0.99, 0.5])
    np.testing.assert_allclose(table["taxon_probability"], [0.9, 0.9, 0.99, np.nan])
    assert table["label"].tolist() == ["A a", "A a", "A a", "C a"]


def test_what_is_not_known_is_named_above_the_species_only():
    p = np.array([SURE, SURE, GENUS_ONLY, [0.9, 0.02, 0.02, 0.02, 0.02, 0.02]])
    table, calibrator = named(p)
    calibrator["rejection"] = {"score": "energy", "thresholds": {"energy": -5.0}}
    evidence = np.full((4, 4), np.nan, np.float32)
    evidence[:, 0] = [9, 1, 1, 1]  # all but the first are strange
    tree = calibrator["ranks"] = {**calibrator["ranks"], "threshold": 0.93}
    fresh = TASK.judging.predictions(p, np.ones(4), list(LINEAGES), calibrator, 2)
    assert fresh["rank"].tolist() == ["genus", "genus", "family", "genus"]  # 0.9 is no more enough for a species
    calibrator["ranks"] = {**tree, "threshold": 0.8}
    table = TASK.judging.with_evidence(table, p, evidence, calibrator)
    assert table["known"].tolist() == ["yes", "no", "no", "no"]
    assert table["rank"].tolist() == ["species", "genus", "genus", "genus"]
    assert table["taxon"].tolist() == ["A a", "A", "A", "A"]
    np.testing.assert_allclose(table["taxon_probability"], [0.9, 0.94, 0.9, 0.94])
    assert table["label"].tolist() == ["A a"] * 4  # the best guess still stands there


def test_no_rank_columns_without_ranks():
    assert rank_columns(None, final_answer({}, np.ones((2, 1)), None), ["a", "a"]).shape == (2, 0)


def read_qiime(path):
    """Read the form as strictly as QIIME 2 (TSVTaxonomyFormat, and its reader) and taxonomies by prefix do."""
    lines = path.read_text("utf-8").split("\n")
    assert lines.pop() == ""
    header, *rows = [line.split("\t") for line in lines]
    assert header == ["Feature ID", "Taxon", "Confidence"]
    assert rows and all(len(row) == 3 for row in rows)
    found = {}
    for name, taxon, confidence in rows:
        assert name and name == name.strip() and name not in found
        assert taxon and taxon == taxon.strip() and '"' not in (name[0], taxon[0])
        assert 0 <= float(confidence) <= 1
        if taxon == "Unassigned":
            found[name] = ([], float(confidence))
            continue
        parts = [re.fullmatch(r"([a-z]+)__([^;\t]*)", part) for part in taxon.split("; ")]
        assert all(parts)
        assert len({part[1] for part in parts}) == len(parts)
        found[name] = ([(part[1], part[2]) for part in parts], float(confidence))
    begins = [[letter for letter, _ in parts] for parts, _ in found.values()]
    longest = max(begins, key=len)
    assert all(part == longest[: len(part)] for part in begins)
    return found


def test_the_qiime_form_is_read_by_a_strict_reader(tmp_path, caplog):
    from dnatune.files import write_tsv

    table, calibrator = named([SURE, GENUS_ONLY, FAMILY_ONLY, NOTHING])
    unread = {"id": "short", **dict.fromkeys(table.columns[1:])}
    again = table.iloc[[0]]
    table = pd.concat([table, pd.DataFrame([unread]), again], ignore_index=True)
    with caplog.at_level(logging.WARNING, "dnatune"):
        forms = TASK.judging.other_forms(table, calibrator)
    assert set(forms) == {"qiime"} == set(TASK.other_forms) and "1 rows of repeated ids" in caplog.text
    write_tsv(tmp_path / "q.tsv", forms["qiime"])
    assert read_qiime(tmp_path / "q.tsv") == {
        "q0": ([("f", "F"), ("g", "A"), ("s", "A a")], 0.9),
        "q1": ([("f", "F"), ("g", "A")], pytest.approx(0.9)),
        "q2": ([("f", "F")], pytest.approx(0.99)),
        "q3": ([], 0.5),
        "short": ([], 0),
    }


def test_names_with_signs_of_the_form_and_empty_ranks(tmp_path):
    from dnatune.files import write_tsv

    lineages = {"Odd; name\twith signs": [None, "F"], "B b": ["B", "F"]}
    table, calibrator = named([[0.95, 0.05], [0.05, 0.95]], lineages)
    assert table["genus"].tolist() == ["", "B"]
    write_tsv(tmp_path / "q.tsv", qiime_table(table, calibrator["ranks"]))
    found = read_qiime(tmp_path / "q.tsv")
    assert found["q0"][0] == [("f", "F"), ("g", ""), ("s", "Odd name with signs")]
    assert found["q1"][0] == [("f", "F"), ("g", "B"), ("s", "B b")]


def test_two_names_of_one_genus():
    """A rank with one taxon says nothing, and breaks nothing."""
    lineages = {"no": ["A"], "yes": ["A"]}
    rng = np.random.default_rng(1)
    label = rng.integers(0, 2, 40)
    logits = (2 * np.eye(2)[label] + rng.normal(0, 1, (40, 2))).astype(np.float32)
    scores = Scores(np.arange(40).astype(str), np.repeat(["validation", "test"], 20), label, logits)
    binary = task("binary", {"ranks": ["genus"]})
    chosen = EvaluationSettings("temperature", taxonomy=taxonomy(lineages, ranks=("species", "genus")))
    found = binary.judging.evaluate(scores, ["no", "yes"], "m", 0, chosen)
    table = found.metrics.query("split == 'test' and stage == 'calibrated'").set_index(["metric", "class"])["value"]
    assert table["accuracy@genus", "all"] == table["named@genus", "all"] == 1
    assert table["log_loss@genus", "all"] == pytest.approx(0, abs=1e-12)
    assert table["recall_positive", "all"] == table["recall", "yes"]
    assert found.tables["rank_mistakes"].set_index("rank")["count"]["none"] == 0
