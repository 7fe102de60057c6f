"""The order in which a model sees the training sequences: batches of similar length, new in every epoch.

Everything is a function of (seed, epoch), so a resumed job sees the batches it would have seen.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from torch.utils.data import Dataset

from dnatune.tokens import TokenTable

MEGABATCH = 50  # batches sorted by length together: little padding, and the order stays random


class TrainingRecords(Dataset):
    """Item i: (token row, record) of training record i; view and window are drawn anew in each epoch.

    ``views`` (views,) are the numbers of the views to draw from.
    """

    def __init__(self, table: TokenTable, records: np.ndarray, views: np.ndarray, seed: int) -> None:
        self.table = table
        self.records = records
        self.views = views
        self.seed = seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Draw one view and one window for each record."""
        rng = np.random.default_rng([self.seed, int(epoch), 1])
        # A multiple of both, so that the windows drawn next do not depend on whether frames are drawn.
        bound = math.lcm(self.table.frames, len(self.views))
        views = self.views[rng.integers(bound, size=len(self.records)) % len(self.views)]
        first = self.table.first_row[self.records, views]
        count = self.table.n_windows[self.records, views]
        self.rows = first + (rng.random(len(self.records)) * count).astype(np.int64)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> tuple[int, int]:
        return int(self.rows[index]), int(self.records[index])

    def lengths(self) -> np.ndarray:
        """Return the tokens (records,) of each record's first row; other views differ by a few at most."""
        return self.table.length[self.table.first_row[self.records, 0]]


class LengthGroupedBatches:
    """Batches of indices of similar length in random order; with ``weights`` drawn with replacement."""

    def __init__(
        self,
        lengths: np.ndarray,
        batch_size: int,
        seed: int,
        weights: np.ndarray | None = None,
        dataset: TrainingRecords | None = None,
    ) -> None:
        self.lengths = lengths
        self.batch_size = batch_size
        self.seed = seed
        self.weights = None if weights is None else weights / weights.sum()
        self.epoch = 0
        self.dataset = dataset
        self.drop_last = False
        # accelerate passes the epoch on to ``batch_sampler.sampler``.
        self.sampler = self

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of this epoch, and the views of the dataset."""
        self.epoch = int(epoch)
        if self.dataset is not None:
            self.dataset.set_epoch(epoch)  # accelerate forgets it when it resumes within an epoch

    def __len__(self) -> int:
        return -(-len(self.lengths) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng([self.seed, self.epoch, 2])
        n = len(self.lengths)
        order = rng.permutation(n) if self.weights is None else rng.choice(n, size=n, p=self.weights)
        batches: list[np.ndarray] = []
        for start in range(0, n, self.batch_size * MEGABATCH):
            together = order[start : start + self.batch_size * MEGABATCH]
            together = together[np.argsort(-self.lengths[together], kind="stable")]
            batches += [together[i : i + self.batch_size] for i in range(0, len(together), self.batch_size)]
        for index in rng.permutation(len(batches)):
            yield batches[index].tolist()


def stratified_sample(class_ids: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Return sorted positions of at most ``size`` records with the class shares of the whole (systematic sampling)."""
    n = len(class_ids)
    if n <= size:
        return np.arange(n)
    rng = np.random.default_rng([seed, 3])
    shuffled = rng.permutation(n)
    by_class = shuffled[np.argsort(class_ids[shuffled], kind="stable")]
    picks = np.floor((np.arange(size) + rng.random()) * n / size).astype(np.int64)
    return np.sort(by_class[picks])
