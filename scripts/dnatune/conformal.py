"""Prediction intervals by split conformal inference: as wide as errors on records that nothing was fitted on.

Takes absolute errors on the validation part; gives half-widths in the units of the values. Source: Lei, G'Sell,
Rinaldo, Tibshirani & Wasserman (2018), "Distribution-free predictive inference for regression", Journal of the
American Statistical Association 113:1094-1111, algorithm 2.
"""

from __future__ import annotations

import math

import numpy as np


def half_width(errors: np.ndarray, coverage: float) -> float | None:
    """Return the k-th smallest of the absolute ``errors`` (n,), k = ceil((n + 1) coverage); None where k > n.

    With new values like those of the errors, prediction plus or minus it holds at least ``coverage`` of them: the
    ``+ 1`` is the new value itself (theorem 2.2 there). With fewer than coverage / (1 - coverage) errors no finite
    interval can promise that.
    """
    rank = math.ceil((len(errors) + 1) * coverage - 1e-9)
    if rank > len(errors):
        return None
    return float(np.partition(errors, rank - 1)[rank - 1])


def half_widths(measured: np.ndarray, predicted: np.ndarray, coverage: float) -> list[float | None]:
    """Return ``half_width`` for each output of values (n, outputs); a missing measurement (NaN) is no error."""
    errors = np.abs(measured.astype(np.float64) - predicted)
    return [half_width(column[~np.isnan(column)], coverage) for column in errors.T]


def values_needed(coverage: float) -> int:
    """Return how many errors a finite interval needs."""
    return math.ceil(coverage / (1 - coverage) - 1e-9)
