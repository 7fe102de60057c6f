"""The report's tables of ranks: how good names are at each, where mistakes land, what becomes of unknown labels.

The run's tables in; smaller tables out. Figures of ranks are metrics such as ``accuracy@genus`` (``rank_metrics``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from dnatune.rank_metrics import NOWHERE, at
from dnatune.unknown_kinds import kinds_and_all

# What best guesses are worth, and what final answers are; then those of sequences never seen, of new taxa.
GUESSED = ("accuracy", "f1_macro", "log_loss", "ece")
ANSWERED = ("named", "named_right", "misclassified")
NEW = ("novel", "overclassified")
UNKNOWN = (*NEW, "records", "accuracy", *ANSWERED)


def ranks(comparison: pd.DataFrame, models: Sequence[str], names: Sequence[str]) -> pd.DataFrame:
    """Return model, rank and calibrated test figures, means over folds; ``names`` of ranks, low to high.

    ``novel`` and ``overclassified`` are those of unknown sequences: how many are of a taxon that was not trained, and
    the share of these that is named all the same.
    """
    calibrated = comparison[comparison["stage"] == "calibrated"]
    # A log loss of 2e-16 is that of certainty as far as numbers go: 0.
    means = calibrated.set_index(["split", "model", "metric"])["mean"].round(12).to_dict()
    rows = []
    for model in models:
        for name in names:
            # What all names have is not said twice: at the label's own rank accuracy is called accuracy.
            wanted = {m: ("test", m if name == names[0] else at(m, name)) for m in GUESSED}
            wanted |= {m: ("test", at(m, name)) for m in ANSWERED} | {m: ("unknown", at(m, name)) for m in NEW}
            values = {m: means.get((split, model, metric), math.nan) for m, (split, metric) in wanted.items()}
            rows.append({"model": model, "rank": name, **values})
    return pd.DataFrame(rows, columns=["model", "rank", *GUESSED, *ANSWERED, *NEW])


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


def unknowns(metrics: pd.DataFrame, model: str | None, names: Sequence[str]) -> pd.DataFrame:
    """Return kind, rank and the figures ``UNKNOWN`` of sequences whose label was not trained: means over folds.

    ``metrics`` are the rows of metrics.tsv. Where there is one kind of them only, ``all`` is left out. Ranks at which
    nothing is stated are too.
    """
    mine = metrics[(metrics["model"] == model) & (metrics["split"] == "unknown")]
    means = mine.groupby(["class", "metric"])["value"].mean().to_dict()
    kinds = kinds_and_all(kind for kind, metric in means if metric == at("novel", names[0]))
    kinds = kinds if len(kinds) > 2 else kinds[:1]
    rows = [
        {"kind": kind, "rank": name, **{m: means.get((kind, at(m, name)), math.nan) for m in UNKNOWN}}
        for kind in kinds
        for name in names
    ]
    table = pd.DataFrame(rows, columns=["kind", "rank", *UNKNOWN])
    return table[(table["records"] > 0) | (table["novel"] > 0)].reset_index(drop=True)


def together(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of ``unknowns`` for all kinds together."""
    return table[table["kind"] == table["kind"].iloc[-1]].reset_index(drop=True) if len(table) else table
