"""One value for each base of each sequence, kept as one array: sequences have different lengths."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class PerBase:
    """``values`` (bases of all records,) one after the other; ``counts`` (records,) how many each record has."""

    values: np.ndarray
    counts: np.ndarray

    def __len__(self) -> int:
        return len(self.counts)

    def __getitem__(self, records: np.ndarray) -> PerBase:
        """Return the values of some records, in their order."""
        return PerBase(self.values[self.positions(records)], self.counts[records])

    @cached_property
    def starts(self) -> np.ndarray:
        """First position of each record (records,)."""
        return np.cumsum(self.counts) - self.counts

    def positions(self, records: np.ndarray) -> np.ndarray:
        """Return the positions of the values of some records, one record after the other."""
        count = self.counts[records]
        within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        return np.repeat(self.starts[records], count) + within

    def of(self, record: int) -> np.ndarray:
        """Return the values (bases,) of one record."""
        start = self.starts[record]
        return self.values[start : start + self.counts[record]]


def value_counts(targets: PerBase, classes: int | None = None) -> np.ndarray:
    """Return how often each class id occurs in each record, (records, classes); -1 counts for nothing."""
    classes = classes or int(targets.values.max(initial=0)) + 1
    record = np.repeat(np.arange(len(targets)), targets.counts)
    there = targets.values >= 0
    cells = record[there] * classes + targets.values[there]
    return np.bincount(cells, minlength=len(targets) * classes).reshape(len(targets), classes)


def mean_of_records(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the mean (records,) of the values (bases of all records,) of each record; none may be empty."""
    return np.add.reduceat(values.astype(np.float64), np.cumsum(counts) - counts) / counts if len(counts) else values


def runs(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return start and end (runs,) of the stretches of equal values: 0-based, half-open."""
    starts = np.flatnonzero(np.r_[True, values[1:] != values[:-1]]) if len(values) else np.empty(0, np.int64)
    return starts, np.append(starts[1:], len(values))[: len(starts)]


def as_bytes(targets: np.ndarray | PerBase) -> bytes:
    """Return the content of an array, or of values per base, for a fingerprint."""
    arrays = (targets.values, targets.counts) if isinstance(targets, PerBase) else (targets,)
    return b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)
