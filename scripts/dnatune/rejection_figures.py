"""How well unknown sequences are told from known ones: the figures of one fold, and the points of their curves.

In: scores of a fold with their final answers, and what ``rejection.fit`` gave. Out: rows for metrics.tsv (split
``test`` of known records; split ``unknown``, class one of ``unknown_kinds``, or ``all`` of them together) and arrays
for curves.npz. Test records are only judged here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from dnatune.final_answer import Judged
from dnatune.rejection import auroc, rejection_scores
from dnatune.unknown_kinds import kinds_and_all, masks_of_kinds

COLUMNS = ["split", "stage", "metric", "class", "value"]
SHARES = np.arange(1, 101) / 100
# The share of known test records that is kept where models are compared.
KEPT = 0.95


def evaluate_rejection(
    test: Judged, unknown: Judged, fitted: Mapping[str, Any] | None, left_out: Mapping[str, int] | None = None
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Return rows (split, stage, metric, class, value) and the arrays of the curves.

    ``fitted`` is what ``rejection.fit`` gave, ``left_out`` how many records of each kind are not scored because they
    share a sequence or cluster with a known one. A name is that of the final answer: with ranks one that is rejected or
    not sure enough is none.

    Of unknown records: ``records`` and ``left_out``; for each score ``auroc_<score>`` against the test records and
    ``rejected_<score>``, the share above that score's threshold; of the chosen score ``auroc``, ``rejected``, and
    ``rejected_at_95`` (``line_at``); ``rejected_of_all`` and ``rejected_at_95_of_all`` count those left out as
    accepted; ``overclassified``, the share that gets a name (over-classification of Murali et al. 2018). Of known
    (test) records: ``rejected`` (false alarms), ``misclassified``, the share that gets a wrong name (their
    misclassification), ``underclassified``, the share whose best guess is right and that gets no name, and
    ``accuracy_named`` among those that get a name.
    """
    if not fitted or not fitted["thresholds"] or not len(test.scores.id):
        return pd.DataFrame(columns=COLUMNS), {}
    right, named = test.p.argmax(axis=1) == test.scores.label, test.answer.named()
    known = rejection_scores(test.p, test.scores.evidence)
    other = rejection_scores(unknown.p, unknown.scores.evidence)
    chosen, thresholds = fitted["score"], fitted["thresholds"]
    values = {
        "rejected": test.answer.rejected.mean(),
        "misclassified": (named & ~right).mean(),
        "underclassified": (~named & right).mean(),
        "accuracy_named": right[named].mean() if named.any() else np.nan,
        **{f"rejected_{name}": (known[name] > limit).mean() for name, limit in thresholds.items()},
    }
    rows = [("test", metric, "all", value) for metric, value in values.items()]
    curves = {
        "rejection_score": np.array(chosen),
        "rejection_threshold": np.array(thresholds[chosen]),
        "rejection_known": known[chosen],
        "named_share": SHARES,
        "named_accuracy": accuracy_of_named(known[chosen], right),
    }
    line = line_at(known[chosen], KEPT)
    left = {kind: count for kind, count in (left_out or {}).items() if count}
    masks = masks_of_kinds(unknown.scores)
    for name in kinds_and_all({*masks, *left}):
        mask = masks.get(name, np.zeros(len(unknown.scores.id), bool))
        values = {"records": mask.sum(), "left_out": sum(left.values()) if name == "all" else left.get(name, 0)}
        rejected, above = unknown.answer.rejected[mask], other[chosen][mask] > line
        if values["left_out"]:
            count = len(rejected) + values["left_out"]
            values |= {"rejected_of_all": rejected.sum() / count, "rejected_at_95_of_all": above.sum() / count}
        if mask.any():
            values |= {"auroc": auroc(known[chosen], other[chosen][mask]), "rejected": rejected.mean()}
            values |= {"rejected_at_95": above.mean(), "overclassified": unknown.answer.named()[mask].mean()}
            for score, limit in thresholds.items():
                values[f"auroc_{score}"] = auroc(known[score], other[score][mask])
                values[f"rejected_{score}"] = (other[score][mask] > limit).mean()
        rows += [("unknown", metric, name, value) for metric, value in values.items()]
        if name != "all" and mask.any():
            curves[f"rejection_{name}"] = other[chosen][mask]
    table = pd.DataFrame(rows, columns=["split", "metric", "class", "value"])
    return table.assign(stage="calibrated", value=table["value"].astype(float))[COLUMNS], curves


def line_at(known: np.ndarray, kept: float) -> float:
    """Return the lowest score (n,) that at least the share ``kept`` of known records does not exceed.

    Of test records: an operating point that is the same for all models, for comparing them. Nobody has it when a new
    sequence comes; the thresholds that are used come from validation.
    """
    return float(np.sort(known)[int(np.ceil(kept * len(known) - 1e-9)) - 1])


def accuracy_of_named(score: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the accuracy (100,) among the share of known records with the lowest scores, for each of ``SHARES``.

    The risk-coverage curve of selective classification (Geifman & El-Yaniv 2017), risk = 1 - accuracy.
    """
    order = np.argsort(score, kind="stable")
    counts = np.maximum(1, np.ceil(SHARES * len(score) - 1e-9).astype(np.int64))
    return np.cumsum(right[order])[counts - 1] / counts
