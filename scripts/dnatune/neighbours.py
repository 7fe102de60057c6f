"""The nearest sequences of every sequence: of its own class, of other classes, and on the other strand.

Takes distinct sequences with their classes; gives ``Neighbours``. Everything is compared with everything, by k-mers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dnatune.kmer_search import Kmers, in_blocks, kmers_of

OTHERS = 3
NONE = -1
_COMPLEMENT = str.maketrans("ACGT", "TGCA")


@dataclass(frozen=True)
class Neighbours:
    """For each of the asked entries: its best match among the entries of its class (``own``), its ``OTHERS`` best of
    other classes (``other``, best first), and its best match by reverse complement (``turned``).

    Identities (asked,) or (asked, OTHERS) are 0, and places of entries ``NONE``, where there is none. ``own`` and
    ``other`` leave the entry itself out, so does ``turned``.
    """

    own: np.ndarray
    own_place: np.ndarray
    other: np.ndarray
    other_place: np.ndarray
    turned: np.ndarray
    turned_place: np.ndarray


def reverse_complement(sequence: str) -> str:
    """Return the other strand of a sequence of A, C, G, T and N."""
    return sequence.translate(_COMPLEMENT)[::-1]


def neighbours(
    sequences: Sequence[str], label: np.ndarray, asked: np.ndarray, min_identity: float, threads: int = 1
) -> Neighbours:
    """Find the neighbours of the entries ``asked`` (numbers) among all ``sequences``; ``label`` (n,) class ids."""
    count = len(asked)
    found = Neighbours(
        own=np.zeros(count, np.float32),
        own_place=np.full(count, NONE),
        other=np.zeros((count, OTHERS), np.float32),
        other_place=np.full((count, OTHERS), NONE),
        turned=np.zeros(count, np.float32),
        turned_place=np.full(count, NONE),
    )
    if not count:
        return found
    # In the order of the classes the members of one are a slice of each row.
    order = np.argsort(label, kind="stable")
    ordered = label[order]
    first, last = (np.searchsorted(ordered, label[asked], side) for side in ("left", "right"))
    itself = np.empty(len(order), np.int64)
    itself[order] = np.arange(len(order))
    database = kmers_of([sequences[i] for i in order])

    def given(rows: slice, values: np.ndarray) -> None:
        values[values < min_identity] = 0
        for row, (entry, start, stop) in enumerate(zip(asked[rows], first[rows], last[rows], strict=True), rows.start):
            line = values[row - rows.start]
            line[itself[entry]] = 0
            best = start + int(line[start:stop].argmax())
            if line[best]:
                found.own[row], found.own_place[row] = line[best], order[best]
            line[start:stop] = 0
        count_of = min(OTHERS, values.shape[1])
        top = np.argpartition(-values, count_of - 1, axis=1)[:, :count_of]
        best_first = np.argsort(-np.take_along_axis(values, top, axis=1), axis=1, kind="stable")
        top = np.take_along_axis(top, best_first, axis=1)
        found.other[rows, :count_of] = np.take_along_axis(values, top, axis=1)
        found.other_place[rows, :count_of] = np.where(found.other[rows, :count_of] > 0, order[top], NONE)

    def turned(rows: slice, values: np.ndarray) -> None:
        values[np.arange(len(values)), itself[asked[rows]]] = 0
        best = values.argmax(axis=1)
        found.turned[rows] = values[np.arange(len(values)), best]
        found.turned_place[rows] = np.where(found.turned[rows] >= min_identity, order[best], NONE)

    query = Kmers(database.table[itself[asked]], database.sizes[itself[asked]], database.k)
    for _ in in_blocks(query, database, given, threads):
        pass
    backwards = kmers_of([reverse_complement(sequences[i]) for i in asked])
    for _ in in_blocks(backwards, database, turned, threads):
        pass
    return found
