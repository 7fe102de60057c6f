"""The report's tables of ranks: how good names are at each, where mistakes land, what becomes of unknown labels.

The run's tables in; smaller tables out. Figures of ranks are metrics such as ``accuracy@genus`` (``rank_metrics``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from dnatune.rank_metrics import NOWHERE, at

SHOWN = ("accuracy", "f1_macro", "log_loss", "ece", "named", "named_right")
UNKNOWN = ("records", "accuracy", "named", "named_right")


def ranks(comparison: pd.DataFrame, models: Sequence[str], names: Sequence[str]) -> pd.DataFrame:
    """Return model, rank and calibrated test figures, means over folds; ``names`` of ranks, low to high."""
    mine = comparison[(comparison["split"] == "test") & (comparison["stage"] == "calibrated")]
    # A log loss of 2e-16 is that of certainty as far as numbers go: 0.
    means = mine.set_index(["model", "metric"])["mean"].round(12).to_dict()
    rows = [
        {"model": model, "rank": name, **{m: means.get((model, _metric(m, name, names)), math.nan) for m in SHOWN}}
        for model in models
        for name in names
    ]
    return pd.DataFrame(rows, columns=["model", "rank", *SHOWN])


def _metric(metric: str, rank: str, names: Sequence[str]) -> str:
    # What all names have is not said twice: at the label's own rank accuracy is called accuracy.
    return metric if rank == names[0] and not metric.startswith("named") else at(metric, rank)


def mistakes(table: pd.DataFrame, model: str | None, names: Sequence[str]) -> pd.DataFrame:
    """Return rank, count, share (of wrong names), share_of_tested and lands, for wrong names of one model, all folds.

    ``table`` are the folds' rank_mistakes.tsv; ``rank`` is the lowest that is right, ``none`` where none is.
    """
    columns = ["rank", "count", "share", "share_of_tested", "lands"]
    mine = table[table["model"] == model] if len(table) else table
    if mine.empty:
        return pd.DataFrame(columns=columns)
    counts = mine.groupby("rank")["count"].sum()
    wrong = [*names[1:], NOWHERE]
    found = pd.DataFrame({"rank": wrong, "count": [int(counts.get(name, 0)) for name in wrong]})
    found["share"] = found["count"] / max(1, found["count"].sum())
    found["share_of_tested"] = found["count"] / max(1, counts.sum())
    lower = [names[wrong.index(name)] for name in wrong]
    found["lands"] = [
        f"wrong {below}, right {name}" if name != NOWHERE else f"wrong at every rank, {below} included"
        for name, below in zip(wrong, lower, strict=True)
    ]
    return found[columns]


def unknowns(comparison: pd.DataFrame, model: str | None, names: Sequence[str]) -> pd.DataFrame:
    """Return rank, records, accuracy, named, named_right of sequences whose label was not trained: means over folds."""
    mine = comparison[(comparison["model"] == model) & (comparison["split"] == "unknown")]
    means = mine.set_index("metric")["mean"].to_dict()
    rows = [{"rank": name, **{m: means.get(at(m, name), math.nan) for m in UNKNOWN}} for name in names]
    table = pd.DataFrame(rows, columns=["rank", *UNKNOWN])
    return table[table["records"] > 0].reset_index(drop=True)
