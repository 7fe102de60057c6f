"""The vectors of the training sequences that a saved model carries: what the distance of a new sequence is measured to.

In: a saved model's folder, token rows of the records. Out: reference.npz, ``vectors`` float32 (n, size) of length 1 and
``class_id`` (n,) int32; one row per distinct training sequence and class. Vectors of different models do not compare.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from dnatune.files import whole
from dnatune.scores import EVIDENCE
from dnatune.vector_distances import nearest_distances, unit
from dnatune.vectors import Reader, distinct

REFERENCE = "reference.npz"


def write_reference(path: str | Path, reader: Reader, rows: np.ndarray, labels: np.ndarray) -> int:
    """Write the vectors of the training records ``rows`` with class ids ``labels`` (rows,); return how many there are.

    Without a pooled vector (the architecture's own head) the file has none, and no distance can be measured.
    """
    kept = distinct(reader.inputs.table, rows, labels)
    vectors = unit(reader.vectors(kept))
    class_of = dict(zip(rows.tolist(), labels.tolist(), strict=True))
    ids = np.array([class_of[record] for record in kept.tolist()], dtype=np.int32)
    with whole(path) as partial:
        np.savez(partial, vectors=vectors, class_id=ids)
    return len(kept)


def add_reference(folder: Path, reference: str | Path | None) -> None:
    """Copy the reference, if there is one, into a saved model's folder: its own rejection score, or that of an engine
    that it is an expert of, may be a distance."""
    if reference:
        shutil.copyfile(reference, folder / REFERENCE)


class Reference:
    """Training vectors of a saved model; a folder without them is none, and has no distances."""

    def __init__(self, folder: Path) -> None:
        self.vectors = self.class_id = None
        if (folder / REFERENCE).is_file():
            with np.load(folder / REFERENCE, allow_pickle=False) as stored:
                self.vectors, self.class_id = stored["vectors"], stored["class_id"].astype(np.int64)

    def evidence(self, read: np.ndarray, outputs: int) -> tuple[np.ndarray, np.ndarray]:
        """Return scores (n, outputs) and evidence (n, 4) of what ``Reader.read`` gave."""
        scores, vectors = read[:, :outputs], read[:, outputs + 1 :]
        evidence = np.full((len(read), len(EVIDENCE)), np.nan, dtype=np.float32)
        evidence[:, 0] = read[:, outputs]
        if self.vectors is not None:
            evidence[:, 1:3] = nearest_distances(vectors, self.vectors, self.class_id, scores.argmax(axis=1))
        return scores, evidence
