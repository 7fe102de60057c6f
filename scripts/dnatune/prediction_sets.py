"""Sets of names that hold the true one as often as was asked for: split conformal prediction, class by class.

Takes calibrated probabilities (n, classes) of validation records; gives thresholds, a plain dictionary that goes to
``calibration.json`` under ``sets``, and with them the set of any record. Sources: Romano, Sesia & Candes (2020),
"Classification with valid and adaptive coverage", NeurIPS (APS); Angelopoulos, Bates, Malik & Jordan (2021),
"Uncertainty sets for image classifiers using conformal prediction", ICLR (RAPS); Vovk, Lindsay, Nouretdinov &
Gammerman (2003), "Mondrian confidence machine" (thresholds of classes); Lee, Barber & Willett (2023), "Distribution-
free inference with hierarchical data" (groups).

Measured on barcodes (docs/benchmarks.md): with the usual u = 1 sets of a sure model hold 7 to 178 names where one would
do. The penalty of RAPS makes little difference with 100 classes; with 3,023 it cuts sets of 137 names to 10.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from dnatune.metrics import tidy
from dnatune.scores import row_blocks

LOGGER = logging.getLogger("dnatune")

# What each more probable name beyond the first FREE_NAMES - 1 takes from a score: it cuts the tail of classes whose
# probabilities are noise. Fixed, so that nothing is chosen on the records that the thresholds come from.
FREE_NAMES, PENALTY = 5, 0.001
# A class of at most so many training records is called rare, any other common.
RARE_RECORDS = 5
# The score from which on a name is the most probable one, see ``ranked``.
FIRST = 1.0
# Sums of the same probabilities in another order differ by so much at most.
ROUNDING = 1e-9
BLOCK_CELLS = 1_000_000
GROUPS_OF_CLASSES = ("rare classes", "common classes")

Sets = dict[str, Any]


def ranked(p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the classes of each row of probabilities (n, classes), most probable first, and their scores (n, classes).

    The score of a class is its own probability and that of all classes that are no more probable, less ``PENALTY`` for
    each place after ``FREE_NAMES``. It is 1 - s of RAPS (Angelopoulos et al. 2021, eq. 4) with u = 0 in place of its
    random part, so the same sequence always gets the same set. That would be 1 for every most probable class; here it
    is ``FIRST`` - log(1 - p) for one of probability p, which puts the first names in the order of how sure they are.
    Equally probable classes share a place and a score.
    """
    order = np.argsort(-p, axis=1, kind="stable")
    q = np.take_along_axis(p, order, axis=1)
    left = np.cumsum(q[:, ::-1], axis=1)[:, ::-1]
    place = np.zeros(q.shape, dtype=np.int64)
    place[:, 1:] = np.where(q[:, 1:] < q[:, :-1], np.arange(1, q.shape[1]), 0)
    np.maximum.accumulate(place, axis=1, out=place)
    scores = np.take_along_axis(left, place, axis=1) / left[:, :1] - PENALTY * np.maximum(place + 1 - FREE_NAMES, 0)
    # 1 - p would be 0 where the others have next to nothing.
    others = left[:, 1:2].sum(axis=1, keepdims=True) / left[:, :1]
    return order, np.where(place == 0, FIRST - np.log(np.maximum(others, np.finfo(float).tiny)), scores)


def label_scores(p: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the score (n,) of each record's own class; see ``ranked``."""
    found = np.empty(len(labels))
    for rows in row_blocks(p.shape, cells=BLOCK_CELLS):
        order, scores = ranked(p[rows])
        found[rows] = scores[order == labels[rows, None]]
    return found


def groups_needed(coverage: float) -> int:
    """Return how many groups a threshold needs: with fewer, only the set of all classes could keep the promise."""
    return math.ceil(coverage / (1 - coverage) - 1e-9)


def groups_for_own(coverage: float) -> int:
    """Return how many groups a class needs for a threshold of its own: so many that it is not its worst one.

    With 9 to 18 groups at a coverage of 0.9 it would be: one wrongly named record among them would put thousands of
    names into every set.
    """
    return math.ceil(2 / (1 - coverage) - 1 - 1e-9)


def threshold(scores: np.ndarray, groups: np.ndarray, coverage: float, between: bool = False) -> float | None:
    """Return the largest score t such that the groups' shares of scores >= t add up to (K + 1) ``coverage``.

    ``scores`` and ``groups`` (n,), K distinct groups (Lee, Barber & Willett 2023): each group counts once, however many
    copies it holds, and the ``+ 1`` is the group of the new record. Without copies it is the ceil((n + 1)
    coverage)-th largest score, which keeps a little more than was asked where that number was rounded up (0.914 of 0.9
    with 57 groups). With ``between`` the threshold lies between that score and the next larger one instead, by what was
    rounded: about as much is kept as was asked, neither more nor less. None where K is too small.
    """
    count, weight = _weights(groups)
    if count < groups_needed(coverage):
        return None
    order = np.argsort(-scores, kind="stable")
    reached = np.cumsum(weight[order])
    place = int(np.searchsorted(reached, (count + 1) * coverage - 1e-9))
    limit = float(scores[order[min(place, len(order) - 1)]])
    if not between or not 0 < place < len(order):
        return limit
    larger, before = float(scores[order[place - 1]]), reached[place - 1]
    return larger + ((count + 1) * coverage - before) / (reached[place] - before) * (limit - larger)


def _weights(groups: np.ndarray) -> tuple[int, np.ndarray]:
    """Return the number of groups and what each record (n,) counts: 1 / size of its group."""
    unique, place, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    return len(unique), 1.0 / sizes[place]


def thresholds(
    scores: np.ndarray, labels: np.ndarray, groups: np.ndarray, coverage: float, allow_empty: bool = False
) -> Sets:
    """Return the thresholds that keep the promise ``coverage`` on records like these (n,): a dictionary for JSON.

    ``own``: a threshold for each class with ``groups_for_own`` groups (Mondrian: the promise holds for the class by
    itself). ``shared``: the one of all other classes, fitted on their records alone, so that it holds for them taken
    together; fitted on all records where the others have too few. ``shared`` is None, with a ``note``, where even all
    records are too few: then there are no sets. With ``allow_empty`` a class whose own threshold would leave out some
    of its first names has none: else the common classes, of which a model is surest, would have the most empty sets.
    """
    class_group = np.unique(np.column_stack([labels, groups]), axis=0)
    counts = np.bincount(class_group[:, 0].astype(np.int64)) if len(class_group) else np.zeros(0, np.int64)
    own = {}
    for label in np.flatnonzero(counts >= groups_for_own(coverage)):
        mine = labels == label
        limit = threshold(scores[mine], groups[mine], coverage, allow_empty)
        if not allow_empty or limit <= FIRST:
            own[str(label)] = limit
    others = ~np.isin(labels, [int(label) for label in own])
    shared, of = threshold(scores[others], groups[others], coverage, allow_empty), "other classes"
    if shared is None:
        shared, of = threshold(scores, groups, coverage, allow_empty), "all classes"
    found: Sets = {
        "coverage": coverage,
        "allow_empty": allow_empty,
        "records": len(labels),
        "groups": len(np.unique(groups)),
        "shared": shared,
        "shared_from": of,
        "own": own,
    }
    if shared is None:
        found["note"] = (
            f"sets that hold {coverage:g} of the true names need {groups_needed(coverage)} distinct validation "
            f"sequences or clusters, there are {found['groups']}: there are no sets"
        )
        LOGGER.warning("Prediction sets: %s.", found["note"])
    return found


def fit(
    unseen: Iterable[tuple[np.ndarray, np.ndarray]],
    labels: np.ndarray,
    groups: np.ndarray,
    coverage: float,
    allow_empty: bool = False,
) -> Sets:
    """Return the thresholds from the ``labels`` and ``groups`` (n,) of validation records.

    The calibration is fitted on these very records, so the probabilities it gives them are better than those of new
    ones, and thresholds from them would promise too much. Therefore ``unseen`` gives, part by part, rows and the
    probabilities (rows, classes) of a calibration fitted without them and their groups (``calibration.held_out``).
    """
    scores = np.zeros(len(labels))
    for rows, p in unseen:
        scores[rows] = label_scores(p, labels[rows])
    return thresholds(scores, labels, groups, coverage, allow_empty)


def members(sets: Sets, p: np.ndarray) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Yield, block by block, rows, their sets and the sizes (rows,) of these.

    ``p`` (n, classes) are calibrated probabilities. A block's sets are class ids one after the other, of each row the
    most probable first. The most probable name is in every set, however unsure, unless the sets ``allow_empty``.
    Needs ``shared``.
    """
    limits = np.full(p.shape[1], sets["shared"])
    for label, limit in sets["own"].items():
        limits[int(label)] = limit
    limits -= ROUNDING * np.abs(limits)
    if not sets.get("allow_empty", False):
        limits = np.minimum(limits, FIRST)
    for rows in row_blocks(p.shape, cells=BLOCK_CELLS):
        order, scores = ranked(p[rows])
        inside = scores >= limits[order]
        yield rows, order[inside], inside.sum(axis=1)


def judge(
    sets: Sets, p: np.ndarray, labels: np.ndarray, groups: np.ndarray, trained: np.ndarray | None
) -> tuple[pd.DataFrame, np.ndarray]:
    """Return metrics (metric, class, value) of the sets of test records, and the sizes (n,) of the sets.

    ``p`` (n, classes) calibrated, ``labels`` and ``groups`` (n,), ``trained`` (classes,) training records of each
    class. Metrics: set_coverage, the share of records whose class is in their set; set_coverage_distinct, the same
    with each group counted once, as ``threshold`` counts them; set_size, mean number of names; set_size_median;
    set_single and set_empty, the share of sets of one name and of none. Class is all, and with ``trained``
    GROUPS_OF_CLASSES with set_records, how many records those are.
    """
    hit, sizes = np.zeros(len(labels), dtype=bool), np.zeros(len(labels), dtype=np.int64)
    for rows, ids, counts in members(sets, p):
        own = np.repeat(np.arange(rows.start, rows.stop), counts)
        hit[own[ids == labels[own]]] = True
        sizes[rows] = counts
    weight = _weights(groups)[1]
    parts = {"all": np.ones(len(labels), dtype=bool)}
    if trained is not None:
        rare = trained[labels] <= RARE_RECORDS
        parts |= dict(zip(GROUPS_OF_CLASSES, (rare, ~rare), strict=True))
    tables = []
    for name, mine in parts.items():
        if mine.any():
            found = {
                "set_coverage": hit[mine].mean(),
                "set_coverage_distinct": np.average(hit[mine], weights=weight[mine]),
                "set_size": sizes[mine].mean(),
                "set_size_median": np.median(sizes[mine]),
                "set_single": (sizes[mine] == 1).mean(),
                "set_empty": (sizes[mine] == 0).mean(),
                "set_records": mine.sum(),
            }
            tables.append(tidy(found).assign(**{"class": name}))
    return pd.concat(tables, ignore_index=True), sizes


def columns(sets: Sets, p: np.ndarray, names: Sequence[str]) -> dict[str, list]:
    """Return ``set``, the names of each record's set joined by "; ", most probable first, and ``set_size``.

    Empty where there are no sets; an empty set has size 0.
    """
    if sets["shared"] is None:
        return {"set": [""] * len(p), "set_size": pd.array([None] * len(p), dtype="Int64")}
    joined, sizes = [], []
    for _, ids, counts in members(sets, p):
        ends = np.cumsum(counts)
        joined += ["; ".join(names[i] for i in ids[end - n : end]) for end, n in zip(ends, counts, strict=True)]
        sizes += counts.tolist()
    return {"set": joined, "set_size": pd.array(sizes, dtype="Int64")}
