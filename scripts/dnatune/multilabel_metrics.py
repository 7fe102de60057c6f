"""How good the probabilities of many labels are, and from which probability a label is given.

Takes probabilities (n, labels) and targets (n, labels) of 0 and 1; gives tidy tables. A label that no record of
a part has is left out of averages over labels, and counts in those over all decisions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dnatune.metrics import EPSILON, RECALL_GRID, expected_error, rank_one, reliability, tidy

DEFAULT_THRESHOLD = 0.5
# A label needs this many records, and as many without it, for a threshold or a calibration of its own.
OWN_FIT_RECORDS = 10


@dataclass(frozen=True)
class LabelRanking:
    """How well each label ranks its records: ``pr_auc`` and ``roc_auc`` (labels,), NaN where not defined;
    ``precision`` interpolated on ``RECALL_GRID``, the mean over labels with a record."""

    pr_auc: np.ndarray
    roc_auc: np.ndarray
    precision: np.ndarray


def rank_labels(probabilities: np.ndarray, targets: np.ndarray) -> LabelRanking:
    """Rank all records by each label's probability; ties share a threshold, as in scikit-learn."""
    labels = targets.shape[1]
    pr_auc, roc_auc = np.full(labels, np.nan), np.full(labels, np.nan)
    precision, present = np.zeros(len(RECALL_GRID)), np.flatnonzero(targets.any(axis=0))
    for label in present:
        column = probabilities[:, label].copy()
        pr_auc[label], roc_auc[label], best = rank_one(column, column[targets[:, label] > 0])
        precision += best
    return LabelRanking(pr_auc, roc_auc, precision / max(1, len(present)))


def evaluate_labels(
    probabilities: np.ndarray,
    targets: np.ndarray,
    thresholds: np.ndarray,
    names: Sequence[str],
    per_label: bool = True,
    ranking: LabelRanking | None = None,
) -> pd.DataFrame:
    """Return a tidy table (metric, class, value): averages with class ``all``, then one row per label.

    A label is given where its probability reaches its threshold (labels,). Macro averages are over labels with a
    record, ROC-AUC over those with a record without them besides; micro, Hamming loss (share of wrong decisions),
    log loss (nats), Brier score and ECE (15 equal bins of the probability) are over all n x labels decisions;
    subset accuracy is the share of records whose labels are all right. Without records only their number is given.
    """
    if not len(targets):
        return tidy({"records": 0, "classes_present": 0})
    truth, given = targets > 0, probabilities >= thresholds
    support, chosen, right = truth.sum(axis=0), given.sum(axis=0), (truth & given).sum(axis=0)
    present = support > 0
    precision, recall = right / np.maximum(chosen, 1), right / np.maximum(support, 1)
    f1 = 2 * right / np.maximum(support + chosen, 1)
    ranking = ranking or rank_labels(probabilities, targets)
    all_scores = probabilities.ravel().copy()
    p = np.clip(probabilities, EPSILON, 1 - EPSILON)
    averages = {
        "precision_macro": _mean(precision[present]),
        "recall_macro": _mean(recall[present]),
        "f1_macro": _mean(f1[present]),
        "precision_micro": right.sum() / max(chosen.sum(), 1),
        "recall_micro": right.sum() / support.sum() if present.any() else np.nan,
        "f1_micro": 2 * right.sum() / (support.sum() + chosen.sum()) if (present | (chosen > 0)).any() else np.nan,
        "subset_accuracy": (truth == given).all(axis=1).mean(),
        "hamming_loss": (truth != given).mean(),
        "pr_auc_macro": _mean(ranking.pr_auc[present]),
        "pr_auc_micro": rank_one(all_scores, probabilities[truth])[0] if present.any() else np.nan,
        "roc_auc_macro": _mean(ranking.roc_auc[~np.isnan(ranking.roc_auc)]),
        "log_loss": -np.where(truth, np.log(p), np.log1p(-p)).mean(),
        "brier": ((probabilities - truth) ** 2).mean(),
        "ece": expected_error(reliability(probabilities.ravel(), truth.ravel())),
        "classes_present": present.sum(),
        "records": len(targets),
    }
    table = tidy(averages)
    if not per_label:
        return table
    columns = {
        "support": support,
        "threshold": thresholds,
        "precision": np.where(present, precision, np.nan),
        "recall": np.where(present, recall, np.nan),
        "f1": np.where(present, f1, np.nan),
        "pr_auc": ranking.pr_auc,
        "roc_auc": ranking.roc_auc,
    }
    rows = [
        pd.DataFrame({"metric": metric, "class": list(names), "value": np.asarray(values, dtype=float)})
        for metric, values in columns.items()
    ]
    return pd.concat([table, *rows], ignore_index=True)


def thresholds_of(option: str | float, probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the threshold (labels,) of each label by the option ``multilabel.threshold``.

    ``tuned`` is the threshold with the highest F1 on these records; labels with fewer than ``OWN_FIT_RECORDS``
    records, or without as many others, share that of the highest F1 over all decisions. Without any record of any
    label it is 0.5.
    """
    labels = probabilities.shape[1]
    if not isinstance(option, str):
        return np.full(labels, float(option))
    if not targets.any():
        return np.full(labels, DEFAULT_THRESHOLD)
    shared = best_threshold(probabilities.ravel(), targets.ravel())
    own = own_fits(targets)
    return np.array([best_threshold(probabilities[:, i], targets[:, i]) if own[i] else shared for i in range(labels)])


def own_fits(targets: np.ndarray) -> np.ndarray:
    """Return which labels (labels,) bool have records enough, with and without them, for a fit of their own."""
    support = targets.sum(axis=0, dtype=np.int64)
    return (support >= OWN_FIT_RECORDS) & (len(targets) - support >= OWN_FIT_RECORDS)


def best_threshold(scores: np.ndarray, truth: np.ndarray) -> float:
    """Return the threshold with the highest F1 of ``scores`` (n,) for ``truth`` (n,) of 0 and 1, some of it 1.

    It stands halfway between two neighbouring scores: at one of them, rounding would decide. Of several the highest.
    """
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order].astype(np.float64)
    right = np.cumsum(truth[order], dtype=np.int64)
    f1 = 2 * right / (np.arange(1, len(scores) + 1) + right[-1])
    last_of_tie = np.r_[ordered[1:] < ordered[:-1], True]
    best = int(np.argmax(np.where(last_of_tie, f1, -1)))
    below = ordered[best + 1] if best + 1 < len(ordered) else 0.0
    return float((ordered[best] + below) / 2)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else np.nan
