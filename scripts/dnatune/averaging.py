"""Averages over the windows and views of a sequence: one row per sequence, or one per base.

In: token rows as a batch brings them, with what the task made of their logits. Out: the mean of each record.
"""

from __future__ import annotations

import numpy as np
import torch

from dnatune.tokens import TokenTable


def row_weights(table: TokenTable, records: np.ndarray, views: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return for each row of ``records`` its record's position (rows,) and its share in the average (rows,).

    Views count equally, and so do the windows within a view.
    """
    count = table.n_windows[records][:, views].ravel()
    position = np.repeat(np.repeat(np.arange(len(records)), len(views)), count)
    weight = np.repeat(1.0 / (count * len(views)), count)
    return position, weight


class MeanOfSequences:
    """The mean of each record (records, outputs) over its rows."""

    def __init__(self, table: TokenTable, records: np.ndarray, views: np.ndarray, outputs: int) -> None:
        self._position, self._weight = row_weights(table, records, views)
        self._mean = torch.zeros(len(records), outputs)

    def add(self, places: np.ndarray, rows: np.ndarray, values: torch.Tensor) -> None:
        """Take in ``values`` (batch, outputs) of the token ``rows``, which stand at ``places`` of all rows."""
        weight = torch.from_numpy(self._weight[places]).float()[:, None]
        self._mean.index_add_(0, torch.from_numpy(self._position[places]), values * weight)

    def result(self) -> torch.Tensor:
        """Return the means."""
        return self._mean
