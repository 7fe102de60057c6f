"""The scores of one model on one fold: what every model and baseline writes, and all evaluation reads.

Takes and gives ``scores.npz``; turns logits into probabilities, in blocks of rows where tables are large.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import log_softmax, softmax

from dnatune.errors import UserError
from dnatune.files import whole
from dnatune.per_base import PerBase

# Cells of one block of rows: 250,000 float64 are 2 MB, so all that is done with a block is done in a core's cache.
BLOCK_CELLS = 250_000
# A product with a whole table reads that table for each block, so its blocks are larger: 32 MB of float64.
PRODUCT_CELLS = 4_000_000

# The log of the sum of the exponentials of the logits; the cosine distance (0 to 2) to the nearest training sequence
# of the predicted class and of any class; the id of the class whose sequence is the best hit (see ``relatives``).
EVIDENCE = ("energy", "distance", "nearest", "relative")
OPTIONAL = ("counts", "kind", "evidence")


@dataclass(frozen=True)
class Scores:
    """Scores with what they belong to: one row for each record that was scored, or for each base of it.

    ``id`` and ``role`` are text (n,), role is validation, test or unknown; ``label`` (n, ...) the task's targets,
    for classes the class id (n,), -1 where the record's class was not trained; ``logits`` are float32 (n, outputs),
    for classes their softmax gives the probabilities. ``group`` (n,) numbers what belongs together (identical
    sequences, clusters); by default every record stands alone. Where a record has a label per base, ``counts``
    (n,) says how many, and ``label`` and ``logits`` have a row per base, record after record.

    For classes, where there are any: ``kind`` text (n,) says why a record of the role unknown is none of the trained
    classes (see ``unknown_kinds``), empty for others; ``evidence`` float32 (n, 4) is what the model saw
    besides its logits, in the columns ``EVIDENCE``, NaN where a model has none.
    """

    id: np.ndarray
    role: np.ndarray
    label: np.ndarray
    logits: np.ndarray
    group: np.ndarray | None = None
    counts: np.ndarray | None = None
    kind: np.ndarray | None = None
    evidence: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.group is None:
            object.__setattr__(self, "group", np.arange(len(self.id)))
        if self.evidence is not None and self.evidence.shape != (len(self.id), len(EVIDENCE)):
            raise ValueError(f"evidence is {self.evidence.shape}, not {(len(self.id), len(EVIDENCE))}")
        rows = len(self.id) if self.counts is None else int(self.counts.sum())
        sizes = {len(self.id), len(self.role), len(self.label) - rows + len(self.id)}
        sizes.add(len(self.logits) - rows + len(self.id))
        if len(sizes) != 1 or self.logits.ndim != 2:
            raise ValueError(f"scores need one row per id, found lengths {sorted(sizes)}")

    @classmethod
    def of(cls, ids: np.ndarray, roles: np.ndarray, targets: Any, logits: np.ndarray, groups: np.ndarray) -> Scores:
        """Build from a task's targets of the same records: an array, or values per base."""
        if isinstance(targets, PerBase):
            return cls(ids, roles, targets.values, logits, groups, targets.counts)
        return cls(ids, roles, targets, logits, groups)

    @property
    def group_of_row(self) -> np.ndarray:
        """The group of each row of ``logits``."""
        return self.group if self.counts is None else np.repeat(self.group, self.counts)

    @staticmethod
    def joined(parts: list[Scores]) -> Scores:
        """Return several scores as one, in their order."""
        names = ("id", "role", "label", "logits", "group")
        arrays = [np.concatenate([getattr(part, name) for part in parts]) for name in names]
        return Scores(*arrays, *(_joined([getattr(part, name) for part in parts]) for name in OPTIONAL))

    def part(self, role: str) -> Scores:
        """Return the rows of one role, in their order; no rows is a valid part."""
        return self.rows(self.role == role)

    def of_kind(self, kind: str) -> Scores:
        """Return the unknown records of one kind, in their order."""
        return self.rows(np.zeros(len(self.id), bool) if self.kind is None else self.kind == kind)

    def rows(self, rows: np.ndarray) -> Scores:
        """Return the records of a mask (n,)."""
        if rows.all():
            return self
        if self.counts is None:
            kept = (self.id[rows], self.role[rows], self.label[rows], self.logits[rows], self.group[rows], None)
            return Scores(*kept, *(None if of is None else of[rows] for of in (self.kind, self.evidence)))
        inside = np.repeat(rows, self.counts)
        kept = (self.id[rows], self.role[rows], self.label[inside], self.logits[inside])
        return Scores(*kept, self.group[rows], self.counts[rows])

    def save(self, path: str | Path) -> None:
        """Write an npz file (not compressed: logits hardly shrink), whole or not at all."""
        with whole(path) as partial:
            np.savez(
                partial,
                id=np.asarray(self.id, dtype=np.str_),
                role=np.asarray(self.role, dtype=np.str_),
                label=np.asarray(self.label),
                logits=np.asarray(self.logits, dtype=np.float32),
                group=np.asarray(self.group, dtype=np.int64),
                **{name: value for name in OPTIONAL if (value := getattr(self, name)) is not None},
            )

    @staticmethod
    def load(path: str | Path) -> Scores:
        """Read what ``save`` wrote. Raises ``UserError`` where the file is not such a file."""
        try:
            with np.load(path, allow_pickle=False) as stored:
                arrays = [stored[key] for key in ("id", "role", "label", "logits", "group")]
                return Scores(*arrays, *(stored.get(name) for name in OPTIONAL))
        except (OSError, ValueError, KeyError) as reason:
            raise UserError(
                f"{path}: not a readable scores file ({reason}); expected an npz with id, role, label and "
                "logits, so remove it and run its rule again."
            ) from reason


def _joined(parts: list[np.ndarray | None]) -> np.ndarray | None:
    """Return optional arrays as one; None where one of them is missing."""
    return None if any(part is None for part in parts) else np.concatenate(parts)


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
        # The rest of the log-softmax is not needed: this is called at every step of a search for a temperature.
        z = logits[rows].astype(np.float64)
        z -= z.max(axis=1, keepdims=True)
        own = z[np.arange(len(z)), labels[rows]]
        total -= float((own - np.log(np.exp(z, out=z).sum(axis=1))).sum())
    return total / max(1, len(labels))
