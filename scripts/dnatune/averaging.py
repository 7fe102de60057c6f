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


def bases_read(table: TokenTable, records: np.ndarray) -> np.ndarray:
    """Return where the tokens of each record end (records,), counted in bases of the forward strand at offset 0."""
    last = table.first_row[records, 0] + table.n_windows[records, 0] - 1
    widths = [int(table.widths[table.ids(int(row))].sum()) for row in last]
    return table.start[last].astype(np.int64) + np.array(widths, dtype=np.int64)


class MeanOfBases:
    """The mean of each base (bases of all records, outputs) over the tokens that cover it, of all windows and views.

    For forward views, number 0 among them: its windows cover every base, so there is none without a mean.
    """

    def __init__(self, table: TokenTable, records: np.ndarray, views: np.ndarray, outputs: int) -> None:
        self._table = table
        bases = bases_read(table, records)
        count = table.n_windows[records][:, views].sum(axis=1)
        self._first = np.repeat(np.cumsum(bases) - bases, count)
        self._sum = np.zeros((int(bases.sum()), outputs), dtype=np.float32)
        self._count = np.zeros(len(self._sum), dtype=np.int32)

    def add(self, places: np.ndarray, rows: np.ndarray, values: torch.Tensor) -> None:
        """Take in ``values`` (batch, tokens, outputs) of the token ``rows``, which stand at ``places`` of all rows."""
        for first, row, tokens in zip(self._first[places], rows, values.numpy(), strict=True):
            starts, widths = self._table.spans(int(row))
            here = slice(first + starts[0], first + starts[-1] + widths[-1])
            self._sum[here] += np.repeat(tokens[: len(widths)], widths, axis=0)
            self._count[here] += 1

    def result(self) -> torch.Tensor:
        """Return the means. Raises ValueError if a base was covered by no token."""
        if not self._count.all():
            raise ValueError(f"{(self._count == 0).sum()} bases are covered by no token")
        return torch.from_numpy(self._sum / self._count[:, None])
