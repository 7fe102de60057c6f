"""Two names, one of them looked for: its id, its figures against scikit-learn, and what is refused."""

import numpy as np
import pyarrow as pa
import pytest
from scipy.special import softmax
from sklearn import metrics as reference

from dnatune.errors import UserError
from dnatune.scores import Scores
from dnatune.tasks import task
from dnatune.tasks.base import EvaluationSettings

RAW = EvaluationSettings("none")


def described(texts, known=None, **options):
    """Return what the labels part makes of a column of labels."""
    known = np.ones(len(texts), bool) if known is None else np.array(known)
    return task("binary", options).labels.describe(pa.chunked_array([texts]), known, np.arange(len(texts)))


@pytest.mark.parametrize(
    ("labels", "options", "order"),
    [
        (["free", "bound", "free"], {}, ["bound", "free"]),
        (["free", "bound", "free"], {"positive": "bound"}, ["free", "bound"]),
        (["free", "bound", "free"], {"positive": "free"}, ["bound", "free"]),
        (["1", "0"], {}, ["0", "1"]),
        (["1", "0"], {"positive": 0}, ["1", "0"]),
        (["yes", "no"], {"labels": ["yes", "no"]}, ["yes", "no"]),
        (["yes", "no"], {"labels": ["yes", "no"], "positive": "yes"}, ["no", "yes"]),
    ],
)
def test_the_positive_name_is_the_second(labels, options, order):
    found = described(labels, **options)
    assert found.label_map["label2id"] == {order[0]: 0, order[1]: 1}
    assert found.label_map["id2label"] == {"0": order[0], "1": order[1]}
    assert found.summary["positive"] == order[1]
    assert dict(zip(found.balance["label"], found.balance["class_id"], strict=True)) == {order[0]: 0, order[1]: 1}
    targets = task("binary", options).labels.targets(pa.chunked_array([labels]), np.ones(len(labels), bool), order)
    assert targets.tolist() == [order.index(label) for label in labels]


def test_a_class_that_is_not_trained_is_no_third_name():
    found = described(["a", "b", "rare"], [True, True, False], positive="a")
    assert found.label_map["label2id"] == {"b": 0, "a": 1}
    assert dict(zip(found.balance["label"], found.balance["class_id"], strict=True)) == {"b": 0, "a": 1, "rare": -1}


@pytest.mark.parametrize(("labels", "count"), [(["a", "b", "c"], 3), (["a", "a"], 1)])
def test_other_than_two_names_are_refused(labels, count):
    with pytest.raises(UserError, match=rf"'task': binary needs two names, found {count} \(a.*use task: multiclass"):
        described(labels)


def test_a_positive_name_that_is_not_there_is_refused():
    with pytest.raises(UserError, match=r"'binary\.positive': found 'bond', expected one of bound, free"):
        described(["bound", "free"], positive="bond")


def scored(label, logits):
    """Return scores of a test part, with two validation records to calibrate nothing on."""
    label, logits = np.concatenate([[0, 1], label]), np.concatenate([np.eye(2), logits])
    role = np.array(["validation"] * 2 + ["test"] * (len(label) - 2))
    return Scores(np.arange(len(label)).astype(str), role, label, logits.astype(np.float32))


def figures_of(label, logits):
    """Return {metric: value} over all of the test part, raw."""
    found = task("binary").judging.evaluate(scored(label, logits), ["free", "bound"], "m", 2, RAW).metrics
    assert found["model"].eq("m").all() and found["fold"].eq(2).all()
    own = found[(found["split"] == "test") & (found["stage"] == "raw") & (found["class"] == "all")]
    assert own["metric"].is_unique
    return own.set_index("metric")["value"]


@pytest.mark.parametrize("seed", range(4))
def test_figures_of_the_positive_name_are_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    label = (rng.random(150) < 0.2).astype(int)
    logits = 1.2 * np.eye(2)[label] + rng.normal(0, 1, (150, 2))
    p = softmax(logits.astype(np.float32).astype(float), axis=1)
    called = p.argmax(axis=1)
    found = figures_of(label, logits)
    expected = {
        "precision_positive": reference.precision_score(label, called),
        "recall_positive": reference.recall_score(label, called),
        "f1_positive": reference.f1_score(label, called),
        "pr_auc_positive": reference.average_precision_score(label, p[:, 1]),
        "specificity": reference.recall_score(label, called, pos_label=0),
        "mcc": reference.matthews_corrcoef(label, called),
        "roc_auc_macro": reference.roc_auc_score(label, p[:, 1]),
        "accuracy": reference.accuracy_score(label, called),
        "f1_macro": reference.f1_score(label, called, average="macro"),
        "log_loss": reference.log_loss(label, p),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-9)


def test_a_test_part_without_positives_has_no_figures_of_them():
    found = figures_of(np.zeros(4, int), np.array([[1, 0], [1, 0], [1, 0], [0, 1.0]]))
    assert found["specificity"] == 0.75
    assert not [name for name in found.index if name.endswith("_positive")]


def test_averages_come_before_the_rows_of_each_class():
    metrics = task("binary").judging.evaluate(scored([0, 1], np.eye(2)), ["n", "p"], "m", 0, RAW).metrics
    averages = (metrics["class"] == "all").to_numpy()
    assert averages[: averages.sum()].all()
    assert set(metrics.loc[~averages, "class"]) == {"n", "p"}
    assert not metrics.loc[~averages, "metric"].str.endswith("_positive").any()


def test_a_learning_curve_has_the_metric_that_chooses():
    kind = task("binary")
    scores = np.log([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]]).astype(np.float32)
    label = np.array([0, 1, 1, 1])
    found = kind.learning.curve_metrics(scores, label)
    assert set(found) == set(kind.curve) and kind.best_by == "mcc"
    assert found["mcc"] == pytest.approx(reference.matthews_corrcoef(label, [0, 1, 0, 1]))
    assert found["log_loss"] == pytest.approx(-np.log([0.9, 0.8, 0.4, 0.7]).mean(), rel=1e-6)


def test_a_new_sequence_gets_its_name_and_both_probabilities():
    predicted = np.array([[0.25, 0.75], [0.9, 0.1]])
    table = task("binary").judging.predictions(predicted, np.array([9, 9]), ["free", "bound"], {"method": "none"}, 5)
    assert table["label"].tolist() == ["bound", "free"]
    assert table["probability"].tolist() == [0.75, 0.9]
    assert table["top_5"].tolist() == ["bound (0.7500); free (0.2500)", "free (0.9000); bound (0.1000)"]
