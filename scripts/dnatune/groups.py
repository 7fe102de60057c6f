"""Groups: which sequences are identical, which records stay together, which labels contradict.

In: arrays over records (digests, codes, labels, roles). Out: arrays over records. No files, no configuration.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

DIGEST_BYTES = 16


def digest(sequence: str) -> bytes:
    """Return 16 bytes that stand for a sequence: two of a million differ with certainty for any purpose."""
    return hashlib.blake2b(sequence.encode("ascii"), digest_size=DIGEST_BYTES).digest()


def sequence_codes(digests: bytes | bytearray) -> np.ndarray:
    """Return a code (n,) int64 for n concatenated digests: equal codes, equal sequences; 0 is first."""
    words = np.frombuffer(digests, np.uint64).reshape(-1, DIGEST_BYTES // 8)
    order = np.lexsort(words.T)
    ordered = words[order]
    new = np.ones(len(words), bool)
    new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    codes = np.empty(len(words), np.int64)
    codes[order] = np.cumsum(new) - 1
    return renumber(codes)


def codes_in_file(records_path: str | Path) -> np.ndarray:
    """Return sequence codes (records,) computed anew from the sequences in records.parquet."""
    digests = bytearray()
    for batch in pq.ParquetFile(records_path).iter_batches(columns=["sequence"]):
        digests += b"".join(map(digest, batch.column(0).to_pylist()))
    return sequence_codes(digests)


def renumber(codes: np.ndarray) -> np.ndarray:
    """Return codes (n,) int64 counted from 0 in the order in which they occur first."""
    _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]


def components(sequence: np.ndarray, cluster: np.ndarray | None = None) -> np.ndarray:
    """Return the group (n,) of each record: connected by an identical sequence or by the same cluster.

    A path counts: two clusters that share one sequence are one group.
    """
    sequence = renumber(sequence)
    if cluster is None or not len(sequence):
        return sequence
    sequences, clusters = int(sequence.max()) + 1, renumber(cluster)
    nodes = sequences + int(clusters.max()) + 1
    edges = coo_array((np.ones(len(sequence), np.int8), (sequence, sequences + clusters)), shape=(nodes, nodes))
    return renumber(connected_components(edges, directed=False)[1][sequence])


def conflicting(sequence: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Return the mask (n,) of the records whose sequence also occurs with another label."""
    pairs, _ = _pairs(sequence, label)
    labels_of = np.bincount(pairs[:, 0], minlength=int(sequence.max(initial=-1)) + 1)
    return labels_of[sequence] > 1


def best_accuracy(sequence: np.ndarray, label: np.ndarray) -> float:
    """Return the accuracy of answering each sequence with its most frequent label: none can be better."""
    if not len(sequence):
        return float("nan")
    pairs, counts = _pairs(sequence, label)
    starts = np.flatnonzero(np.r_[True, pairs[1:, 0] != pairs[:-1, 0]])
    return float(np.maximum.reduceat(counts, starts).sum() / len(sequence))


def distinct_per_class(label: np.ndarray, member: np.ndarray, classes: int) -> np.ndarray:
    """Return how many different ``member`` codes (sequences, groups) each class (classes,) has."""
    pairs, _ = _pairs(label, member)
    return np.bincount(pairs[:, 0], minlength=classes)


def leaks(group: np.ndarray, role: np.ndarray) -> np.ndarray:
    """Return the mask (n,) of records whose group also has a more protected role (the larger number wins)."""
    highest = np.zeros(int(group.max(initial=-1)) + 1, np.int64)
    np.maximum.at(highest, group, role)
    return role < highest[group]


def _pairs(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct pairs (m, 2), sorted, and how often each occurs (m,)."""
    width = int(second.max(initial=-1)) + 1
    keys, counts = np.unique(first.astype(np.int64) * width + second, return_counts=True)
    return np.stack([keys // max(width, 1), keys % max(width, 1)], axis=1), counts
