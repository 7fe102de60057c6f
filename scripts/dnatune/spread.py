"""How far the sequences of one name are from each other, the farthest two of them included.

In: distinct sequences with their classes and ``Neighbours``. Out: ``Distances``, each measured where two sequences
overlap: of two that begin and end elsewhere, the parts that only one of them has say nothing about how alike they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from dnatune.kmer_search import K, identity
from dnatune.kmers import kmer_places
from dnatune.neighbours import Neighbours

# Two sequences that overlap in less of the shorter one are of different regions, and not compared.
LEAST_OVERLAP = 0.5
# All pairs of a class of so many sequences are compared; of a larger one as many pairs: some of its sequences, each the
# farthest from those before it, with all others.
MOST = 500
PAIRS = 4096


@dataclass(frozen=True)
class Distances:
    """Distances (0 to 1), NaN where nothing was comparable: of each asked entry to the nearest other sequence of its
    class, ``own`` (asked,); of each class between its two farthest sequences, ``farthest``, and to the nearest sequence
    of another class, ``between``, of class ``nearest`` (meaningless where NaN), each (classes,)."""

    own: np.ndarray
    farthest: np.ndarray
    between: np.ndarray
    nearest: np.ndarray


@dataclass(frozen=True)
class Placed:
    """The k-mers of sequences: ``places`` (n, k-mers) where each begins, counted from 1, ``there`` the same cells with
    1; ``sizes`` (n,) how many, ``lengths`` (n,) at how many places one could begin."""

    places: sparse.csr_matrix
    there: sparse.csr_matrix
    sizes: np.ndarray
    lengths: np.ndarray

    @classmethod
    def of(cls, sequences: Sequence[str]) -> Placed:
        """Read the k-mers of ``sequences``."""
        lengths = np.array([max(len(s) - K + 1, 1) for s in sequences], np.float32)
        return cls._of_places(kmer_places(sequences, K), lengths)

    @classmethod
    def _of_places(cls, places: sparse.csr_matrix, lengths: np.ndarray) -> Placed:
        ones = np.ones(len(places.data), np.float32)
        there = sparse.csr_matrix((ones, places.indices, places.indptr), shape=places.shape)
        return cls(places, there, np.diff(places.indptr).astype(np.float32), lengths)

    def taken(self, rows: np.ndarray) -> Placed:
        """Return the sequences ``rows``, with columns for the k-mers that they have: quick to multiply."""
        places = self.places[rows]
        columns, indices = np.unique(places.indices, return_inverse=True)
        shape = (len(rows), max(len(columns), 1))
        narrow = sparse.csr_matrix((places.data, indices.astype(np.int32), places.indptr), shape=shape)
        return self._of_places(narrow, self.lengths[rows])

    def across(self, rows: slice, min_identity: float) -> np.ndarray:
        """Return the identities (rows, n) of the sequences ``rows`` with all others, 0 where not comparable."""
        shared = (self.there[rows] @ self.there.T).toarray()
        moved = (self.places[rows] @ self.there.T).toarray() - (self.there[rows] @ self.places.T).toarray()
        sizes, lengths = (self.sizes[rows, None], self.sizes[None]), (self.lengths[rows, None], self.lengths[None])
        return overlap_identity(shared, moved, sizes, lengths, min_identity)

    def of_pairs(self, first: np.ndarray, second: np.ndarray, min_identity: float) -> np.ndarray:
        """Return the identities (pairs,) of sequences ``first`` (pairs,) with ``second``, 0 where not comparable."""
        found = np.zeros(len(first), np.float32)
        for start in range(0, len(first), PAIRS):
            one, two = first[start : start + PAIRS], second[start : start + PAIRS]
            mine, theirs = self.places[one].multiply(self.there[two]), self.there[one].multiply(self.places[two])
            shared = np.diff(mine.tocsr().indptr).astype(np.float32)
            moved = np.asarray(mine.sum(axis=1) - theirs.sum(axis=1)).ravel()
            sizes, lengths = (self.sizes[one], self.sizes[two]), (self.lengths[one], self.lengths[two])
            found[start : start + PAIRS] = overlap_identity(shared, moved, sizes, lengths, min_identity)
        return found


def overlap_identity(
    shared: np.ndarray,
    moved: np.ndarray,
    sizes: tuple[np.ndarray, np.ndarray],
    lengths: tuple[np.ndarray, np.ndarray],
    min_identity: float,
) -> np.ndarray:
    """Return estimated identities in the part where two sequences overlap, of arrays that fit each other.

    ``shared`` k-mers; ``moved``, the sum over them of the place in the first less that in the second; ``sizes``, k-mers
    of either; ``lengths``, places for k-mers of either. The mean shift places one along the other; the k-mers that
    ``kmer_search.identity`` counts in the shorter are those of the overlap, so that nothing changes where one lies
    within the other. 0 where that identity is below ``min_identity``, or the overlap is below ``LEAST_OVERLAP``.
    """
    shift = moved / np.maximum(shared, 1)
    shorter = np.minimum(*lengths)
    overlap = np.minimum(lengths[0], lengths[1] + shift) - np.maximum(shift, 0)
    overlap = np.clip(overlap, 0, shorter)
    smaller = np.minimum(sizes[0] * overlap / lengths[0], sizes[1] * overlap / lengths[1])
    compared = (identity(shared, *sizes, K) >= min_identity) & (overlap >= LEAST_OVERLAP * shorter)
    share = np.where(compared, np.minimum(shared / np.maximum(smaller, 1), 1), 0)
    return (share ** (1 / K)).astype(np.float32)


def distances(
    sequences: Sequence[str], label: np.ndarray, asked: np.ndarray, found: Neighbours, min_identity: float
) -> Distances:
    """Measure the distances of the entries ``asked`` and of their classes; ``label`` (n,) class ids of ``sequences``,
    ``found`` their neighbours at ``min_identity`` or more. Of a class without an asked entry only ``between`` is known,
    where an asked one is near it."""
    placed = Placed.of(sequences)
    nearest = np.zeros(len(sequences), np.float32)
    rows = np.flatnonzero(found.own > 0)
    nearest[asked[rows]] = placed.of_pairs(asked[rows], found.own_place[rows], min_identity)
    order = np.argsort(label, kind="stable")
    ends = np.searchsorted(label[order], np.arange(int(label.max(initial=-1)) + 2))
    farthest = np.full(len(ends) - 1, np.nan)
    for of in np.unique(label[asked]):
        members = order[ends[of] : ends[of + 1]]
        if len(members) < 2:
            continue
        best, least = _within(placed.taken(members), min_identity)
        nearest[members] = np.maximum(nearest[members], best)
        known = nearest[members][nearest[members] > 0]
        farthest[of] = 1 - min(least, float(known.min())) if len(known) else np.nan
    rows, places = np.nonzero(found.other > 0)
    one, two = asked[rows], found.other_place[rows, places]
    between, other = _between(label[one], label[two], placed.of_pairs(one, two, min_identity), len(farthest))
    return Distances(_distance(nearest[asked]), farthest, _distance(between), other)


def _between(first: np.ndarray, second: np.ndarray, alike: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the greatest identity of each class (classes,) with another, and which, from those of pairs of entries of
    the classes ``first`` and ``second`` (pairs,); 0 where there is none.

    A pair counts for both: its other entry may have its places for neighbours filled with those that seem nearer before
    the overlap is looked at.
    """
    one, two, both = np.r_[first, second], np.r_[second, first], np.r_[alike, alike]
    # What is written last stays: the most alike, and of equal ones what an entry of the class found itself.
    order = np.argsort(-both, kind="stable")[::-1]
    best, other = np.zeros(classes, np.float32), np.zeros(classes, np.int64)
    best[one[order]], other[one[order]] = both[order], two[order]
    return best, other


def _distance(identities: np.ndarray) -> np.ndarray:
    return np.where(identities > 0, 1 - identities.astype(float), np.nan)


def _within(members: Placed, min_identity: float) -> tuple[np.ndarray, float]:
    """Return the identity (n,) of each sequence of a class with the nearest other one, and the least of two that are
    comparable; 0, and 1, where none are. Of a large class the first is that with the sequences that were chosen."""
    count = len(members.sizes)
    if count <= MOST:
        alike = members.across(slice(None), min_identity)
        np.fill_diagonal(alike, 0)
        return alike.max(axis=1), float(alike[alike > 0].min(initial=1))
    nearest, least, chosen = np.zeros(count, np.float32), 1.0, 0
    left = np.ones(count, bool)
    for _ in range(max(1, MOST * MOST // count)):
        alike = members.across(slice(chosen, chosen + 1), min_identity)[0]
        alike[chosen], left[chosen] = 0, False
        nearest[chosen] = max(nearest[chosen], alike.max())
        nearest = np.maximum(nearest, alike)
        least = min(least, float(alike[alike > 0].min(initial=1)))
        # What is far from, or not comparable with, all that were chosen comes next.
        chosen = int(np.where(left, nearest, 2).argmin())
    return nearest, least
