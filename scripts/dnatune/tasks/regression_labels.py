"""Labels that are numbers: one column or several, each an output; targets are float32 (n, outputs), NaN missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from dnatune.errors import UserError
from dnatune.labels import label_map
from dnatune.tasks.base import Described, Labels, LabelSource
from dnatune.tasks.regression_values import amount, cells, numbers, values_of

STRATA = 10
# A stratum of fewer records than this could not be spread over the roles of five folds.
RECORDS_PER_STRATUM = 10
HISTOGRAM_BINS = 40


class RegressionLabels(Labels):
    """See the module."""

    @property
    def names(self) -> list[str]:
        """The outputs: the label columns in the order of the configuration."""
        return list(self.options["columns"])

    def check(self, source: LabelSource, ids: pa.Array, texts: pa.Array, lengths: np.ndarray) -> None:
        """Refuse a text that is no finite number, and an output that has fewer than two different values."""
        torn = np.flatnonzero(pc.count_substring(texts, "\t").to_numpy(zero_copy_only=False) >= len(self.names))
        if len(torn):
            raise UserError(
                f"{source.file}: a cell of column '{source.column}' for id '{ids[int(torn[0])].as_py()}' holds a tab, "
                "expected a number, or an empty cell where nothing was measured."
            )
        table = cells(texts, len(self.names))
        for i, name in enumerate(self.names):
            values = numbers(table[i])
            wrong = np.flatnonzero(np.isnan(values) & (table[i] != "").to_numpy())
            if len(wrong):
                raise UserError(
                    f"{source.file}: found '{table[i].iloc[wrong[0]]}' in column '{name}' for id "
                    f"'{ids[int(wrong[0])].as_py()}', expected a number, or an empty cell where nothing was measured."
                )
            different = np.unique(values[~np.isnan(values)])
            if len(different) < 2:
                found = f"only the value {different[0]:g}" if len(different) else "no value"
                raise UserError(
                    f"{source.file}: column '{name}' has {found} among the sequences that are kept; learning needs "
                    "different values, so leave that column out of data.columns.label."
                )

    def describe(self, texts: pa.ChunkedArray, known: np.ndarray, sequence: np.ndarray) -> Described:
        """Number the outputs by column; one row per output with its values' mean, spread and quantiles."""
        values = values_of(texts, len(self.names)).astype(np.float64)
        rows, histograms, best = [], {}, {}
        for i, name in enumerate(self.names):
            there = ~np.isnan(values[:, i])
            mine = values[there, i]
            low, middle, high = np.quantile(mine, [0.05, 0.5, 0.95])
            rows.append(
                {
                    "label": name,
                    "class_id": i,
                    "records": len(mine),
                    "distinct_sequences": len(np.unique(sequence[there])),
                    "share": there.mean(),
                    "mean": mine.mean(),
                    "sd": mine.std(ddof=1),
                    "min": mine.min(),
                    "quantile_05": low,
                    "median": middle,
                    "quantile_95": high,
                    "max": mine.max(),
                }
            )
            counts, edges = np.histogram(mine, HISTOGRAM_BINS)
            histograms[name] = {"edges": edges, "counts": counts}
            best[name] = best_r2(mine, sequence[there])
        balance = pd.DataFrame(rows)
        complete = int((~np.isnan(values)).all(axis=1).sum())
        summary = {
            "statement": statement(balance, len(values), complete, best),
            "outputs": len(rows),
            "records": len(values),
            "complete_records": complete,
            "best_r2": best,
            "histograms": histograms,
        }
        return Described(label_map([], self.names), balance, summary)

    def targets(self, texts: pa.ChunkedArray, known: np.ndarray, names: Sequence[str]) -> np.ndarray:
        """Return the values (n, outputs) float32, NaN where nothing was measured."""
        return values_of(texts, len(names))

    def strata(self, targets: np.ndarray) -> np.ndarray:
        """Return the first measured output of each record and the quantile of its value there, as one id (n,)."""
        first = (~np.isnan(targets)).argmax(axis=1)
        strata = np.zeros(len(targets), np.int64)
        for output in np.unique(first):
            mine = np.flatnonzero(first == output)
            values = targets[mine, output]
            bins = int(np.clip(len(mine) // RECORDS_PER_STRATUM, 1, STRATA))
            edges = np.nanquantile(values, np.arange(1, bins) / bins)
            strata[mine] = output * STRATA + np.searchsorted(edges, values, side="right")
        return strata


def best_r2(values: np.ndarray, sequence: np.ndarray) -> float:
    """Return the largest R2 that a prediction from the sequence alone can have for ``values`` (n,).

    That is answering each of the sequences (codes (n,)) with the mean of its values; 1 where none is repeated.
    """
    codes = np.unique(sequence, return_inverse=True)[1]
    mean = np.bincount(codes, values) / np.bincount(codes)
    return float(1 - ((values - mean[codes]) ** 2).sum() / ((values - values.mean()) ** 2).sum())


def statement(balance: pd.DataFrame, records: int, complete: int, best: dict[str, Any]) -> str:
    """Say in words how many values each output has, how they spread, and what repeated sequences allow."""
    parts = [
        f"{row.label} has {row.records:,} values from {amount(row.min)} to {amount(row.max)} (mean {amount(row.mean)}, "
        f"standard deviation {amount(row.sd)})"
        for row in balance.itertuples()
    ]
    text = "; ".join(parts) + "."
    if len(balance) > 1:
        text += f" {complete:,} of {records:,} sequences have a value of each; a missing one counts nowhere."
    limited = {name: bound for name, bound in best.items() if bound < 0.9995}
    if limited:
        bounds = ", ".join(f"{bound:.3f} for {name}" for name, bound in limited.items())
        text += " Identical sequences were given different values, so that no prediction from the sequence alone "
        text += f"can exceed an R2 of {bounds}."
    return text
