"""How well unknown sequences are told from known ones: the figures of one fold, and the points of their curves.

In: scores of a fold and its fitted calibrator. Out: rows for metrics.tsv (split ``test`` of known records; split
``unknown``, class one of ``unknown_kinds``, or ``all`` of them together) and arrays for curves.npz. Test records are
only judged here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from dnatune.rejection import auroc, rejection_scores
from dnatune.scores import Scores
from dnatune.unknown_kinds import masks_of_kinds

COLUMNS = ["split", "stage", "metric", "class", "value"]
SHARES = np.arange(1, 101) / 100


def evaluate_rejection(
    test: Scores, p: np.ndarray, unknown: Scores, of_unknown: np.ndarray, fitted: dict[str, Any] | None
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Return rows (split, stage, metric, class, value) and the arrays of the curves.

    ``p`` and ``of_unknown`` (n, classes) are the calibrated probabilities of test and of unknown records, ``fitted``
    is what ``rejection.fit`` gave.

    Of unknown records: ``records``; for each score ``auroc_<score>`` against the test records and
    ``rejected_<score>``, the share above that score's threshold; of the chosen score ``auroc``, ``rejected``, and
    ``overclassified``, the share that gets a name (over-classification of Murali et al. 2018). Of known (test)
    records: ``rejected`` (false alarms), ``misclassified``, the share that gets a wrong name (their
    misclassification), ``underclassified``, the share that would be named rightly and is rejected, and
    ``accuracy_named`` among those that get a name.
    """
    if not fitted or not fitted["thresholds"] or not len(test.id):
        return pd.DataFrame(columns=COLUMNS), {}
    right = p.argmax(axis=1) == test.label
    known = rejection_scores(p, test.evidence)
    other = rejection_scores(of_unknown, unknown.evidence)
    chosen, thresholds = fitted["score"], fitted["thresholds"]
    named = known[chosen] <= thresholds[chosen]
    values = {
        "rejected": 1 - named.mean(),
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
    for name, mask in masks_of_kinds(unknown).items():
        rejected = (other[chosen][mask] > thresholds[chosen]).mean()
        values = {"records": mask.sum(), "auroc": auroc(known[chosen], other[chosen][mask])}
        values |= {"rejected": rejected, "overclassified": 1 - rejected}
        for score, limit in thresholds.items():
            values[f"auroc_{score}"] = auroc(known[score], other[score][mask])
            values[f"rejected_{score}"] = (other[score][mask] > limit).mean()
        rows += [("unknown", metric, name, value) for metric, value in values.items()]
        if name != "all":
            curves[f"rejection_{name}"] = other[chosen][mask]
    table = pd.DataFrame(rows, columns=["split", "metric", "class", "value"])
    return table.assign(stage="calibrated", value=table["value"].astype(float))[COLUMNS], curves


def accuracy_of_named(score: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the accuracy (100,) among the share of known records with the lowest scores, for each of ``SHARES``.

    The risk-coverage curve of selective classification (Geifman & El-Yaniv 2017), risk = 1 - accuracy.
    """
    order = np.argsort(score, kind="stable")
    counts = np.maximum(1, np.ceil(SHARES * len(score) - 1e-9).astype(np.int64))
    return np.cumsum(right[order])[counts - 1] / counts
