"""The classical opponents where a record may have many labels: one against the rest, for all labels at once.

Targets are (records, labels) of 0 and 1; each method gives log-odds (queries, labels).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import sparse

from dnatune.baselines import REGRESSION, Logits, Method, linear_model, naive_bayes_logits, standardised, unit_rows
from dnatune.kmers import kmer_matrix


def _majority(train: Any, targets: np.ndarray, query: Any, *_: Any) -> Logits:
    """Every record gets the share of each label in the training part, with one record added on either side."""
    records = targets.sum(axis=0, dtype=np.int64)
    odds = np.log(records + 1.0) - np.log(len(targets) - records + 1.0)
    return np.tile(odds.astype(np.float32), (len(query), 1))


def _naive_bayes(
    train: Any, targets: np.ndarray, query: Any, labels: int, settings: Mapping[str, Any], *_: Any
) -> Logits:
    """Naive Bayes of k-mers that are there or not: each label against its absence."""
    k, alpha = settings["k"], float(settings["alpha"])
    known, asked = kmer_matrix(train, k), kmer_matrix(query, k)
    odds = np.empty((len(query), labels), dtype=np.float32)
    for label in range(labels):
        two = naive_bayes_logits(known, targets[:, label].astype(np.int64), asked, 2, alpha)
        odds[:, label] = two[:, 1] - two[:, 0]
    return odds


def _logistic_regression(
    train: Any, targets: np.ndarray, query: Any, labels: int, settings: Mapping[str, Any], seed: int, *_: Any
) -> Logits:
    """Logistic regression on k-mers that are there or not, each record scaled to length 1."""
    k = settings["k"]
    return _regression(unit_rows(kmer_matrix(train, k)), targets, unit_rows(kmer_matrix(query, k)), settings, seed)


def _vector_logistic_regression(
    train: Any, targets: np.ndarray, query: Any, labels: int, settings: Mapping[str, Any], seed: int, *_: Any
) -> Logits:
    """The same on the user's vectors, standardised on the training part."""
    known, asked = standardised(train, query)
    return _regression(known, targets, asked, settings, seed)


def _regression(train: Any, targets: np.ndarray, query: Any, settings: Mapping[str, Any], seed: int) -> Logits:
    # scikit-learn's network without a hidden layer has a logistic output for each column of such targets.
    weights, offset = linear_model(train, targets[:, 0] if targets.shape[1] == 1 else targets, settings, seed)
    odds = query @ weights + offset
    return np.asarray(odds.toarray() if sparse.issparse(odds) else odds, dtype=np.float32)


METHODS: dict[str, Method] = {
    "majority": Method(_majority, "sequence", {}),
    "naive_bayes": Method(_naive_bayes, "sequence", {"k": 8, "alpha": 0.01}),
    "logistic_regression": Method(_logistic_regression, "sequence", {"k": 6, **REGRESSION}),
    "vector_logistic_regression": Method(_vector_logistic_regression, "vector", REGRESSION),
}
