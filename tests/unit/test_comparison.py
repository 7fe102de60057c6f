import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score, log_loss

from dnatune import comparison
from dnatune.comparison import compare, read_metrics
from dnatune.errors import UserError
from dnatune.evaluation import evaluate_fold
from dnatune.files import write_tsv
from dnatune.scores import Scores, probabilities
from dnatune.tasks import task
from dnatune.tasks.base import EvaluationSettings

A, B = [0.90, 0.92, 0.95, 0.91, 0.93], [0.88, 0.91, 0.90, 0.90, 0.94]


def paired_tests(metrics, test_share):
    return comparison.paired_tests(metrics, test_share, task("multiclass").tested)


def table(values, model, metric="accuracy", stage="calibrated"):
    rows = [[model, k, "test", stage, metric, "all", v] for k, v in enumerate(values)]
    return pd.DataFrame(rows, columns=comparison.METRIC_COLUMNS)


def test_mean_spread_and_interval_over_folds():
    row = compare(table(A, "m")).iloc[0]
    low, high = stats.t.interval(0.95, 4, loc=np.mean(A), scale=stats.sem(A))
    assert (row["mean"], row["sd"]) == (pytest.approx(np.mean(A)), pytest.approx(np.std(A, ddof=1)))
    assert (row["ci_low"], row["ci_high"], row["folds"]) == (pytest.approx(low), pytest.approx(high), 5)


def test_one_fold_has_no_spread_and_class_rows_are_left_out():
    metrics = pd.concat([table([0.9], "m"), table([0.1], "m").assign(**{"class": "Gadus morhua"})])
    found = compare(metrics)
    assert len(found) == 1 and found.iloc[0]["mean"] == 0.9
    assert found[["sd", "ci_low", "ci_high"]].isna().all(axis=None)


def test_the_paired_test_is_nadeau_and_bengios():
    row = paired_tests(pd.concat([table(A, "a"), table(B, "b")]), test_share=0.25).iloc[0]
    d = np.subtract(A, B)
    t = d.mean() / np.sqrt((1 / 5 + 0.25) * d.var(ddof=1))
    assert row["difference"] == pytest.approx(d.mean())
    assert row["p_value"] == pytest.approx(2 * (1 - stats.t.cdf(abs(t), 4)))
    # Without shared training records it is the plain paired t-test.
    plain = paired_tests(pd.concat([table(A, "a"), table(B, "b")]), test_share=0.0).iloc[0]
    expected = stats.ttest_rel(A, B)
    assert plain["p_value"] == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval(0.95)
    assert (plain["ci_low"], plain["ci_high"]) == (pytest.approx(interval.low), pytest.approx(interval.high))


def test_equal_models_and_single_folds():
    same = paired_tests(pd.concat([table(A, "a"), table(A, "b")]), 0.25).iloc[0]
    assert (same["difference"], same["p_value"]) == (0, 1)
    single = paired_tests(pd.concat([table(A[:1], "a"), table(B[:1], "b")]), 0.25).iloc[0]
    assert single["folds"] == 1 and np.isnan(single["p_value"])
    assert single["difference"] == pytest.approx(0.02)


def test_raw_figures_are_not_tested_and_one_model_gives_no_pair():
    assert len(paired_tests(pd.concat([table(A, "a", stage="raw"), table(B, "b", stage="raw")]), 0.25)) == 0
    assert len(paired_tests(table(A, "a"), 0.25)) == 0


def test_tables_are_read_with_undefined_values_and_names_like_NA(tmp_path):
    written = table([0.5, np.nan], "NA").assign(**{"class": ["all", "NA"]})
    write_tsv(tmp_path / "one.tsv", written)
    write_tsv(tmp_path / "two.tsv", table([0.25], "b"))
    found = read_metrics([tmp_path / "one.tsv", tmp_path / "two.tsv"])
    assert found["model"].tolist() == ["NA", "NA", "b"]
    assert found["class"].tolist() == ["all", "NA", "all"]
    assert found["value"].tolist() == [0.5, pytest.approx(np.nan, nan_ok=True), 0.25]
    with pytest.raises(UserError, match="a name of its own"):
        read_metrics([tmp_path / "two.tsv", tmp_path / "two.tsv"])


def test_test_records_per_training_record(tmp_path):
    roles = ["test"] * 2 + ["train"] * 4 + ["validation"] + ["test"] * 3 + ["train"] * 4
    folds = [0] * 7 + [1] * 7
    write_tsv(tmp_path / "f.tsv", pd.DataFrame({"fold": folds, "id": range(14), "role": roles}))
    assert comparison.tested_per_trained(tmp_path / "f.tsv") == pytest.approx((0.5 + 0.75) / 2)


def test_a_fold_is_evaluated_from_its_scores_alone():
    rng = np.random.default_rng(0)
    n, classes = 400, 12
    label = rng.integers(0, classes - 1, n)
    role = np.array(["validation", "test", "test", "unknown"])[np.arange(n) % 4]
    label[role == "unknown"] = -1
    logits = rng.normal(0, 1, (n, classes)) + 2 * (np.arange(classes) == label[:, None])
    scores = Scores(np.arange(n).astype(str), role, label, (4 * logits).astype(np.float32))
    names = [f"s{c}" for c in range(classes)]
    settings = EvaluationSettings(top_k=4, seed=1)
    result = evaluate_fold(scores, names, "m", 3, task("multiclass"), settings)
    values = result.metrics.set_index(["split", "stage", "metric", "class"])["value"]
    test = scores.part("test")
    p = probabilities(test.logits)
    expected = log_loss(test.label, p, labels=range(12))
    assert values["test", "raw", "log_loss", "all"] == pytest.approx(expected)
    area = [average_precision_score(test.label == c, p[:, c]) for c in range(11)]
    assert values["test", "raw", "pr_auc_macro", "all"] == pytest.approx(np.mean(area))
    assert values["test", "calibrated", "log_loss", "all"] < values["test", "raw", "log_loss", "all"]
    stages = set(result.metrics[["split", "stage"]].itertuples(index=False, name=None))
    assert stages == {("validation", "raw"), ("test", "raw"), ("test", "calibrated"), ("unknown", "calibrated")}
    assert set(result.metrics.query("`class` != 'all'")["split"]) == {"test", "unknown"}
    assert result.metrics["fold"].eq(3).all() and result.metrics["model"].eq("m").all()
    assert result.curves["reliability_raw"][:, 0].sum() == 200
    assert result.curves["pr_recall"].shape == result.curves["pr_precision_calibrated"].shape
    wrong = (1 - values["test", "calibrated", "accuracy", "all"]) * 200
    assert result.tables["confusions"]["count"].sum() == pytest.approx(wrong)
    without_unknown = Scores(*(f[role != "unknown"] for f in (scores.id, role, label, scores.logits)))
    again = evaluate_fold(without_unknown, names, "m", 3, task("multiclass"), settings)
    of_known = result.metrics[result.metrics["split"] != "unknown"].reset_index(drop=True)
    assert again.metrics.equals(of_known)
