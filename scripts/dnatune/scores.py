"""The scores of one model on one fold: what every model and baseline writes, and all evaluation reads.

Takes and gives ``scores.npz``; turns logits into probabilities, in blocks of rows where tables are large.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import log_softmax, softmax

from dnatune.errors import UserError
from dnatune.files import whole

# Cells of one block of rows: 4 million float64 are 32 MiB, so the temporaries stay far below a table.
BLOCK_CELLS = 4_000_000


@dataclass(frozen=True)
class Scores:
    """Logits with what they belong to: one row for each record that was scored.

    ``id`` and ``role`` are text (n,), role is validation, test or unknown; ``label`` is the class id (n,),
    -1 where the record's class was not trained; ``logits`` are float32 (n, classes), softmax over the
    classes gives the probabilities. ``group`` (n,) numbers what belongs together (identical sequences,
    clusters); by default every record stands alone.
    """

    id: np.ndarray
    role: np.ndarray
    label: np.ndarray
    logits: np.ndarray
    group: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.group is None:
            object.__setattr__(self, "group", np.arange(len(self.label)))
        sizes = {len(self.id), len(self.role), len(self.label), len(self.logits)}
        if len(sizes) != 1 or self.logits.ndim != 2:
            raise ValueError(f"scores need one row per id, found lengths {sorted(sizes)}")

    def part(self, role: str) -> Scores:
        """Return the rows of one role, in their order; no rows is a valid part."""
        rows = self.role == role
        if rows.all():
            return self
        return Scores(self.id[rows], self.role[rows], self.label[rows], self.logits[rows], self.group[rows])

    def save(self, path: str | Path) -> None:
        """Write an npz file (not compressed: logits hardly shrink), whole or not at all."""
        with whole(path) as partial:
            np.savez(
                partial,
                id=np.asarray(self.id, dtype=np.str_),
                role=np.asarray(self.role, dtype=np.str_),
                label=np.asarray(self.label, dtype=np.int64),
                logits=np.asarray(self.logits, dtype=np.float32),
                group=np.asarray(self.group, dtype=np.int64),
            )

    @staticmethod
    def load(path: str | Path) -> Scores:
        """Read what ``save`` wrote. Raises ``UserError`` where the file is not such a file."""
        try:
            with np.load(path, allow_pickle=False) as stored:
                return Scores(*(stored[key] for key in ("id", "role", "label", "logits", "group")))
        except (OSError, ValueError, KeyError) as reason:
            raise UserError(
                f"{path}: not a readable scores file ({reason}); expected an npz with id, role, label and "
                "logits, so remove it and run its rule again."
            ) from reason


def row_blocks(shape: tuple[int, int], cells: int = BLOCK_CELLS) -> Iterator[slice]:
    """Yield slices that cut the rows of a table (n, classes) into blocks of at most ``cells`` cells."""
    rows, columns = shape
    step = max(1, cells // max(1, columns))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Return the softmax of ``logits`` (n, classes) as float64 (n, classes)."""
    result = np.empty(logits.shape, dtype=np.float64)
    for rows in row_blocks(logits.shape):
        result[rows] = softmax(logits[rows].astype(np.float64), axis=1)
    return result


def log_probabilities(logits: np.ndarray) -> np.ndarray:
    """Return the log-softmax of ``logits`` (n, classes) as float64 (n, classes), in nats."""
    result = np.empty(logits.shape, dtype=np.float64)
    for rows in row_blocks(logits.shape):
        result[rows] = log_softmax(logits[rows].astype(np.float64), axis=1)
    return result


def mean_log_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean negative log probability (nats) of ``labels`` (n,) under softmax(logits)."""
    total = 0.0
    for rows in row_blocks(logits.shape):
        logp = log_softmax(logits[rows].astype(np.float64), axis=1)
        total -= float(logp[np.arange(len(logp)), labels[rows]].sum())
    return total / max(1, len(labels))
