"""Every metric of a fold again, from scikit-learn or from its definition: of names, and of genera summed by hand."""

from __future__ import annotations

import numpy as np
from sklearn import metrics as sklearn_metrics

NAMED_METRICS = [
    "accuracy",
    "precision_macro",
    "recall_macro",
    "f1_macro",
    "f1_weighted",
    "mcc",
    "pr_auc_macro",
    "pr_auc_weighted",
    "roc_auc_macro",
    "log_loss",
    "brier",
    "ece",
]


def by_scikit_learn(truth: np.ndarray, p: np.ndarray, names: list[str]) -> dict[tuple[str, str], float]:
    """Return every metric by (metric, class), from scikit-learn or from its definition."""
    guess, classes = p.argmax(axis=1), np.arange(p.shape[1])
    present = np.unique(truth)
    one_hot = np.eye(p.shape[1])[truth]
    support = one_hot.sum(axis=0)[present]
    made = {"labels": present, "zero_division": 0}
    precision, recall, f1, _ = sklearn_metrics.precision_recall_fscore_support(truth, guess, **made)
    area = np.array([sklearn_metrics.average_precision_score(one_hot[:, c], p[:, c]) for c in present])
    roc = [
        sklearn_metrics.roc_auc_score(one_hot[:, c], p[:, c]) for c in present if support.sum() > one_hot[:, c].sum()
    ]
    top = p.max(axis=1)
    bins = np.ceil(top * 15).astype(int)
    gaps = [
        (bins == b).sum() * abs((guess == truth)[bins == b].mean() - top[bins == b].mean()) for b in np.unique(bins)
    ]
    averages = {
        "accuracy": sklearn_metrics.accuracy_score(truth, guess),
        "top_2_accuracy": sklearn_metrics.top_k_accuracy_score(truth, p, k=2, labels=classes),
        "precision_macro": precision.mean(),
        "recall_macro": recall.mean(),
        "f1_macro": f1.mean(),
        "precision_weighted": np.average(precision, weights=support),
        "recall_weighted": np.average(recall, weights=support),
        "f1_weighted": np.average(f1, weights=support),
        "mcc": sklearn_metrics.matthews_corrcoef(truth, guess),
        "pr_auc_macro": area.mean(),
        "pr_auc_weighted": np.average(area, weights=support),
        "roc_auc_macro": np.mean(roc) if roc else np.nan,
        "log_loss": sklearn_metrics.log_loss(truth, np.clip(p, 1e-15, 1), labels=classes),
        "brier": ((p - one_hot) ** 2).sum(axis=1).mean(),
        "ece": sum(gaps) / len(truth),
        "classes_present": len(present),
        "records": len(truth),
    }
    result = {(name, "all"): float(value) for name, value in averages.items()}
    if names:
        columns = {"support": support, "precision": precision, "recall": recall, "f1": f1, "pr_auc": area}
        result |= {
            (m, names[c]): float(v) for m, values in columns.items() for c, v in zip(present, values, strict=True)
        }
    return result


def by_steps(p: np.ndarray, genera: list[str], species_t: float, genus_t: float) -> np.ndarray:
    """Return species probabilities with a temperature for the genus, and one for the species within it."""
    result = np.empty_like(p)
    sums = np.stack([p[:, np.array(genera) == genus].sum(axis=1) for genus in genera], axis=1)
    of_genus = {genus: sums[:, genera.index(genus)] ** (1 / genus_t) for genus in genera}
    for c, genus in enumerate(genera):
        within = sum(p[:, i] ** (1 / species_t) for i, other in enumerate(genera) if other == genus)
        result[:, c] = of_genus[genus] / sum(of_genus.values()) * p[:, c] ** (1 / species_t) / within
    return result


def at_genus(truth: np.ndarray, p: np.ndarray, genera: list[str]) -> dict[tuple[str, str], float]:
    """Return every metric at ranks, from scikit-learn on probabilities that are summed by hand."""
    distinct = list(dict.fromkeys(genera))
    number = np.array([distinct.index(genus) for genus in genera])
    summed = np.stack([p[:, number == k].sum(axis=1) for k in range(len(distinct))], axis=1)
    averages = by_scikit_learn(number[truth], summed, [])
    return {(f"{metric}@genus", of): value for (metric, of), value in averages.items()}


def named_at_ranks(
    truth: np.ndarray, p: np.ndarray, genera: list[str], rejected: np.ndarray
) -> dict[tuple[str, str], float]:
    """Return the figures of final answers at both ranks: no species for what is ``rejected`` (n,), its genus all the
    same where that is sure. Every species is trained."""
    distinct = list(dict.fromkeys(genera))
    number = np.array([distinct.index(genus) for genus in genera])
    summed = np.stack([p[:, number == k].sum(axis=1) for k in range(len(distinct))], axis=1)
    result = {}
    for rank, q, label, allowed in (("species", p, truth, ~rejected), ("genus", summed, number[truth], True)):
        named, right = (q.max(axis=1) >= 0.8) & allowed, q.argmax(axis=1) == label
        result[f"named@{rank}", "all"] = float(named.mean())
        result[f"named_right@{rank}", "all"] = float(right[named].mean()) if named.any() else np.nan
        result[f"misclassified@{rank}", "all"] = float((named & ~right).mean())
        result[f"novel@{rank}", "all"] = 0.0
    return result
