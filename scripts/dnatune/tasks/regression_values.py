"""Measured values: read from text, and their scale on a training part. A missing value is NaN."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dnatune.errors import UserError


def cells(texts: Any, outputs: int) -> pd.DataFrame:
    """Return the texts (n,) of the label columns, joined by tabs, as one column of text for each output."""
    column = pd.Series(texts.to_pylist(), dtype=object)
    if outputs == 1:
        return column.to_frame()
    return column.str.split("\t", expand=True).reindex(columns=range(outputs))


def numbers(column: pd.Series) -> np.ndarray:
    """Return a column of text (n,) as float32, NaN where the text is empty or no finite number."""
    with np.errstate(over="ignore"):
        values = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan).astype(np.float32)
    values[~np.isfinite(values)] = np.nan
    return values


def values_of(texts: Any, outputs: int) -> np.ndarray:
    """Return joined texts (n,) as float32 (n, outputs), NaN where a cell is empty."""
    table = cells(texts, outputs)
    return np.column_stack([numbers(table[i]) for i in range(outputs)]).astype(np.float32)


@dataclass(frozen=True)
class Scale:
    """``mean`` and ``sd`` of each output in its units, and the ``share`` of records that have it; (outputs,)."""

    mean: np.ndarray
    sd: np.ndarray
    share: np.ndarray


def amount(value: Any) -> str:
    """Return a number in the units of the values, whatever those are: four digits that count, a dash where none."""
    if value is None or not np.isfinite(value):
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def scale_of(targets: np.ndarray, names: Sequence[str]) -> Scale:
    """Return the scale of ``targets`` (n, outputs); an output that never varies has sd 1.

    Raises UserError for an output without any value among them.
    """
    there = ~np.isnan(targets)
    for name, some in zip(names, there.any(axis=0), strict=True):
        if not some:
            raise UserError(
                f"No training record of this fold has a value of '{name}' (data.columns.label); give more values, "
                "or leave that column out."
            )
    values = targets.astype(np.float64)
    mean, sd = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
    return Scale(mean, np.where(sd > 0, sd, 1.0), there.mean(axis=0))
