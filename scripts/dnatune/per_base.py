"""One value for each base of each sequence, kept as one array: sequences have different lengths."""

from __future__ import annotations

from dataclasses import dataclass

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

    @property
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


def as_bytes(targets: np.ndarray | PerBase) -> bytes:
    """Return the content of an array, or of values per base, for a fingerprint."""
    arrays = (targets.values, targets.counts) if isinstance(targets, PerBase) else (targets,)
    return b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)
