import warnings

import numpy as np
import pytest
import sklearn.metrics as sk

from dnatune import metrics as module
from dnatune.metrics import confusions, evaluate, rank_classes, reliability, top_choices


def sample(n, classes, seed, decimals=None, used=None):
    """Probabilities that know something, with ties where rounded, and labels of the classes in ``used``."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(used if used is not None else classes, n)
    logits = rng.normal(0, 1.5, (n, classes))
    logits[np.arange(n), labels] += 1.5
    if decimals is not None:
        logits = np.round(logits, decimals)
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True), labels


def by_scikit_learn(p, labels, k):
    predicted = p.argmax(axis=1)
    present = np.unique(labels)
    onehot = np.eye(p.shape[1])[labels]
    area = {c: sk.average_precision_score(labels == c, p[:, c]) for c in present}
    roc = [sk.roc_auc_score(labels == c, p[:, c]) for c in present if 0 < (labels == c).sum() < len(labels)]
    result = {
        "accuracy": sk.accuracy_score(labels, predicted),
        "mcc": sk.matthews_corrcoef(labels, predicted),
        "pr_auc_macro": np.mean(list(area.values())),
        "pr_auc_weighted": np.mean([area[c] for c in labels]),
        "roc_auc_macro": np.mean(roc),
        "log_loss": sk.log_loss(labels, p, labels=np.arange(p.shape[1])),
        "brier": np.mean(np.sum((p - onehot) ** 2, axis=1)),
        "classes_present": len(present),
        "records": len(labels),
    }
    if p.shape[1] > 2:
        result[f"top_{k}_accuracy"] = sk.top_k_accuracy_score(labels, p, k=k, labels=np.arange(p.shape[1]))
    for name in ("precision", "recall", "f1"):
        score = getattr(sk, f"{name}_score")
        for average in ("macro", "weighted"):
            result[f"{name}_{average}"] = score(labels, predicted, labels=present, average=average, zero_division=0)
    return result, area


@pytest.mark.parametrize(
    ("n", "classes", "decimals", "used"),
    [
        (200, 6, None, None),
        (200, 6, 0, None),
        (57, 40, 0, range(5, 20)),
        (300, 2, 1, None),
        (30, 3, None, [1, 2]),
        (500, 90, None, None),
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_agrees_with_scikit_learn(n, classes, decimals, used, seed, monkeypatch):
    monkeypatch.setattr(module, "COLUMN_CELLS", 1000)
    p, labels = sample(n, classes, seed, decimals, used)
    names = [f"species {c}" for c in range(classes)]
    table = evaluate(p, labels, names, top_k=3)
    averages = table[table["class"] == "all"].set_index("metric")["value"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected, area = by_scikit_learn(p, labels, 3)
    for metric, value in expected.items():
        assert averages[metric] == pytest.approx(value, abs=1e-9), metric
    rows = table[table["class"] != "all"].pivot(index="class", columns="metric", values="value")
    assert set(rows.index) == {names[c] for c in np.unique(labels)}
    predicted = p.argmax(axis=1)
    for c in np.unique(labels):
        row = rows.loc[names[c]]
        assert row["support"] == (labels == c).sum()
        assert row["pr_auc"] == pytest.approx(area[c], abs=1e-9)
        assert row["recall"] == pytest.approx((predicted[labels == c] == c).mean(), abs=1e-12)
        f1 = sk.f1_score(labels == c, predicted == c, zero_division=0)
        assert row["f1"] == pytest.approx(f1, abs=1e-12)


def test_a_class_without_records_changes_no_average():
    p, labels = sample(80, 5, 3)
    wide = np.column_stack([p, np.zeros((80, 2))])
    narrow, wide = (evaluate(q, labels, [str(c) for c in range(q.shape[1])]) for q in (p, wide))
    assert narrow["class"].tolist() == wide["class"].tolist()
    assert np.allclose(narrow["value"], wide["value"], atol=1e-12)


def test_one_present_class_has_no_roc_auc_and_the_rest_is_defined():
    p, labels = sample(10, 3, 0, used=[2])
    values = evaluate(p, labels, list("abc")).set_index(["metric", "class"])["value"]
    assert np.isnan(values["roc_auc_macro", "all"])
    assert values["pr_auc_macro", "all"] == 1.0
    assert values["mcc", "all"] == 0.0
    assert values.drop(("roc_auc_macro", "all")).notna().all()


def test_top_k_beyond_the_number_of_classes_is_one():
    p, labels = sample(20, 3, 0)
    values = evaluate(p, labels, list("abc"), top_k=5).set_index("metric")["value"]
    assert values["top_5_accuracy"] == 1.0


def test_a_certain_mistake_costs_the_clipped_log_loss():
    values = evaluate(np.array([[1.0, 0.0]]), np.array([1]), ["a", "b"]).set_index("metric")["value"]
    assert values["log_loss"] == pytest.approx(-np.log(np.finfo(float).eps))
    assert values["brier"] == 2.0


def test_no_records_give_counts_only():
    table = evaluate(np.zeros((0, 3)), np.zeros(0, int), list("abc"))
    assert table.set_index("metric")["value"].to_dict() == {"records": 0, "classes_present": 0}


def test_known_unknowns_are_refused():
    with pytest.raises(ValueError, match="known unknowns"):
        evaluate(np.full((2, 2), 0.5), np.array([0, -1]), ["a", "b"])


def test_ece_and_reliability_by_hand():
    top = np.array([0.5, 0.52, 0.95, 1.0])
    correct = np.array([True, False, True, True])
    bins = reliability(top, correct)
    assert bins.shape == (15, 3)
    assert bins[:, 0].sum() == 4
    assert bins[7].tolist() == [2, pytest.approx(0.51), 0.5]
    assert bins[14].tolist() == [2, pytest.approx(0.975), 1.0]
    assert np.isnan(bins[0, 1])
    p = np.column_stack([top, 1 - top])
    values = evaluate(p, np.array([0, 1, 0, 0]), ["a", "b"]).set_index("metric")["value"]
    assert values["ece"] == pytest.approx(0.5 * 0.01 + 0.5 * 0.025)


def test_a_probability_on_a_bins_border_belongs_to_the_lower_bin():
    assert reliability(np.array([1 / 15, 1.0, 1e-12]), np.array([True] * 3))[[0, 14], 0].tolist() == [2, 1]


def test_the_interpolated_precision_is_that_of_the_curve():
    p, labels = sample(150, 4, 5, decimals=1)
    ranking = rank_classes(p, labels)
    expected = []
    for c in ranking.classes:
        precision, recall, _ = sk.precision_recall_curve(labels == c, p[:, c])
        real = recall > 0
        expected.append([precision[real & (recall >= r - 1e-12)].max() for r in module.RECALL_GRID])
    assert np.allclose(ranking.precision, np.mean(expected, axis=0), atol=1e-12)


def test_confusions_are_sorted_and_wrong_pairs_only():
    truth, predicted = np.array([0, 0, 0, 1, 1, 2]), np.array([1, 1, 0, 2, 1, 2])
    table = confusions(predicted, truth, ["a", "b", "c"])
    assert table.values.tolist() == [["a", "b", 2, pytest.approx(2 / 3)], ["b", "c", 1, 0.5]]
    assert len(confusions(truth, truth, ["a", "b", "c"])) == 0


def test_the_first_class_wins_a_tie():
    predicted, top = top_choices(np.array([[0.4, 0.4, 0.2]]))
    assert predicted.tolist() == [0] and top.tolist() == [0.4]
