"""Two models on the same test sequences: is a difference more than the luck of which sequences were drawn?

Takes what ``evaluation`` leaves of each test sequence in curves.npz (``tested_*``); gives rows of ``paired_tests.tsv``.
The paired bootstrap over groups: Efron & Tibshirani (1993), "An introduction to the bootstrap", chapters 13 and 16;
whole clusters drawn: Davison & Hinkley (1997), "Bootstrap methods and their application", section 3.8. The models are
taken as they are: that training again would give others, the test over folds tells (``comparison.paired_tests``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from dnatune.comparison import CONFIDENCE, TEST_COLUMNS, with_holm
from dnatune.report_files import place

PREFIX = "tested_"
MEANS = ("accuracy", "log_loss", "brier")
METRICS = ("accuracy", "f1_macro", "log_loss", "brier")
# So many draws at least, and so many for each test: else no p could be small enough to survive Holm's correction.
DRAWS, DRAWS_PER_TEST = 5_000, 80
BLOCK_CELLS = 2_000_000


def read_outcomes(paths: Sequence[str | Path]) -> dict[str, pd.DataFrame]:
    """Return for each model one row per test sequence of all folds.

    Columns fold, id, group, label, predicted, top, log_loss, brier (see ``metrics.outcomes``). A fold that leaves no
    such arrays (a task without one name per sequence) gives no rows.
    """
    found: dict[str, list[pd.DataFrame]] = {}
    for path in paths:
        where = place(path)
        with np.load(path, allow_pickle=False) as stored:
            mine = {name.removeprefix(PREFIX): stored[name] for name in stored.files if name.startswith(PREFIX)}
        if mine:
            found.setdefault(where.model, []).append(pd.DataFrame({"fold": where.fold, **mine}))
    return {model: pd.concat(parts, ignore_index=True) for model, parts in found.items()}


def bootstrap_tests(outcomes: Mapping[str, pd.DataFrame], tested: Sequence[str], seed: int) -> pd.DataFrame:
    """Compare all pairs of models on ``tested`` metrics by drawing groups of test sequences with replacement.

    ``outcomes`` as ``read_outcomes`` gives them. All folds are pooled, and one draw serves all models and metrics.
    Metrics are those of the pooled sequences: means, and macro F1 over the classes of the draw. Of macro PR-AUC, ECE
    and others there is no test here: they need the whole table of scores, ranked anew in each draw.

    Columns ``comparison.TEST_COLUMNS``: the interval has the 2.5 and 97.5 % quantiles of the differences drawn,
    ``p_value`` is twice the smaller share of draws on either side of 0 (the observed one counted as a draw).
    """
    models = list(outcomes)
    metrics = [metric for metric in tested if metric in METRICS]
    pairs = list(combinations(models, 2))
    if not pairs or not metrics:
        return pd.DataFrame(columns=TEST_COLUMNS)
    tables = _aligned(outcomes)
    first = tables[models[0]]
    group = first.groupby(["fold", "group"], sort=False).ngroup().to_numpy()
    draws = max(DRAWS, DRAWS_PER_TEST * len(pairs) * len(metrics))
    figures = _Figures(tables, group)
    seen = figures.of(np.ones((1, figures.groups)), metrics)
    drawn = [figures.of(weights, metrics) for weights in resamples(figures.groups, draws, seed)]
    rows = []
    for m, metric in enumerate(metrics):
        values = np.concatenate([block[m] for block in drawn])
        for a, b in pairs:
            i, j = models.index(a), models.index(b)
            low, high, p = percentile_test(values[:, i] - values[:, j])
            rows.append(
                {
                    "test": "sequences",
                    "metric": metric,
                    "model_a": a,
                    "model_b": b,
                    "difference": float(seen[m][0, i] - seen[m][0, j]),
                    "ci_low": low,
                    "ci_high": high,
                    "p_value": p,
                    "folds": first["fold"].nunique(),
                    "groups": figures.groups,
                }
            )
    return with_holm(pd.DataFrame(rows))


def percentile_test(differences: np.ndarray) -> tuple[float, float, float]:
    """Return ci_low, ci_high and p of differences drawn (draws,); see ``bootstrap_tests``."""
    low, high = np.quantile(differences, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    smaller = min((differences <= 0).sum(), (differences >= 0).sum())
    return float(low), float(high), min(1.0, 2 * (1 + int(smaller)) / (len(differences) + 1))


def resamples(groups: int, draws: int, seed: int) -> Iterator[np.ndarray]:
    """Yield in blocks how often each group is in each draw with replacement (block, groups)."""
    rng = np.random.default_rng([seed, 8])
    step = max(1, BLOCK_CELLS // groups)
    for start in range(0, draws, step):
        size = min(step, draws - start)
        taken = rng.integers(groups, size=(size, groups))
        taken += np.arange(size)[:, None] * groups
        yield np.bincount(taken.ravel(), minlength=size * groups).reshape(size, groups).astype(np.float64)


def _aligned(outcomes: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Return the tables with the same sequences in the same order: those that every model was tested on."""
    keyed = {model: table.set_index(["fold", "id"]) for model, table in outcomes.items()}
    shared = next(iter(keyed.values())).index
    for table in keyed.values():
        shared = shared.intersection(table.index, sort=False)
    return {model: table.loc[shared].reset_index() for model, table in keyed.items()}


class _Figures:
    """Figures of all models for weighted groups; what does not change between draws is added up once."""

    def __init__(self, tables: Mapping[str, pd.DataFrame], group: np.ndarray) -> None:
        first = next(iter(tables.values()))
        label = first["label"].to_numpy()
        self.groups = int(group.max(initial=-1)) + 1
        self.classes = (
            int(max(table[["label", "predicted"]].to_numpy().max(initial=0) for table in tables.values())) + 1
        )
        self.size = np.bincount(group, minlength=self.groups).astype(np.float64)
        self.support = self._counts(group, label)
        self.sums = {metric: np.empty((self.groups, len(tables))) for metric in MEANS}
        self.chosen, self.right = [], []
        for i, table in enumerate(tables.values()):
            predicted = table["predicted"].to_numpy()
            right = predicted == label
            values = {"accuracy": right, "log_loss": table["log_loss"], "brier": table["brier"]}
            for metric in MEANS:
                self.sums[metric][:, i] = np.bincount(group, weights=values[metric], minlength=self.groups)
            self.chosen.append(self._counts(group, predicted))
            self.right.append(self._counts(group[right], label[right]))

    def _counts(self, group: np.ndarray, label: np.ndarray) -> sparse.csr_matrix:
        """Return how many sequences of each class each group has (classes, groups)."""
        shape = (self.classes, self.groups)
        return sparse.csr_matrix((np.ones(len(label)), (label, group)), shape=shape)

    def of(self, weights: np.ndarray, metrics: Sequence[str]) -> list[np.ndarray]:
        """Return for each metric the values (draws, models) with ``weights`` (draws, groups)."""
        total = (weights @ self.size)[:, None]
        return [
            self._macro_f1(weights) if metric == "f1_macro" else weights @ self.sums[metric] / total
            for metric in metrics
        ]

    def _macro_f1(self, weights: np.ndarray) -> np.ndarray:
        turned = np.ascontiguousarray(weights.T)
        support = self.support @ turned
        present = support > 0
        values = np.empty((len(weights), len(self.right)))
        for i, (chosen, right) in enumerate(zip(self.chosen, self.right, strict=True)):
            both = chosen @ turned
            both += support
            # A class that the draw does not have counts 0 here and is not counted below.
            f1 = np.divide(2 * (right @ turned), both, out=np.zeros_like(both), where=present)
            values[:, i] = f1.sum(axis=0) / present.sum(axis=0)
        return values
