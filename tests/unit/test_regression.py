import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from scipy import sparse, stats
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

from dnatune import config
from dnatune.backbones.modeling_heads import ScaledLinear
from dnatune.comparison import METRIC_COLUMNS, compare
from dnatune.conformal import half_width, half_widths, values_needed
from dnatune.errors import UserError
from dnatune.figures import save_figure
from dnatune.figures_regression import coverage_by_prediction, interval_coverage, predicted_measured
from dnatune.regression_metrics import evaluate
from dnatune.scores import Scores
from dnatune.tasks import task, task_of
from dnatune.tasks.base import EvaluationSettings, LabelSource
from dnatune.tasks.regression_baselines import PENALTIES, ridge

NAN = float("nan")
SOURCE = LabelSource("labels.csv", "leaf, proto")


def regression(columns=("leaf", "proto"), loss="mse"):
    return task("regression", {"columns": list(columns), "loss": loss, "labels": None})


def cells(metrics):
    return metrics.set_index(["metric", "class"])["value"]


def test_texts_become_values_and_empty_cells_are_missing():
    texts = pa.chunked_array([["1.5\t", "\t-2e3"], ["0\t7"]])
    labels = regression().labels
    found = labels.targets(texts, np.ones(3, bool), ["leaf", "proto"])
    np.testing.assert_array_equal(found, np.array([[1.5, NAN], [NAN, -2000], [0, 7]], np.float32))
    one = regression(["leaf"]).labels.targets(pa.chunked_array([["3", "4.25"]]), np.ones(2, bool), ["leaf"])
    np.testing.assert_array_equal(one, np.array([[3], [4.25]], np.float32))


@pytest.mark.parametrize("found", ["high", "NA", "nan", "inf", "1e99", "1,5"])
def test_a_text_that_is_no_number_is_named(found):
    texts, ids = pa.array(["1\t2", f"3\t{found}", "2\t3"]), pa.array(["a", "b", "c"])
    with pytest.raises(UserError) as said:
        regression().labels.check(SOURCE, ids, texts, np.ones(3, int))
    for part in ("labels.csv", f"'{found}'", "'proto'", "'b'", "expected a number"):
        assert part in str(said.value)
    assert str(said.value).count(". ") == 0


def test_a_tab_within_a_cell_moves_no_value_to_the_next_column():
    with pytest.raises(UserError, match="'leaf, proto' for id 'b' holds a tab"):
        regression().labels.check(SOURCE, pa.array(["a", "b"]), pa.array(["1\t2", "1\t2\t3"]), np.ones(2, int))


@pytest.mark.parametrize(("texts", "said"), [(["1\t", "2\t"], "no value"), (["1\t4", "2\t4"], "only the value 4")])
def test_an_output_that_never_varies_is_refused(texts, said):
    with pytest.raises(UserError, match=f"'proto' has {said}"):
        regression().labels.check(SOURCE, pa.array(["a", "b"]), pa.array(texts), np.ones(2, int))


def test_the_description_counts_values_and_bounds_r2_by_repeats():
    values, sequence = [1.0, 3.0, 5.0, 5.0, 9.0], np.array([0, 0, 1, 1, 2])
    texts = pa.chunked_array([[f"{v}\t{'' if i > 1 else i}" for i, v in enumerate(values)]])
    found = regression().labels.describe(texts, np.ones(5, bool), sequence)
    assert found.label_map["label2id"] == {"leaf": 0, "proto": 1}
    row = found.balance.set_index("label").loc["leaf"]
    assert (row["records"], row["distinct_sequences"], row["mean"], row["median"]) == (5, 3, 4.6, 5.0)
    assert row["sd"] == pytest.approx(np.std(values, ddof=1))
    # The best prediction of the first two is their mean, 2: each is 1 off.
    assert found.summary["best_r2"]["leaf"] == pytest.approx(r2_score(values, [2, 2, 5, 5, 9]))
    assert "2 of 5 sequences have a value of each" in found.summary["statement"]
    assert sum(found.summary["histograms"]["leaf"]["counts"]) == 5


def test_strata_are_quantiles_of_the_first_measured_output():
    rng = np.random.default_rng(0)
    targets = np.full((300, 2), NAN, np.float32)
    targets[:200, 0] = rng.normal(size=200)
    targets[100:, 1] = rng.normal(size=200)
    strata = regression().labels.strata(targets)
    assert np.bincount(strata[:200]).tolist() == [20] * 10
    assert np.bincount(strata[200:])[10:].tolist() == [10] * 10
    upper = strata[:200] == 9
    assert targets[:200, 0][upper].min() > targets[:200, 0][~upper].max()
    # Few records: one stratum, so that each role can have some.
    assert len(np.unique(regression(["leaf"]).labels.strata(targets[:12, :1]))) == 1


def test_metrics_against_scikit_learn_and_scipy():
    rng = np.random.default_rng(1)
    measured = rng.normal(5, 2, (60, 2))
    predicted = measured + rng.normal(0, 1, (60, 2))
    measured[:20, 1] = NAN
    found = cells(evaluate(measured, predicted, ["leaf", "proto"], [1.0, None]))
    for i, name in enumerate(("leaf", "proto")):
        there = ~np.isnan(measured[:, i])
        y, p = measured[there, i], predicted[there, i]
        assert found["mse", name] == pytest.approx(mean_squared_error(y, p))
        assert found["rmse", name] == pytest.approx(np.sqrt(mean_squared_error(y, p)))
        assert found["mae", name] == pytest.approx(mean_absolute_error(y, p))
        assert found["r2", name] == pytest.approx(r2_score(y, p))
        assert found["pearson", name] == pytest.approx(stats.pearsonr(y, p).statistic)
        assert found["spearman", name] == pytest.approx(stats.spearmanr(y, p).statistic)
        assert found["records", name] == there.sum()
    for metric in ("mse", "mae", "r2", "pearson"):
        assert found[metric, "all"] == pytest.approx((found[metric, "leaf"] + found[metric, "proto"]) / 2)
    assert found["coverage", "leaf"] == (np.abs(measured - predicted)[:, 0] <= 1).mean()
    assert found["interval_width", "all"] == 2 and np.isnan(found["coverage", "proto"])


@pytest.mark.parametrize(
    ("measured", "defined"),
    [([], []), ([2.0], ["mse", "rmse", "mae"]), ([2.0, 2.0], ["mse", "rmse", "mae"])],
)
def test_metrics_of_hardly_any_values(measured, defined):
    measured = np.array(measured)[:, None]
    found = cells(evaluate(measured, measured + np.arange(1, len(measured) + 1)[:, None], ["y"]))
    there = found.drop(index=["records"], level="metric").xs("y", level="class")
    assert there.dropna().index.tolist() == defined
    assert found["records", "all"] == len(measured)


def test_a_constant_prediction_has_no_correlation():
    found = cells(evaluate(np.array([[1.0], [2.0], [6.0]]), np.full((3, 1), 3.0), ["y"]))
    assert np.isnan(found["pearson", "all"]) and np.isnan(found["spearman", "all"])
    assert found["r2", "all"] == 0


def test_conformal_half_widths_are_the_corrected_quantile():
    errors = np.arange(1.0, 20)
    assert half_width(errors, 0.9) == 18  # the 18th of 19: ceil(20 * 0.9)
    assert half_width(errors, 0.95) == 19
    assert half_width(errors, 0.96) is None
    assert (values_needed(0.9), values_needed(0.95)) == (9, 19)
    assert half_width(errors[:9], 0.9) == 9 and half_width(errors[:8], 0.9) is None
    widths = half_widths(np.array([[0.0, NAN], [3.0, 1.0]]), np.zeros((2, 2), np.float32), 0.5)
    assert widths == [3.0, 1.0]


def test_conformal_intervals_cover_what_they_promise_whatever_the_distribution():
    rng = np.random.default_rng(2)
    inside = []
    for _ in range(400):
        errors = np.abs(rng.standard_cauchy(40))
        inside.append(np.abs(rng.standard_cauchy(50)) <= half_width(errors[:39], 0.8))
    # Exactly k / (n + 1) = 32 / 40 on average; 400 draws of it are known to about 0.01.
    assert np.mean(inside) == pytest.approx(0.8, abs=0.015)


def fold(n=40, predicted=None):
    rng = np.random.default_rng(3)
    truth = rng.normal(size=(2 * n, 2)).astype(np.float32)
    truth[::3, 1] = NAN
    predicted = np.nan_to_num(truth) + rng.normal(0, 0.5, truth.shape) if predicted is None else predicted
    ids, roles = np.arange(2 * n).astype(str), np.repeat(["validation", "test"], n)
    return Scores(ids, roles, truth, predicted.astype(np.float32))


def test_calibration_adds_intervals_and_moves_nothing():
    scores, names, judging = fold(), ["leaf", "proto"], regression().judging
    made = judging.evaluate(scores, names, "m", 0, EvaluationSettings(coverage=0.8))
    assert made.calibrator["method"] == "conformal" and json.dumps(made.calibrator)
    table = made.metrics.set_index(["split", "stage", "metric", "class"])["value"]
    for metric in ("mse", "r2", "spearman"):
        assert table["test", "raw", metric, "leaf"] == table["test", "calibrated", metric, "leaf"]
    assert ("test", "raw", "coverage", "all") not in table.index
    width = made.calibrator["half_width"][1]
    test = scores.part("test")
    off = np.abs(test.label - test.logits)[:, 1]
    assert table["test", "calibrated", "coverage", "proto"] == (off[~np.isnan(off)] <= width).mean()
    np.testing.assert_array_equal(judging.calibrated(made.calibrator, test.logits), test.logits)
    shown = judging.predictions(test.logits.astype(float), np.ones(40), names, made.calibrator, 5)
    assert list(shown) == [f"{o}_{e}" for o in names for e in ("value", "low", "high")]
    np.testing.assert_allclose(shown["proto_high"] - shown["proto_value"], width)


def test_few_validation_values_give_a_note_and_no_interval():
    made = regression().judging.evaluate(fold(8), ["leaf", "proto"], "m", 0, EvaluationSettings())
    assert made.calibrator["half_width"] == [None, None] and "needs 9 validation values" in made.calibrator["note"]
    assert made.metrics.query("metric == 'coverage'")["value"].isna().all()
    none = regression().judging.calibrate(fold().part("validation"), EvaluationSettings("none"))
    assert none["half_width"] == [None, None] and "note" not in none


def test_coverage_by_prediction_finds_where_intervals_are_too_narrow():
    predicted = np.arange(500.0)
    off = np.where(predicted >= 400, 3.0, 0.5)
    given = {"measured": (predicted + off)[:, None], "predicted": predicted[:, None], "half_width": np.array([1.0])}
    assert coverage_by_prediction([given], 0).tolist() == [1, 1, 1, 1, 0]


@pytest.mark.parametrize("kind", ["mse", "huber"])
def test_the_loss_masks_missing_values_and_counts_outputs_equally(kind):
    rng = np.random.default_rng(4)
    targets = np.column_stack([rng.normal(100, 50, 80), rng.normal(0, 0.01, 80)]).astype(np.float32)
    targets[:60, 1] = NAN
    loss = regression(loss=kind).learning.loss({}, targets, 2)
    values = torch.zeros(80, 2, requires_grad=True)
    found = loss(values, torch.from_numpy(targets))
    found.backward()
    each = np.abs(targets.astype(float)) / np.nanstd(targets.astype(float), axis=0)
    each = each**2 if kind == "mse" else np.where(each < 1, each**2 / 2, each - 0.5)
    assert found.item() == pytest.approx(np.nanmean(each, axis=0).mean(), rel=1e-4)
    assert values.grad.isfinite().all() and (values.grad[:60, 1] == 0).all() and (values.grad[60:, 1] != 0).all()


def test_the_head_starts_at_the_mean_of_the_training_part_and_keeps_its_units_in_half_precision():
    targets = np.array([[1000.0, NAN], [1010.0, 0.5], [NAN, 0.5]], np.float32)
    head = regression().learning.fitted_head({"problem_type": "regression"}, targets)
    assert head["mean"] == [1005.0, 0.5] and head["sd"] == [5.0, 1.0]
    layer = ScaledLinear(4, 2, head["mean"], head["sd"])
    torch.nn.init.zeros_(layer.bias)
    half = layer.to(torch.bfloat16)
    assert half(torch.zeros(1, 4, dtype=torch.bfloat16)).tolist() == [[1005.0, 0.5]]
    with pytest.raises(UserError, match="has a value of 'proto'"):
        regression().learning.fitted_head({}, targets[:1])


def test_ridge_against_scikit_learn():
    rng = np.random.default_rng(5)
    features = sparse.random_array((70, 12), density=0.4, rng=rng).tocsr()
    values = features.toarray() @ rng.normal(size=12) + rng.normal(3, 0.5, 70)
    slopes, offset, penalty = ridge(features, values)
    model = Ridge(alpha=penalty).fit(features.toarray(), values)
    np.testing.assert_allclose(slopes, model.coef_, atol=1e-8)
    assert offset == pytest.approx(model.intercept_)
    # Generalised cross-validation from the hat matrix itself.
    centred = features.toarray() - features.toarray().mean(axis=0)
    errors = []
    for alpha in PENALTIES:
        hat = centred @ np.linalg.solve(centred.T @ centred + alpha * np.eye(12), centred.T) + 1 / 70
        rest = ((values - hat @ values) ** 2).sum()
        errors.append(70 * rest / (70 - np.trace(hat)) ** 2)
    assert penalty == PENALTIES[int(np.argmin(errors))]


def test_baselines_mask_missing_values():
    rng = np.random.default_rng(6)
    vectors = rng.normal(size=(60, 3)).astype(np.float32)
    targets = np.column_stack([vectors[:, 0] * 2 + 10, vectors[:, 1]]).astype(np.float32)
    targets[:30, 0] = NAN
    kind = regression()
    mean = kind.baseline("mean").logits(vectors, targets, vectors[:2], 2, {}, 0, 1)
    np.testing.assert_allclose(mean, np.tile(np.nanmean(targets, axis=0), (2, 1)), rtol=1e-5)
    fitted = kind.baseline("vector_ridge").logits(vectors, targets, vectors[:30], 2, {}, 0, 1)
    np.testing.assert_allclose(fitted[:, 0], vectors[:30, 0] * 2 + 10, atol=0.05)


def resolved(**changes):
    given = {
        "name": "t",
        "task": "regression",
        "data": {"sequences": "s.fa", "labels": "l.csv", "columns": {"label": ["leaf", "proto"]}},
        "models": {"m": {"backbone": "builtin:nt-mini"}},
    }
    for key, value in changes.items():
        *path, last = key.split("__")
        inner = given
        for name in path:
            inner = inner.setdefault(name, {})
        inner[last] = value
    return config.resolve(given)


def test_the_configuration_of_a_regression():
    found = resolved()
    assert found["models"]["m"]["training"]["metric"] == "r2"
    assert found["baselines"]["methods"] == ["mean", "kmer_ridge"]
    assert task_of(found)["options"] == {"loss": "mse", "labels": None, "columns": ["leaf", "proto"]}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"models__m__pooling": "architecture"}, "models.m.pooling"),
        ({"models__m__training": {"label_smoothing": 0.1}}, "label_smoothing' has no effect"),
        ({"models__m__training": {"imbalance": "focal"}}, "models.m.training.imbalance"),
        ({"models__m__training": {"metric": "accuracy"}}, "expected one of mse, r2, pearson, spearman"),
        ({"data__label_map": ["leaf"]}, "data.label_map"),
        ({"data__columns": {"label": ["all", "leaf"]}}, "'all' is the word for averages"),
        ({"data__columns": {"label": ["leaf", "leaf"]}}, "data.columns.label"),
        ({"filter": {"conflicts": "drop"}}, "repeated measurements"),
        ({"calibration": {"method": "platt"}}, "expected one of auto, none, conformal"),
        ({"baselines": {"methods": ["naive_bayes"]}}, "expected one of mean, kmer_ridge, vector_ridge"),
        ({"baselines": {"methods": ["vector_ridge"]}}, "vector_ridge needs the table 'data.vectors'"),
        ({"regression": {"loss": "mae"}}, "expected one of mse, huber"),
    ],
)
def test_what_does_not_go_with_values_is_refused(change, said):
    with pytest.raises(UserError, match=r"Configuration") as found:
        resolved(**change)
    assert said in str(found.value)


def test_intervals_of_unbounded_metrics_are_not_cut():
    values = {"r2": [-3.0, -2.0], "rmse": [40.0, 50.0], "pearson": [0.97, 0.99]}
    rows = [["m", k, "test", "raw", m, "all", v] for m, pair in values.items() for k, v in enumerate(pair)]
    found = compare(pd.DataFrame(rows, columns=METRIC_COLUMNS)).set_index("metric")
    assert found.loc["r2", "ci_low"] < -3 and found.loc["r2", "ci_high"] > -2
    assert found.loc["rmse", "ci_high"] > 50
    assert found.loc["pearson", "ci_high"] == 1


@pytest.mark.parametrize("values", [30, 1500])
def test_figures_of_values_are_drawn_with_plain_numbers(values, tmp_path):
    predicted = np.random.default_rng(7).normal(size=(values, 1)).astype(np.float32)
    given = {
        "outputs": np.array(["a$1 $b"]),
        "measured": predicted + np.float32(0.5),
        "predicted": predicted,
        "half_width": np.array([np.nan]),
        "asked": np.array(0.9),
        "levels": np.array([0.5, 0.9]),
        "coverage": np.array([[0.4], [np.nan]]),
    }
    scatter = predicted_measured([given], "nt-mini")
    for number, figure in enumerate((scatter, interval_coverage([given], "nt-mini"), predicted_measured([]))):
        save_figure(figure, tmp_path / f"{number}.svg", tmp_path / f"{number}.png")
    words = [text.get_text() for axes in scatter.axes for text in (*axes.get_xticklabels(), *axes.get_yticklabels())]
    assert any(words) and not any("$" in word for word in words)
    assert f"R2 {r2_score(given['measured'], predicted):.3f}" in scatter.axes[0].get_title(loc="left")
