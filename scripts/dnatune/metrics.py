"""How good probabilities are: multiclass metrics, confusions and the points of the report's curves.

Takes probabilities (n, classes) and class ids (n,); gives tidy tables. Averages run over the classes that
are present among the labels, so a class that a fold does not test neither crashes nor skews a mean.
Large tables are read in blocks of rows or columns: no second copy of the probabilities is ever made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dnatune.scores import row_blocks

RELIABILITY_BINS = 15
RECALL_GRID = np.arange(101) / 100
EPSILON = float(np.finfo(np.float64).eps)
COLUMN_CELLS = 2_000_000


@dataclass(frozen=True)
class Ranking:
    """How well each present class is ranked, one against the rest.

    ``classes`` ids of the present classes (p,); ``pr_auc`` average precision (p,); ``roc_auc`` (p,), NaN
    where a class has no negatives; ``precision`` the interpolated precision on ``RECALL_GRID``, averaged
    over the present classes.
    """

    classes: np.ndarray
    pr_auc: np.ndarray
    roc_auc: np.ndarray
    precision: np.ndarray


@dataclass(frozen=True)
class _Decisions:
    """What the most probable class and the truth's probability are, one value per record."""

    predicted: np.ndarray
    top: np.ndarray
    truth: np.ndarray
    ahead: np.ndarray
    squares: np.ndarray


def evaluate(
    probabilities: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    top_k: int = 5,
    per_class: bool = True,
    ranking: Ranking | None = None,
) -> pd.DataFrame:
    """Return a tidy table (metric, class, value): averages with class ``all``, then one row per class.

    ``probabilities`` (n, classes) rows add up to 1; ``labels`` (n,) class ids. precision, recall, F1 and
    PR-AUC are averaged over present classes (support > 0), plainly (macro) or by support (weighted);
    ROC-AUC over present classes that have negatives. ``top_k_accuracy`` breaks ties as scikit-learn does
    and is 1 where k reaches the number of classes. Log loss is in nats, probabilities clipped to the
    float64 epsilon; Brier is the mean over records of the sum over classes of (p - y)^2 (Brier 1950); ECE
    has 15 equal bins of the top probability (Guo et al. 2017, eq. 3); MCC is Gorodkin's (2004).
    Without records only ``records`` and ``classes_present`` are given, both 0.
    """
    labels = _checked(probabilities, labels, class_names)
    if not len(labels):
        return tidy({"records": 0, "classes_present": 0})
    made = _decide(probabilities, labels)
    ranking = ranking or rank_classes(probabilities, labels)
    present = ranking.classes
    support = np.bincount(labels, minlength=len(class_names))
    chosen = np.bincount(made.predicted, minlength=len(class_names))
    right = np.bincount(labels[made.predicted == labels], minlength=len(class_names))
    recall = right[present] / support[present]
    precision = right[present] / np.maximum(chosen[present], 1)
    f1 = 2 * right[present] / (support[present] + chosen[present])
    weight = support[present] / len(labels)
    defined = ~np.isnan(ranking.roc_auc)
    averages = {
        "accuracy": right.sum() / len(labels),
        f"top_{top_k}_accuracy": float(np.mean(made.ahead < top_k)),
        "precision_macro": precision.mean(),
        "recall_macro": recall.mean(),
        "f1_macro": f1.mean(),
        "precision_weighted": precision @ weight,
        "recall_weighted": recall @ weight,
        "f1_weighted": f1 @ weight,
        "mcc": _mcc(right.sum(), support, chosen),
        "pr_auc_macro": ranking.pr_auc.mean(),
        "pr_auc_weighted": ranking.pr_auc @ weight,
        "roc_auc_macro": ranking.roc_auc[defined].mean() if defined.any() else np.nan,
        "log_loss": -np.log(np.clip(made.truth, EPSILON, 1 - EPSILON)).mean(),
        "brier": (made.squares - 2 * made.truth + 1).mean(),
        "ece": expected_error(reliability(made.top, made.predicted == labels)),
        "classes_present": len(present),
        "records": len(labels),
    }
    table = tidy(averages)
    if not per_class:
        return table
    names = np.asarray(class_names, dtype=object)[present]
    columns = {
        "support": support[present],
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "pr_auc": ranking.pr_auc,
    }
    rows = [pd.DataFrame({"metric": m, "class": names, "value": v.astype(float)}) for m, v in columns.items()]
    return pd.concat([table, *rows], ignore_index=True)


def rank_classes(probabilities: np.ndarray, labels: np.ndarray) -> Ranking:
    """Rank every present class one against the rest; ties share a threshold, as in scikit-learn.

    Average precision sum_n (R_n - R_(n-1)) P_n is written as the mean, over a class's own records, of the
    precision at that record's score; so each column is sorted once and looked up at its few positives.
    """
    records, classes = probabilities.shape
    order = np.argsort(labels, kind="stable")
    support = np.bincount(labels, minlength=classes)
    starts = np.concatenate([[0], np.cumsum(support)])
    present = np.flatnonzero(support)
    pr_auc, roc_auc = np.empty(len(present)), np.full(len(present), np.nan)
    precision = np.zeros(len(RECALL_GRID))
    step = max(1, COLUMN_CELLS // max(1, records))
    for first in range(0, len(present), step):
        block = np.ascontiguousarray(probabilities[:, present[first : first + step]].T)
        for place, column in enumerate(block, start=first):
            own = present[place]
            positive = column[order[starts[own] : starts[own + 1]]]
            pr_auc[place], roc_auc[place], best = rank_one(column, positive)
            precision += best
    return Ranking(present, pr_auc, roc_auc, precision / max(1, len(present)))


def rank_one(scores: np.ndarray, positive: np.ndarray) -> tuple[float, float, np.ndarray]:
    """Return average precision, ROC-AUC and interpolated precision on ``RECALL_GRID`` of one class.

    ``scores`` (n,) of all records, sorted in place; ``positive`` (m,) those of the class, at least one.
    ROC-AUC is NaN without negatives.
    """
    positive = np.sort(positive)
    scores.sort()
    below = np.searchsorted(scores, positive, side="left")
    up_to = np.searchsorted(scores, positive, side="right")
    positive_below = np.searchsorted(positive, positive, side="left")
    positive_up_to = np.searchsorted(positive, positive, side="right")
    count, records = len(positive), len(scores)
    hits = count - positive_below
    at_score = hits / (records - below)
    roc_auc = np.nan
    if count < records:
        beaten = (below - positive_below) + (up_to - positive_up_to)
        roc_auc = 0.5 * beaten.mean() / (records - count)
    # Scores ascend, so recall descends: the best precision at this recall or a higher one.
    best = np.maximum.accumulate(at_score)[::-1]
    return at_score.mean(), roc_auc, best[np.searchsorted(hits[::-1] / count, RECALL_GRID, side="left")]


def reliability(top: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """Return (15, 3): count, mean confidence and accuracy in equal bins of the top probability (n,).

    Bin m holds ((m - 1)/15, m/15] (Guo et al. 2017); an empty bin has count 0 and NaN for the rest.
    """
    place = np.clip(np.ceil(top * RELIABILITY_BINS).astype(int) - 1, 0, RELIABILITY_BINS - 1)
    counts = np.bincount(place, minlength=RELIABILITY_BINS).astype(float)
    sums = [np.bincount(place, weights=v, minlength=RELIABILITY_BINS) for v in (top, correct.astype(float))]
    with np.errstate(invalid="ignore"):
        return np.column_stack([counts, sums[0] / counts, sums[1] / counts])


def top_choices(probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the most probable class (n,) and its probability (n,); the first class wins a tie."""
    predicted = probabilities.argmax(axis=1)
    return predicted, probabilities[np.arange(len(predicted)), predicted]


def outcomes(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Return how each record came off: label, predicted, top (the probability of that), log_loss (nats) and brier, all
    (n,); see ``evaluate``."""
    made = _decide(probabilities, labels)
    return {
        "label": labels.astype(np.int32),
        "predicted": made.predicted.astype(np.int32),
        "top": made.top,
        "log_loss": -np.log(np.clip(made.truth, EPSILON, 1 - EPSILON)),
        "brier": made.squares - 2 * made.truth + 1,
    }


def confusions(predicted: np.ndarray, labels: np.ndarray, class_names: Sequence[str]) -> pd.DataFrame:
    """Return truth, predicted, count and share (of the truth's records), wrong pairs only, most frequent
    first; pairs of equal count stand in order of share, then of names."""
    names = np.asarray(class_names, dtype=object)
    wrong = predicted != labels
    pairs, counts = np.unique(labels[wrong] * len(names) + predicted[wrong], return_counts=True)
    truth = pairs // len(names)
    support = np.bincount(labels, minlength=len(names))
    table = pd.DataFrame(
        {
            "truth": names[truth],
            "predicted": names[pairs % len(names)],
            "count": counts,
            "share": counts / np.maximum(support[truth], 1),
        }
    )
    keys = ["count", "share", "truth", "predicted"]
    return table.sort_values(keys, ascending=[False, False, True, True], ignore_index=True)


def _decide(probabilities: np.ndarray, labels: np.ndarray) -> _Decisions:
    records, classes = probabilities.shape
    predicted, top = top_choices(probabilities)
    truth = probabilities[np.arange(records), labels]
    ahead, squares = np.empty(records, dtype=np.int64), np.empty(records)
    for rows in row_blocks((records, classes)):
        block, own = probabilities[rows], truth[rows, None]
        tied_later = (block == own) & (np.arange(classes) > labels[rows, None])
        ahead[rows] = (block > own).sum(axis=1) + tied_later.sum(axis=1)
        squares[rows] = np.einsum("ij,ij->i", block, block)
    return _Decisions(predicted, top, truth, ahead, squares)


def _mcc(correct: int, support: np.ndarray, chosen: np.ndarray) -> float:
    """Gorodkin (2004), eq. 8, from the margins of the confusion table; 0 where it is not defined."""
    total, support, chosen = float(support.sum()), support.astype(float), chosen.astype(float)
    spread = (total**2 - chosen @ chosen) * (total**2 - support @ support)
    return float((correct * total - chosen @ support) / np.sqrt(spread)) if spread > 0 else 0.0


def expected_error(bins: np.ndarray) -> float:
    """Return the expected calibration error of what ``reliability`` gave (Guo et al. 2017, eq. 3)."""
    used = bins[bins[:, 0] > 0]
    return float(np.abs(used[:, 1] - used[:, 2]) @ used[:, 0] / used[:, 0].sum())


def tidy(values: dict[str, float]) -> pd.DataFrame:
    """Return averages by metric name as a table: metric, class (all), value."""
    numbers = [float(value) for value in values.values()]
    return pd.DataFrame({"metric": list(values), "class": "all", "value": numbers})


def _checked(probabilities: np.ndarray, labels: np.ndarray, class_names: Sequence[str]) -> np.ndarray:
    labels = np.asarray(labels, dtype=np.int64)
    if probabilities.shape != (len(labels), len(class_names)):
        raise ValueError(f"probabilities are {probabilities.shape}, not {(len(labels), len(class_names))}")
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(class_names):
        raise ValueError("labels must be class ids of trained classes; leave out the known unknowns")
    return labels
