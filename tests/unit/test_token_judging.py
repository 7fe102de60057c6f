"""Figures per base against scikit-learn, calibration on whole sequences, tracks, and what a new sequence gets."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from sklearn import metrics as sk

from dnatune.errors import UserError
from dnatune.scores import Scores
from dnatune.tasks import task, token_judging
from dnatune.tasks.base import EvaluationSettings
from dnatune.tasks.token_judging import confusion_table, segments, tracks, whole_records

NAMES = ["C", "I", "O"]


def scores(validation=8, test=6, seed=0, sharpness=2.0, last_label=True) -> Scores:
    """Return scores of sequences of 20 to 60 bases whose logits favour the truth."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(20, 60, validation + test)
    labels = rng.integers(0, 3 if last_label else 2, counts.sum())
    logits = rng.normal(size=(len(labels), 3)) * sharpness
    logits[np.arange(len(labels)), labels] += 1.5 * sharpness
    ids = np.array([f"s{i}" for i in range(len(counts))])
    roles = np.array(["validation"] * validation + ["test"] * test)
    return Scores(ids, roles, labels, logits.astype(np.float32), np.arange(len(counts)), counts)


def evaluated(given, method="temperature"):
    settings = EvaluationSettings(calibration=method, cv_folds=2)
    return task("token").judging.evaluate(given, NAMES, "m", 0, settings)


def value(table, metric, split="test", stage="raw", name="all"):
    row = table.query("metric == @metric and split == @split and stage == @stage and `class` == @name")
    assert len(row) == 1, (metric, len(row))
    return row["value"].iloc[0]


def test_figures_are_over_bases():
    given = scores()
    found = evaluated(given).metrics
    test = given.part("test")
    p = softmax(test.logits.astype(float), axis=1)
    predicted = p.argmax(1)
    assert value(found, "accuracy") == pytest.approx(sk.accuracy_score(test.label, predicted))
    assert value(found, "f1_macro") == pytest.approx(sk.f1_score(test.label, predicted, average="macro"))
    assert value(found, "mcc") == pytest.approx(sk.matthews_corrcoef(test.label, predicted))
    assert value(found, "log_loss") == pytest.approx(sk.log_loss(test.label, p), rel=1e-6)
    assert value(found, "brier") == pytest.approx(((p - np.eye(3)[test.label]) ** 2).sum(1).mean())
    own = [sk.average_precision_score(test.label == c, p[:, c]) for c in range(3)]
    assert value(found, "pr_auc_macro") == pytest.approx(np.mean(own))
    for c, name in enumerate(NAMES):
        assert value(found, "f1", name=name) == pytest.approx(sk.f1_score(test.label == c, predicted == c))
    assert value(found, "bases") == test.counts.sum()
    assert value(found, "records") == 6
    assert not found["metric"].str.startswith("top_").any()


def test_accuracy_per_sequence_counts_short_and_long_alike():
    given = scores()
    found = evaluated(given).metrics
    for split in ("validation", "test"):
        part = given.part(split)
        right = part.logits.argmax(1) == part.label
        each = [share.mean() for share in np.split(right, np.cumsum(part.counts)[:-1])]
        assert value(found, "accuracy_per_sequence", split) == pytest.approx(np.mean(each))


def test_a_label_that_the_test_part_lacks_does_no_harm():
    found = evaluated(scores(last_label=False), "auto")
    assert value(found.metrics, "classes_present") == 2
    assert np.isfinite(value(found.metrics, "f1_macro", stage="calibrated"))
    table = found.tables["label_confusions"]
    assert table[table["truth"] == "O"]["bases"].sum() == 0


def test_calibration_makes_overconfident_figures_better():
    given = scores(validation=20, test=20, sharpness=1.0)
    sharp = Scores(given.id, given.role, given.label, 6 * given.logits, given.group, given.counts)
    for method in ("temperature", "platt", "isotonic", "auto"):
        found = evaluated(sharp, method).metrics
        assert value(found, "log_loss", stage="calibrated") < 0.7 * value(found, "log_loss")


def test_calibration_takes_whole_sequences_up_to_a_bound(monkeypatch):
    given = scores(validation=30, test=1).part("validation")
    sample = whole_records(given, 400, seed=3)
    assert 300 < sample.counts.sum() <= 400
    for name, part in zip(sample.id, np.split(sample.logits, np.cumsum(sample.counts)[:-1]), strict=True):
        place = int(np.flatnonzero(given.id == name)[0])
        start = given.counts[:place].sum()
        np.testing.assert_array_equal(part, given.logits[start : start + given.counts[place]])
    assert whole_records(given, 400, seed=3).id.tolist() == sample.id.tolist()
    assert whole_records(given, 400, seed=4).id.tolist() != sample.id.tolist()
    assert len(whole_records(given, 5, seed=0).id) == 1
    assert whole_records(given, 10**6, seed=0) is given
    monkeypatch.setattr(token_judging, "CALIBRATION_BASES", 400)
    found = task("token").judging.calibrate(given, EvaluationSettings("temperature", seed=3))
    assert (found["bases"], found["of_bases"]) == (sample.counts.sum(), given.counts.sum())
    assert found["records"] == len(sample.id)


def test_confusions_count_right_and_wrong_bases():
    truth, given = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 2, 1, 0, 2])
    table = confusion_table(given, truth, NAMES)
    matrix = table.pivot(index="truth", columns="predicted", values="bases").to_numpy()
    assert matrix.tolist() == sk.confusion_matrix(truth, given).tolist()
    shares = table.pivot(index="truth", columns="predicted", values="share")
    assert shares.loc["C", "C"] == pytest.approx(2 / 3)


def test_segments_are_half_open_and_give_the_labels_back():
    labels = np.array([2, 2, 0, 0, 0, 1])
    table = segments(labels, NAMES)
    assert table.values.tolist() == [[0, 2, "O"], [2, 5, "C"], [5, 6, "I"]]
    assert "".join(r.label * (r.end - r.start) for r in table.itertuples()) == "OOCCCI"
    assert len(segments(labels[:0], NAMES)) == 0


def test_tracks_are_a_poor_a_typical_and_a_good_sequence():
    given = scores(test=21).part("test")
    predicted = given.logits.argmax(1)
    table = tracks(given, predicted, NAMES)
    right = np.split(predicted == given.label, np.cumsum(given.counts)[:-1])
    ranked = sorted(share.mean() for share in right)
    chosen = table.drop_duplicates("example").set_index("example")["accuracy"]
    assert chosen.to_dict() == pytest.approx({"poor": ranked[2], "typical": ranked[10], "good": ranked[18]})
    for (name, track), rows in table.groupby(["id", "track"]):
        place = int(np.flatnonzero(given.id == name)[0])
        start = given.counts[:place].sum()
        labels = (given.label if track == "truth" else predicted)[start : start + given.counts[place]]
        text = "".join(row.label * (row.end - row.start) for row in rows.itertuples())
        assert text == "".join(NAMES[i] for i in labels)


def predicted():
    p = np.array([[0.8, 0.1, 0.1], [0.6, 0.2, 0.2], [0.1, 0.2, 0.7], [0.2, 0.5, 0.3]])
    return p, np.array([3, 1])


def test_predictions_are_written_as_labels_were_given():
    p, lengths = predicted()
    table = task("token").judging.predictions(p, lengths, NAMES, {}, 5)
    assert table["labels"].tolist() == ["CCO", "I"]
    assert table["mean_probability"].tolist() == pytest.approx([(0.8 + 0.6 + 0.7) / 3, 0.5])
    tagged = task("token", {"separator": " "}).judging
    assert tagged.predictions(p, lengths, ["ex", "in", "out"], {}, 5)["labels"].tolist() == ["ex ex out", "in"]


def test_segments_of_predictions():
    p, lengths = predicted()
    table = task("token").judging.prediction_tables(p, ["x", "y"], lengths, NAMES)["segments"]
    expected = pd.DataFrame(
        [["x", 0, 2, "C", 0.7], ["x", 2, 3, "O", 0.7], ["y", 0, 1, "I", 0.5]],
        columns=["id", "start", "end", "label", "mean_probability"],
    )
    pd.testing.assert_frame_equal(table, expected)


def test_a_query_whose_bases_a_tokenizer_swallows_is_refused():
    p, _ = predicted()
    with pytest.raises(UserError, match="reads 5 bases as tokens of 4 bases"):
        task("token").judging.predictions(p, np.array([4, 1]), NAMES, {}, 5)
