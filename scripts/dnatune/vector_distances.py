"""How far sequences lie from labelled ones: cosine distances of vectors, in blocks that fit a small memory.

In: vectors (n, size) and labelled vectors (m, size) with class ids. Out: distances (n,), 0 the same direction, 2 the
opposite one.
"""

from __future__ import annotations

import numpy as np

from dnatune.scores import PRODUCT_CELLS, row_blocks

FARTHEST = 2.0


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return ``vectors`` (n, size) as float32 of length 1; a vector of zeros stays one."""
    vectors = np.asarray(vectors, dtype=np.float32)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(length > 0, length, 1)


def nearest_distances(query: np.ndarray, labelled: np.ndarray, labels: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return (n, 2) float32: distance to the nearest labelled vector of the ``predicted`` class, and of any class.

    ``query`` (n, size) and ``labelled`` (m, size) of any length; ``labels`` (m,), ``predicted`` (n,) class ids. A
    class without a vector is ``FARTHEST`` away. Memory: some 16 MiB besides the vectors.
    """
    found = np.full((len(query), 2), FARTHEST, dtype=np.float32)
    if not len(query) or not len(labels):
        return found
    order = np.argsort(labels, kind="stable")
    present, starts = np.unique(labels[order], return_index=True)
    columns = np.full(int(max(present.max(), predicted.max())) + 1, -1)
    columns[present] = np.arange(len(present))
    across = np.ascontiguousarray(unit(labelled)[order].T)
    query = unit(query)
    for rows in row_blocks((len(query), len(labels)), cells=PRODUCT_CELLS):
        # The best similarity to each class: labelled vectors stand in the order of their classes.
        best = np.maximum.reduceat(query[rows] @ across, starts, axis=1)
        line, column = np.arange(len(best)), columns[predicted[rows]]
        found[rows, 0] = np.where(column >= 0, 1 - best[line, column], FARTHEST)
        found[rows, 1] = 1 - best.max(axis=1)
    return np.clip(found, 0, FARTHEST)
