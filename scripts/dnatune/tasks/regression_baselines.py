"""The classical opponents for values: the mean, and ridge regression on k-mers or on the user's vectors.

Each takes the training part and a query part and gives values (queries, outputs) in their units, as the models do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import linalg, sparse

from dnatune.baselines import Method, unit_rows
from dnatune.kmers import kmer_matrix

# Rows have about length 1, so these reach from hardly any penalty to hardly any slope.
PENALTIES = np.logspace(-3, 4, 29)

Features = np.ndarray | sparse.csr_matrix


def _mean(train: Any, targets: np.ndarray, query: Any, outputs: int, *_: Any) -> np.ndarray:
    """Every record gets the mean of the training part."""
    return np.tile(_means(targets).astype(np.float32), (len(query), 1))


def _kmer_ridge(
    train: Any, targets: np.ndarray, query: Any, outputs: int, settings: Mapping[str, Any], *_: Any
) -> np.ndarray:
    """Ridge regression on k-mer counts, each record scaled to length 1."""
    parts = [unit_rows(kmer_matrix(part, int(settings["k"]), binary=False)) for part in (train, query)]
    return ridge_values(parts[0], targets, parts[1])


def _vector_ridge(train: np.ndarray, targets: np.ndarray, query: np.ndarray, *_: Any) -> np.ndarray:
    """Ridge regression on the user's vectors, standardised on the training part, rows of about length 1."""
    centre, spread = train.mean(axis=0), train.std(axis=0)
    scale = np.where(spread > 0, spread, 1) * np.sqrt(train.shape[1])
    return ridge_values((train - centre) / scale, targets, (query - centre) / scale)


def ridge_values(train: Features, targets: np.ndarray, query: Features) -> np.ndarray:
    """Return values (queries, outputs) float32 of one ridge regression per output, on the records that have it."""
    values = np.tile(_means(targets), (query.shape[0], 1))
    for output in range(targets.shape[1]):
        rows = np.flatnonzero(~np.isnan(targets[:, output]))
        if len(rows) > 2:
            slopes, offset, _ = ridge(train[rows], targets[rows, output])
            values[:, output] = query @ slopes + offset
    return values.astype(np.float32)


def ridge(features: Features, values: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Return slopes (features,), offset and penalty of a ridge regression of ``values`` (n,).

    The penalty is the one of ``PENALTIES`` with the least generalised cross-validation error n RSS / (n - df)^2
    (Golub, Heath & Wahba 1979, eq. 1.4). In the eigenvectors of the features' cross products both RSS and df are sums
    over features, so that no table of records by features is made: scikit-learn's RidgeCV took minutes here.
    """
    values = values.astype(np.float64)
    features = features.astype(np.float64)
    n, centre, mean = len(values), np.asarray(features.mean(axis=0)).ravel(), values.mean()
    products = features.T @ features
    products = (products.toarray() if sparse.issparse(products) else products) - n * np.outer(centre, centre)
    size, axes = linalg.eigh(products, overwrite_a=True, check_finite=False)
    size = np.maximum(size, 0)
    along = axes.T @ (features.T @ values - n * centre * mean)
    total = float(((values - mean) ** 2).sum())
    errors = []
    for penalty in PENALTIES:
        slopes = along / (size + penalty)
        rest = max(total - 2 * along @ slopes + size @ slopes**2, 0.0)
        freedom = n - 1 - (size / (size + penalty)).sum()
        errors.append(n * rest / freedom**2)
    penalty = float(PENALTIES[int(np.argmin(errors))])
    slopes = axes @ (along / (size + penalty))
    return slopes, float(mean - centre @ slopes), penalty


def _means(targets: np.ndarray) -> np.ndarray:
    there = ~np.isnan(targets)
    return np.where(there, targets, 0).sum(axis=0, dtype=np.float64) / np.maximum(there.sum(axis=0), 1)


METHODS: dict[str, Method] = {
    "mean": Method(_mean, "sequence", {}),
    "kmer_ridge": Method(_kmer_ridge, "sequence", {"k": 5}),
    "vector_ridge": Method(_vector_ridge, "vector", {}),
}
