"""How far predicted values are from measured ones: figures for each output and their averages.

Takes measured and predicted values (n, outputs), NaN where nothing was measured; gives a tidy table. A figure
that is not defined (too few values, no spread) is NaN and counts in no average.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

POINT = ("mse", "rmse", "mae", "r2", "pearson", "spearman")


def evaluate(
    measured: np.ndarray,
    predicted: np.ndarray,
    names: Sequence[str],
    half_width: Sequence[float | None] | None = None,
    per_output: bool = True,
) -> pd.DataFrame:
    """Return a tidy table (metric, class, value): averages over outputs with class ``all``, then each output.

    ``half_width`` (outputs,) of the intervals round the predictions, in the outputs' units, adds their coverage
    and width. ``records`` counts values; for ``all`` the records with any value.
    """
    measured, predicted = np.asarray(measured, np.float64), np.asarray(predicted, np.float64)
    if measured.shape != predicted.shape or measured.shape[1] != len(names):
        raise ValueError(f"measured {measured.shape} and predicted {predicted.shape} do not fit {len(names)} outputs")
    columns: dict[str, dict[str, float]] = {}
    for i, name in enumerate(names):
        there = ~np.isnan(measured[:, i])
        own = point_metrics(measured[there, i], predicted[there, i])
        if half_width is not None:
            own |= interval_metrics(measured[there, i], predicted[there, i], half_width[i])
        columns[name] = {**own, "records": int(there.sum())}
    table = pd.DataFrame(columns).T
    averages = table.drop(columns="records").mean()
    averages["records"] = float((~np.isnan(measured)).any(axis=1).sum())
    rows = [pd.DataFrame({"metric": averages.index, "class": "all", "value": averages.to_numpy()})]
    if per_output:
        rows += [
            pd.DataFrame({"metric": metric, "class": list(names), "value": table[metric].to_numpy(float)})
            for metric in table.columns
        ]
    return pd.concat(rows, ignore_index=True)


def point_metrics(measured: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Return the figures of ``POINT`` for values (n,): errors need one value, the others two different ones.

    R2 is 1 - (sum of squared errors) / (sum of squares round the mean of ``measured``): negative where answering
    that mean would be better. Correlations need predictions that differ, too.
    """
    if not len(measured):
        return dict.fromkeys(POINT, np.nan)
    error = predicted - measured
    mse = float(np.mean(error**2))
    spread = float(((measured - measured.mean()) ** 2).sum())
    return {
        "mse": mse,
        "rmse": float(np.sqrt(mse)),
        "mae": float(np.abs(error).mean()),
        "r2": 1 - float((error**2).sum()) / spread if spread > 0 else np.nan,
        "pearson": correlation(measured, predicted),
        "spearman": correlation(rankdata(measured), rankdata(predicted)),
    }


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Return Pearson's correlation of two arrays (n,), NaN where one of them does not vary."""
    first, second = first - first.mean(), second - second.mean()
    # Rounding leaves a trace of spread in a constant; relative to the values it is nothing.
    size = np.sqrt((first @ first) * (second @ second))
    return float(np.clip(first @ second / size, -1, 1)) if size > 0 else np.nan


def interval_metrics(measured: np.ndarray, predicted: np.ndarray, half_width: float | None) -> dict[str, float]:
    """Return the share of values (n,) within ``half_width`` of their prediction, and the whole width."""
    if half_width is None or not len(measured):
        return {"coverage": np.nan, "interval_width": np.nan}
    inside = np.abs(predicted - measured) <= half_width
    return {"coverage": float(inside.mean()), "interval_width": 2.0 * half_width}


def averages(table: pd.DataFrame) -> dict[str, Any]:
    """Return the averages of what ``evaluate`` gave, by metric."""
    return table[table["class"] == "all"].set_index("metric")["value"].to_dict()
