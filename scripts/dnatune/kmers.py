"""The k-mers of DNA sequences as sparse tables: what the classical baselines see.

Takes sequences of A, C, G, T and N; gives CSR matrices (n, 4^k), one column per k-mer, every position read
(stride 1). A k-mer that touches an N, or any other letter, is left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse

# Bases read at a time: bounds the memory at about 40 bytes per base of one block.
BLOCK_BASES = 4_000_000

_CODES = np.full(256, 4, dtype=np.uint8)
for _code, _base in enumerate(b"ACGT"):
    _CODES[_base] = _code


def kmer_matrix(sequences: Sequence[str], k: int, binary: bool = True) -> sparse.csr_matrix:
    """Return the k-mers of ``sequences`` as a CSR matrix (n, 4^k) of float32 with sorted columns.

    A cell is the number of times the k-mer occurs, or 1 where ``binary``. Columns are in alphabetical
    order of the k-mers. A sequence without any valid k-mer is an empty row. ``k`` is 1 to 12.
    """
    if not 1 <= k <= 12:
        raise ValueError(f"k must be 1 to 12, not {k}")
    lengths = np.fromiter((len(s) for s in sequences), dtype=np.int64, count=len(sequences))
    columns: list[np.ndarray] = []
    counts: list[np.ndarray] = []
    row_sizes = np.zeros(len(sequences), dtype=np.int64)
    for start, stop in _blocks(lengths):
        rows, cols, times = _block_kmers(sequences[start:stop], k)
        row_sizes[start:stop] = np.bincount(rows, minlength=stop - start)
        columns.append(cols)
        if not binary:
            counts.append(times.astype(np.float32))
    indices = np.concatenate(columns) if columns else np.zeros(0, np.int32)
    data = np.ones(len(indices), np.float32) if binary or not counts else np.concatenate(counts)
    pointers = np.concatenate([[0], np.cumsum(row_sizes)])
    if pointers[-1] < np.iinfo(np.int32).max:
        pointers = pointers.astype(np.int32)
    matrix = sparse.csr_matrix((data, indices, pointers), shape=(len(sequences), 4**k))
    matrix.has_sorted_indices = True
    return matrix


def kmer_places(sequences: Sequence[str], k: int) -> sparse.csr_matrix:
    """Return where the k-mers of ``sequences`` begin, as a CSR matrix (n, 4^k) of float32 with sorted columns.

    A cell is the first place of the k-mer in the sequence, counted from 1; cells are those of ``kmer_matrix``.
    """
    lengths = np.fromiter((len(s) for s in sequences), dtype=np.int64, count=len(sequences))
    columns, places = [np.zeros(0, np.int32)], [np.zeros(0, np.float32)]
    row_sizes = np.zeros(len(sequences), dtype=np.int64)
    for start, stop in _blocks(lengths):
        keys, valid = _block_keys(sequences[start:stop], k)
        keys, first = np.unique(keys, return_index=True)
        rows = keys // 4**k
        # Before each sequence of the block stand those in front of it, and a letter between each two.
        begins = np.cumsum(lengths[start:stop] + 1) - lengths[start:stop] - 1
        columns.append((keys % 4**k).astype(np.int32))
        places.append((valid[first] - begins[rows] + 1).astype(np.float32))
        row_sizes[start:stop] = np.bincount(rows, minlength=stop - start)
    pointers = np.concatenate([[0], np.cumsum(row_sizes)])
    data = np.concatenate(places)
    matrix = sparse.csr_matrix((data, np.concatenate(columns), pointers), shape=(len(sequences), 4**k))
    matrix.has_sorted_indices = True
    return matrix


def _blocks(lengths: np.ndarray) -> list[tuple[int, int]]:
    """Cut the rows so that each block has about ``BLOCK_BASES`` bases and at least one row."""
    ends = np.cumsum(lengths)
    blocks, start = [], 0
    while start < len(lengths):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + BLOCK_BASES, side="right")))
        blocks.append((start, stop))
        start = stop
    return blocks


def _block_keys(sequences: Sequence[str], k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return row * 4^k + k-mer of every valid place, and the place in the joined text."""
    # One letter that is no base between two sequences keeps k-mers from crossing the border.
    text = np.frombuffer("-".join(sequences).encode("ascii", "replace"), dtype=np.uint8)
    codes = _CODES[text]
    places = len(codes) - k + 1
    if places <= 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    kmers = np.zeros(places, dtype=np.int64)
    for offset in range(k):
        kmers = kmers * 4 + codes[offset : offset + places]
    bad = np.concatenate([[0], np.cumsum(codes == 4)])
    valid = np.flatnonzero(bad[k:] == bad[:-k])
    lengths = np.fromiter((len(s) + 1 for s in sequences), dtype=np.int64, count=len(sequences))
    rows = np.repeat(np.arange(len(sequences)), lengths)[:places]
    return rows[valid] * 4**k + kmers[valid], valid


def _block_kmers(sequences: Sequence[str], k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return row, column and count of every distinct k-mer of each sequence, ordered by row and column."""
    keys, times = np.unique(_block_keys(sequences, k)[0], return_counts=True)
    return keys // 4**k, (keys % 4**k).astype(np.int32), times
