"""How far stated probabilities are from the truth, and how far they would be by chance alone.

Takes the outcomes of all folds' test sequences (``sequence_tests.read_outcomes``); gives rows of ``comparison.tsv``.

The expected calibration error (ECE, Guo et al. 2017) adds up the absolute differences of bins, so it is never 0 of a
finite number of sequences, even where every probability is exactly right: with 300 sequences of moderate certainty it
is about 0.03. Two remedies: the figure of all folds' sequences together, and beside it what a perfectly calibrated
model would have of as many sequences, found by drawing right and wrong answers from the stated probabilities
themselves (Broecker & Smith 2007, "Increasing the reliability of reliability diagrams", Weather and Forecasting 22).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from dnatune.comparison import COMPARISON_COLUMNS, CONFIDENCE
from dnatune.metrics import expected_error, reliability

DRAWS = 500


def error_of(top: np.ndarray, right: np.ndarray) -> float:
    """Return the ECE of answers given with probability ``top`` (n,), ``right`` (n,) or not."""
    return expected_error(reliability(top, right))


def errors_by_chance(top: np.ndarray, seed: int, draws: int = DRAWS) -> np.ndarray:
    """Return the ECE (draws,) that answers of probability ``top`` (n,) would have if each were right so often.

    Sequences are taken as independent; where many are copies of each other, chance alone makes more.
    """
    rng = np.random.default_rng([seed, 15])
    return np.array([error_of(top, rng.random(len(top)) < top) for _ in range(draws)])


def pooled_errors(outcomes: Mapping[str, pd.DataFrame], seed: int) -> pd.DataFrame:
    """Return rows of ``comparison.tsv``, stage calibrated, split test, for each model of ``outcomes``.

    ``ece_by_chance``: what a perfectly calibrated model would have in a fold, mean over folds (to be held against
    ``ece``). ``ece_pooled``: of the test sequences of all folds together. ``ece_pooled_by_chance``: what a perfectly
    calibrated model would have there, with the interval in which 95 of 100 such models would lie.
    """
    rows = []
    for model, table in outcomes.items():
        top, right = table["top"].to_numpy(), (table["predicted"] == table["label"]).to_numpy()
        folds = [part.to_numpy() for _, part in table.groupby("fold")["top"]]
        drawn = errors_by_chance(top, seed)
        low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
        alone = float(np.mean([errors_by_chance(of_fold, seed).mean() for of_fold in folds]))
        named = {"model": model, "split": "test", "stage": "calibrated", "folds": len(folds), "sd": np.nan}
        rows += [
            {**named, "metric": "ece_by_chance", "mean": alone},
            {**named, "metric": "ece_pooled", "mean": error_of(top, right)},
            {**named, "metric": "ece_pooled_by_chance", "mean": drawn.mean(), "ci_low": low, "ci_high": high},
        ]
    return pd.DataFrame(rows, columns=COMPARISON_COLUMNS)
