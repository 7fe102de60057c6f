"""Many labels from loss to prediction: losses by hand, averages, calibration and thresholds of each label, baselines,
a model trained on a fold, heads for groups, and labels learned apart."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.naive_bayes import MultinomialNB

from dnatune import tuning
from dnatune.baselines import baseline_logits
from dnatune.fold_data import FoldData
from dnatune.fold_training import Job, train_apart, train_on_fold
from dnatune.kmers import kmer_matrix
from dnatune.multilabel_calibration import CURVES, apply_labels, fit_labels
from dnatune.packaging import fit_calibration
from dnatune.scores import Scores
from dnatune.tasks import task
from dnatune.tasks.base import EvaluationSettings
from miniatures import families, model_settings
from small_fold import INPUTS, RECORDS

OPTIONS = {"separator": ";", "threshold": "tuned", "groups": {}, "alone": None, "labels": None}
TRAINING = {"imbalance": "none", "focal_gamma": 2.0, "label_smoothing": 0.0}
NAMES = ["a", "b", "c"]
LOGITS = torch.tensor([[0.3, -2.0, 1.0], [-1.0, 0.5, 4.0]])
TARGETS = np.array([[1, 0, 1], [0, 0, 1]], np.int8)


def kind(**options):
    return task("multilabel", {**OPTIONS, **options})


def loss(targets=TARGETS, train=None, **training):
    made = kind().learning.loss({**TRAINING, **training}, TARGETS if train is None else train, 3)
    return float(made(LOGITS, torch.as_tensor(targets)))


def cross_entropy(p, y, weight=1.0):
    return -(weight * y * np.log(p) + (1 - y) * np.log(1 - p))


def test_losses_by_hand():
    p, y = expit(LOGITS.numpy().astype(float)), TARGETS.astype(float)
    assert loss() == pytest.approx(cross_entropy(p, y).mean(), rel=1e-6)
    assert loss(label_smoothing=0.2) == pytest.approx(cross_entropy(p, 0.8 * y + 0.1).mean(), rel=1e-6)
    truth = np.where(y > 0, p, 1 - p)
    assert loss(imbalance="focal") == pytest.approx(((1 - truth) ** 2 * -np.log(truth)).mean(), rel=1e-5)
    assert loss(imbalance="focal", focal_gamma=0) == pytest.approx(loss(), rel=1e-6)
    # Records with and without each label: 2 and 8, 0 and 10 (counted as 1), 10 and 0 (counted as 1).
    train = np.zeros((10, 3), np.int8)
    train[:2, 0] = train[:, 2] = 1
    weighted = cross_entropy(p, y, np.array([8 / 2, 10, 1 / 10]))
    assert loss(imbalance="class_weights", train=train) == pytest.approx(weighted.mean(), rel=1e-6)


def test_probabilities_are_averaged_and_scores_are_finite_log_odds():
    learning = kind().learning
    windows = torch.tensor([[0.0, 8.0], [3.0, 200.0]])
    mean = learning.activate(windows).mean(0, keepdim=True)
    scores = learning.scores(mean)
    assert expit(scores[0, 0].item()) == pytest.approx(expit([0.0, 3.0]).mean(), rel=1e-6)
    extreme = learning.scores(torch.tensor([[0.0, 1.0]]))
    assert torch.isfinite(extreme).all() and extreme[0, 0] < -80 and extreme[0, 1] > 15


def validation(n=400, seed=0):
    """Log-odds twice too sure of two labels, of one far off, and a rare label with 4 records."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(-1, 1.5, (n, 3))
    y = (rng.random((n, 3)) < expit(odds)).astype(np.int8)
    y[:, 2] = 0
    y[:4, 2] = 1
    return np.column_stack([2 * odds[:, 0], odds[:, 1] + 3, odds[:, 2]]).astype(np.float32), y


@pytest.mark.parametrize("method", list(CURVES))
def test_each_label_has_its_own_calibration_and_rare_ones_share(method):
    odds, y = validation()
    fitted = fit_labels(method, odds, y, y @ [1, 2, 4], NAMES, seed=0)
    p = apply_labels(fitted, odds)
    assert p.shape == odds.shape and ((p > 0) & (p < 1)).all()
    assert set(fitted["own"]) == {"0", "1"}
    if method == "none":
        np.testing.assert_allclose(p, expit(odds.astype(float)))
        return
    assert "1 of 3 labels" in fitted["note"] and "(c)" in fitted["note"]
    assert abs(p[:, 0].mean() - y[:, 0].mean()) < (0.05 if method == "temperature" else 0.02)
    for label in range(3):
        assert roc_auc_score(y[:, label], p[:, label]) == pytest.approx(
            roc_auc_score(y[:, label], odds[:, label]), abs=0.03 if method == "isotonic" else 1e-9
        )


def test_platt_of_a_label_is_logistic_regression_on_its_log_odds():
    odds, y = validation(n=4000)
    fitted = fit_labels("platt", odds, y, y[:, 0], NAMES, seed=0)
    model = LogisticRegression(C=np.inf).fit(odds[:, [0]].astype(float), y[:, 0])
    expected = model.predict_proba(odds[:, [0]].astype(float))[:, 1]
    np.testing.assert_allclose(apply_labels(fitted, odds)[:, 0], expected, atol=2e-3)


def test_a_model_that_tells_nothing_apart_is_not_stretched_without_end():
    rng = np.random.default_rng(0)
    y = np.zeros((40, 3), np.int8)
    y[:15] = 1
    odds = np.where(y > 0, 0.02, -0.02) + rng.normal(0, 0.01, y.shape)
    fitted = fit_labels("platt", odds, y, y[:, 0], NAMES, seed=0)
    p = apply_labels(fitted, odds)
    np.testing.assert_allclose(p.mean(axis=0), 16 / 42, atol=1e-6)
    assert fitted["own"]["0"][0] == 5
    # The refit may have an offset of its own: that must not make all probabilities 0 or 1.
    assert ((apply_labels(fitted, odds - 0.1) > 0.2) & (apply_labels(fitted, odds + 0.1) < 0.6)).all()


def test_auto_takes_a_method_that_mends_an_offset():
    odds, y = validation()
    fitted = fit_labels("auto", odds, y, y[:, 1], NAMES, seed=0)
    assert fitted["method"] in ("platt", "isotonic")
    assert fitted["candidates"][fitted["method"]] == min(fitted["candidates"].values())


@pytest.mark.parametrize("case", ["empty", "no label", "one record"])
def test_a_validation_part_with_nothing_to_fit_on(case):
    odds, y = validation(n=40)
    if case == "no label":
        y[:] = 0
    else:
        odds, y = odds[: case == "one record"], y[: case == "one record"]
    for method in ("auto", "platt"):
        fitted = fit_labels(method, odds, y, y[:, 0], NAMES, seed=0)
        assert np.isfinite(apply_labels(fitted, np.array([[0.0, 50, -50]]))).all()


def scores(seed=0, n=300):
    odds, y = validation(n=2 * n, seed=seed)
    role = np.repeat(["validation", "test"], n)
    return Scores(np.array([f"s{i}" for i in range(2 * n)]), role, y, odds)


def test_thresholds_come_from_validation_alone_and_are_used_on_test():
    found, settings = scores(), EvaluationSettings("platt")
    result = kind().judging.evaluate(found, NAMES, "m", 0, settings)
    changed = found.label.copy()
    changed[found.role == "test"] = 1 - changed[found.role == "test"]
    other = kind().judging.evaluate(replace(found, label=changed), NAMES, "m", 0, settings)
    assert result.calibrator == other.calibrator and len(result.calibrator["thresholds"]) == 3
    test = result.metrics[(result.metrics["split"] == "test") & (result.metrics["stage"] == "calibrated")]
    used = test[test["metric"] == "threshold"].set_index("class")["value"]
    np.testing.assert_allclose(used[NAMES], result.calibrator["thresholds"])
    fixed = kind(threshold=0.25).judging.evaluate(found, NAMES, "m", 0, settings)
    assert fixed.calibrator["thresholds"] == [0.25] * 3


def test_a_label_absent_from_validation_or_test_crashes_nothing():
    for role in ("validation", "test"):
        found = scores()
        label = found.label.copy()
        label[found.role == role, 1] = 0
        result = kind().judging.evaluate(replace(found, label=label), NAMES, "m", 0, EvaluationSettings())
        averages = result.metrics[result.metrics["class"] == "all"].set_index(["split", "stage", "metric"])["value"]
        assert np.isfinite(averages["test", "calibrated", "f1_macro"])
        assert averages[role, "raw", "classes_present"] == label[found.role == role].any(axis=0).sum()


def test_log_odds_of_hundreds_are_ranked_all_the_same():
    found = scores()
    one, huge = (
        kind().judging.evaluate(replace(found, logits=odds), NAMES, "m", 0, EvaluationSettings("none")).metrics
        for odds in (found.logits, 500 * (found.logits + 20))
    )
    for split in ("validation", "test"):
        pr_auc = [
            t[(t["split"] == split) & (t["stage"] == "raw") & (t["metric"] == "pr_auc_macro")]["value"].item()
            for t in (one, huge)
        ]
        assert pr_auc[1] == pytest.approx(pr_auc[0], abs=1e-3)


def test_predictions_list_the_labels_above_their_own_threshold():
    calibrator = {"thresholds": [0.9, 0.2, 0.5]}
    p = np.array([[0.8, 0.3, 0.1], [0.95, 0.1, 0.97], [0.1, 0.1, 0.1]])
    table = kind(separator=" | ").judging.predictions(p, np.full(3, 90), NAMES, calibrator, 2)
    assert table["labels"].tolist() == ["b", "c | a", ""]
    assert table["count"].tolist() == [1, 2, 0]
    assert table["probabilities"].tolist() == ["b (0.3000)", "c (0.9700); a (0.9500)", ""]
    assert table["top_2"][0] == "a (0.8000); b (0.3000)"


def test_the_saved_model_is_calibrated_on_validation_of_all_folds():
    folds = [scores(seed) for seed in range(2)]
    fitted = fit_calibration(folds, [{}, {}], "refit", kind(), EvaluationSettings("platt"))
    joined = Scores.joined([fold.part("validation") for fold in folds])
    alone = fit_labels("platt", joined.logits, joined.label, joined.label[:, 0], NAMES, 0)
    assert fitted["own"] == alone["own"] and len(fitted["thresholds"]) == 3


SEQUENCES = [s for s, _ in families(3, 30, 90, seed=3)]
FAMILY = np.repeat(np.arange(3), 30)
# Label 0 is family 0, label 1 families 0 and 1, label 2 nobody.
FAMILIES = np.column_stack([FAMILY == 0, FAMILY < 2, np.zeros(90)]).astype(np.int8)
EVEN = np.arange(90) % 2 == 0


def baseline(name, targets=FAMILIES, **settings):
    train, query = ([s for s, e in zip(SEQUENCES, EVEN, strict=True) if e == side] for side in (True, False))
    method = kind().baseline(name)
    return baseline_logits(name, method, train, targets[EVEN], query, targets.shape[1], settings)


def test_majority_gives_the_share_of_each_label():
    train = FAMILIES[EVEN]
    np.testing.assert_allclose(expit(baseline("majority")[0]), (train.sum(0) + 1) / (len(train) + 2), rtol=1e-6)


def test_naive_bayes_is_one_model_for_each_label():
    found = baseline("naive_bayes", k=4)
    counts = kmer_matrix(SEQUENCES, 4)
    model = MultinomialNB(alpha=0.01).fit(counts[EVEN], FAMILIES[EVEN, 1])
    p = model.predict_log_proba(counts[~EVEN])
    np.testing.assert_allclose(found[:, 1], p[:, 1] - p[:, 0], rtol=1e-3, atol=1e-3)
    assert (found[:, 2] < -5).all()


@pytest.mark.parametrize("labels", [3, 1])
def test_logistic_regression_learns_all_labels_at_once(labels):
    found = baseline("logistic_regression", FAMILIES[:, :labels], k=4)
    assert found.shape == (45, labels) and found.dtype == np.float32
    assert roc_auc_score(FAMILIES[~EVEN, 0], found[:, 0]) > 0.95
    assert np.isfinite(found).all()


LABELS = np.array([label for _, label in RECORDS])
MANY = np.column_stack([LABELS == 0, LABELS < 2, LABELS == 5]).astype(np.int8)
ORDER = np.random.default_rng(7).permutation(len(RECORDS))
PARTS = [np.sort(ORDER[a:b]) for a, b in ((0, 40), (40, 55), (55, 72), (72, 72))]
FOLD = FoldData(np.array([f"s{i}" for i in range(len(RECORDS))]), MANY, NAMES, np.arange(len(RECORDS)), *PARTS)


def fit(folder, **options):
    settings = model_settings()
    settings["training"] = {**settings["training"], "metric": options.pop("metric", "f1_macro")}
    settings["training"]["imbalance"] = options.pop("imbalance", "none")
    return Job("m", settings, kind(**options), 0, folder, 0)


@pytest.mark.parametrize("imbalance", ["none", "balanced_sampling", "focal", "class_weights"])
def test_a_fold_is_learned_though_a_label_is_nowhere(tmp_path, imbalance):
    trained, found, run, _ = train_on_fold(fit(tmp_path, imbalance=imbalance), FOLD, INPUTS, "sha")
    test = found.part("test")
    assert found.logits.shape == (32, 3) and np.isfinite(found.logits).all()
    assert roc_auc_score(test.label[:, 0], test.logits[:, 0]) > 0.8
    assert {f"validation_{m}" for m in kind().curve} <= set(trained.history.columns)
    assert run["metric_for_best"] == "f1_macro" and run["best_metric"] is not None
    losses = trained.history["validation_log_loss"]
    assert losses.min() < losses.iloc[0] or imbalance != "none"


def test_groups_have_heads_of_their_own_that_are_saved_and_restored(tmp_path):
    job = fit(tmp_path, groups={"x": ["c", "a"], "y": ["b"]})
    trained, *_ = train_on_fold(job, FOLD, INPUTS, "sha")
    assert len(trained.model.classifier.heads) == 2
    tuning.save(trained.model, tmp_path / "weights", "full")
    settings = {**job.settings, "head": job.task.head(NAMES)}
    again = tuning.restore(tmp_path / "weights", settings, {n: i for i, n in enumerate(NAMES)}, 0).eval()
    ids = torch.randint(5, 50, (2, 12))
    torch.testing.assert_close(again(input_ids=ids).logits, trained.model.eval()(input_ids=ids).logits)
    # What one group's head learns does not touch the other's output.
    before = again(input_ids=ids).logits.detach().clone()
    with torch.no_grad():
        again.classifier.heads[1][3].bias += 1
    np.testing.assert_allclose((again(input_ids=ids).logits - before)[0].tolist(), [0, 1, 0], atol=1e-5)


def test_labels_learned_apart_are_the_models_of_each_label_side_by_side(tmp_path):
    job = fit(tmp_path / "apart", alone="labels")
    units = job.task.units({"alone": "labels"}, NAMES)
    history, found, run, folders = train_apart(job, FOLD, INPUTS, "sha", units, tmp_path / "weights")
    own = replace(FOLD, labels=MANY[:, [1]], classes=["b"])
    single = train_on_fold(fit(tmp_path / "single"), own, INPUTS, "sha")[1]
    np.testing.assert_array_equal(found.logits[:, [1]], single.logits)
    np.testing.assert_array_equal(found.label, MANY[FOLD.scored])
    assert [unit["labels"] for unit in run["units"]] == [["a"], ["b"], ["c"]]
    assert set(history["unit"]) == {0, 1, 2} and len(folders) == 3
    assert len(list((tmp_path / "weights").iterdir())) == 3
