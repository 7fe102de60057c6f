"""The closest relative of a sequence that is none of the known species: its genus and family are read from it.

Probabilities of labels say little of a species that no label stands for: they were fitted to tell the known ones from
each other. The genus of the most similar training sequence is right more often (on annelids of 6,000 records, 0.70
against 0.52 of a k-mer regression and 0.50 of a language model; docs/benchmarks.md), as users of BLAST expect.

In: evidence (n, 4), calibrated probabilities (n, labels), what ``rejection.fit`` gave. Out: class ids of relatives, and
what stands at each rank.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dnatune.metrics import top_choices
from dnatune.rejection import is_rejected
from dnatune.scores import EVIDENCE
from dnatune.taxonomy import Taxonomy

COLUMN = EVIDENCE.index("relative")
NONE = -1


def relatives_of_rejected(
    probabilities: np.ndarray, evidence: np.ndarray | None, fitted: Mapping[str, Any] | None
) -> np.ndarray:
    """Return the class id (n,) of each rejected record's closest relative, ``NONE`` for others and without a hit."""
    found = np.full(len(probabilities), NONE)
    if evidence is not None:
        rows = is_rejected(probabilities, evidence, fitted) & np.isfinite(evidence[:, COLUMN])
        found[rows] = evidence[rows, COLUMN].astype(np.int64)
    return found


def choices_at(
    taxonomy: Taxonomy, rank: int, probabilities: np.ndarray, relatives: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the taxon (n,) of a rank that stands for each record, and its probability (n,).

    The most probable one, or for a record with a relative (n,) that one's, with the probability that it has all the
    same: where relative and probabilities disagree it is low, so that such a record is named less deep. ``rank`` is its
    number, ``probabilities`` (n, taxa) are those of the rank.
    """
    best, top = (values.copy() for values in top_choices(probabilities))
    rows = np.flatnonzero(relatives != NONE)
    best[rows] = taxonomy.of_label[rank][relatives[rows]]
    top[rows] = probabilities[rows, best[rows]]
    return best, top


def with_relatives(witness: np.ndarray | None, others: list[np.ndarray | None]) -> np.ndarray | None:
    """Return the evidence (n, 4) of ``witness`` with the relatives that the first of ``others`` has, if any has."""
    seen = [of for of in others if of is not None and np.isfinite(of[:, COLUMN]).any()]
    if not seen:
        return witness
    found = np.full_like(seen[0], np.nan) if witness is None else witness.copy()
    found[:, COLUMN] = seen[0][:, COLUMN]
    return found
