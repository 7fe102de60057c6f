"""Models side by side: one table of all metrics, its mean and spread over folds, and paired tests.

Takes the folds' metrics tables and ``folds.tsv``; gives the tables ``metrics.tsv``, ``comparison.tsv`` and
``paired_tests.tsv``.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from dnatune.errors import UserError

METRIC_COLUMNS = ["model", "fold", "split", "stage", "metric", "class", "value"]
COMPARISON_COLUMNS = ["model", "split", "stage", "metric", "mean", "sd", "ci_low", "ci_high", "folds"]
TEST_COLUMNS = ["test", "metric", "model_a", "model_b", "difference", "ci_low", "ci_high", "p_value", "p_holm"]
TEST_COLUMNS += ["folds", "groups"]
CONFIDENCE = 0.95

SHARE = (0.0, 1.0)
RANGES = {
    "mcc": (-1.0, 1.0),
    "brier": (0.0, 2.0),
    "log_loss": (0.0, np.inf),
    "r2": (-np.inf, 1.0),
    "pearson": (-1.0, 1.0),
    "spearman": (-1.0, 1.0),
    **dict.fromkeys(("mse", "rmse", "mae", "interval_width"), (0.0, np.inf)),
    **dict.fromkeys(("records", "novel", "left_out"), (0.0, np.inf)),
    "bases": (0.0, np.inf),
    "classes_present": (0.0, np.inf),
    **dict.fromkeys(("set_size", "set_size_median"), (0.0, np.inf)),
    "set_records": (0.0, np.inf),
}


def read_metrics(paths: Sequence[str | Path]) -> pd.DataFrame:
    """Return all metrics tables as one, columns ``METRIC_COLUMNS``, in the order of ``paths``.

    Raises ``UserError`` where a table lacks a column or where two tables tell of the same model and fold.
    """
    tables, seen = [], {}
    for path in paths:
        # No text counts as missing: a class may be called "NA", and an undefined value is an empty cell.
        table = pd.read_csv(path, sep="\t", dtype={"model": str, "class": str}, keep_default_na=False)
        missing = [c for c in METRIC_COLUMNS if c not in table.columns]
        if missing:
            raise UserError(f"{path}: no column {missing[0]}, expected {', '.join(METRIC_COLUMNS)}.")
        for key in table[["model", "fold"]].drop_duplicates().itertuples(index=False, name=None):
            if key in seen:
                raise UserError(
                    f"{path}: model '{key[0]}' fold {key[1]} is also in {seen[key]}; give each model and "
                    "baseline a name of its own."
                )
            seen[key] = path
        tables.append(table[METRIC_COLUMNS].assign(value=pd.to_numeric(table["value"], errors="coerce")))
    return pd.concat(tables, ignore_index=True)


def compare(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return model, split, stage, metric, mean, sd, ci_low, ci_high, folds over the averages (class all).

    The interval is the 95 % t interval of the mean over folds; sd and interval are NaN for one fold.
    Undefined values are left out, and ``folds`` says how many were used.
    """
    averages = metrics[metrics["class"] == "all"]
    keys = ["model", "split", "stage", "metric"]
    table = averages.groupby(keys, sort=False)["value"].agg(["mean", "std", "count"]).reset_index()
    table = table.rename(columns={"std": "sd", "count": "folds"})
    half = _t_quantile(table["folds"]) * table["sd"] / np.sqrt(table["folds"].clip(lower=1))
    # A metric at a rank (accuracy@genus) has the range of the metric.
    kind = table["metric"].str.partition("@")[0]
    low, high = (kind.map(lambda name, i=i: RANGES.get(name, SHARE)[i]) for i in (0, 1))
    # With few folds a t-interval can leave the range that a metric has at all.
    table["ci_low"] = np.maximum(table["mean"] - half, low)
    table["ci_high"] = np.minimum(table["mean"] + half, high)
    return table[COMPARISON_COLUMNS]


def paired_tests(metrics: pd.DataFrame, test_share: float, tested: Sequence[str]) -> pd.DataFrame:
    """Compare all pairs of models on the ``tested`` calibrated test metrics by the corrected resampled t-test.

    Returns ``TEST_COLUMNS``: test (folds), metric, model_a, model_b, difference (a minus b, mean over folds), ci_low,
    ci_high, p_value, p_holm (``holm`` over all rows), folds, groups (none). ``test_share`` is test records per
    training record. Folds share training records, so the variance of the mean is (1/k + n_test/n_train) times that
    of the differences (Nadeau & Bengio 2003). Interval and p are NaN for fewer than two common folds; where every
    fold has the same difference p is 1 or 0.
    """
    rows = []
    wanted = (metrics["class"] == "all") & (metrics["split"] == "test") & (metrics["stage"] == "calibrated")
    models = list(dict.fromkeys(metrics["model"]))
    for metric in tested:
        chosen = metrics[wanted & (metrics["metric"] == metric)]
        wide = chosen.pivot(index="fold", columns="model", values="value")
        for a, b in combinations([m for m in models if m in wide], 2):
            difference = (wide[a] - wide[b]).dropna().to_numpy()
            rows.append(["folds", metric, a, b, *corrected_t(difference, test_share), len(difference), np.nan])
    return with_holm(pd.DataFrame(rows, columns=[column for column in TEST_COLUMNS if column != "p_holm"]))


def with_holm(tests: pd.DataFrame) -> pd.DataFrame:
    """Return tests of one kind with p_holm, in the order of ``TEST_COLUMNS``."""
    return tests.assign(p_holm=holm(tests["p_value"].to_numpy(dtype=float)))[TEST_COLUMNS]


def holm(p: np.ndarray) -> np.ndarray:
    """Return p values (n,) corrected for their number, so that any false alarm at all has the stated chance.

    Holm (1979): the i-th smallest of m times m - i + 1, never below the one before it, at most 1. NaN is no test.
    """
    corrected = np.full(len(p), np.nan)
    order = np.argsort(p)[: int((~np.isnan(p)).sum())]
    steps = p[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected


def tested_per_trained(folds: str | Path) -> float:
    """Return the number of test records per training record of ``folds.tsv``, mean over folds."""
    table = pd.read_csv(folds, sep="\t", usecols=["fold", "role"])
    sizes = table.groupby("fold")["role"].value_counts().unstack(fill_value=0)
    return float((sizes["test"] / sizes["train"]).mean())


def corrected_t(difference: np.ndarray, test_share: float) -> tuple[float, float, float, float]:
    """Return mean, ci_low, ci_high and p of differences (folds,): the test of ``paired_tests``."""
    folds = len(difference)
    mean = float(difference.mean()) if folds else np.nan
    if folds < 2:
        return mean, np.nan, np.nan, np.nan
    error = float(np.sqrt((1 / folds + test_share) * difference.var(ddof=1)))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, folds - 1)) * error
    if error == 0:
        return mean, mean, mean, 1.0 if mean == 0 else 0.0
    p = float(2 * stats.t.sf(abs(mean) / error, folds - 1))
    return mean, mean - half, mean + half, p


def _t_quantile(folds: pd.Series) -> np.ndarray:
    freedom = np.maximum(folds.to_numpy() - 1, 1)
    return np.where(folds > 1, stats.t.ppf((1 + CONFIDENCE) / 2, freedom), np.nan)
