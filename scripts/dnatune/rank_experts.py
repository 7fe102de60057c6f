"""An expert calibrated at every rank, as one more member of an engine beside the expert itself.

How sure an expert may be of a genus and how sure of the species within it are two questions; one temperature answers
both. So the pool is also offered each expert with a temperature for every step of the tree (``rank_calibration``), and
weighs the two by what validation says. Cross-fitted there, the log loss fell from 0.167 to 0.159 and from 0.377 to
0.367 on two sets of barcodes (docs/benchmarks.md).

In: logits (n, labels) of each expert. Out: the same and log probabilities (n, labels) of the new members, with the few
numbers that make these of new logits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dnatune import calibration, rank_calibration
from dnatune.calibration import parts_of_groups
from dnatune.pooling import FEWEST_GROUPS
from dnatune.scores import probabilities
from dnatune.taxonomy import Taxonomy

# No model can be called this: names have no blanks.
BY_RANK = " by rank"
TINY = np.finfo(np.float32).tiny

Tables = dict[str, np.ndarray]


def expert_of(member: str) -> str:
    """Return the expert that a member of a pool asks."""
    return member.removesuffix(BY_RANK)


def fit(taxonomy: Taxonomy, logits: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Return a ``temperature`` for validation logits (n, labels), and ``temperatures`` for the steps to each rank."""
    first = calibration.METHODS["temperature"].fit(logits, labels)
    p = probabilities(logits / np.float32(first["temperature"]))
    return {**first, "temperatures": rank_calibration.step_temperatures(taxonomy, p, labels)}


def apply(taxonomy: Taxonomy, fitted: Mapping[str, Any], logits: np.ndarray) -> np.ndarray:
    """Return the log probabilities of labels, float32 (n, labels), that ``fitted`` makes of logits."""
    p = probabilities(logits / np.float32(fitted["temperature"]))
    p = rank_calibration.tempered(taxonomy, fitted["temperatures"], p)
    return np.log(np.maximum(p, TINY)).astype(np.float32)


def with_ranks(
    taxonomy: Taxonomy | None,
    tables: Mapping[str, np.ndarray],
    validation: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    seed: int,
    folds: int,
) -> tuple[Tables, dict[str, dict[str, Any]]]:
    """Return all members' tables by name, and what ``apply`` needs for those by rank.

    ``tables`` are the experts' logits (n, labels), ``validation`` the rows (m,) with class ids ``labels`` (m,) and
    ``groups`` (m,). Validation rows get what a fit on the other groups makes of them, in ``folds`` parts: the pool is
    fitted on these. Without a taxonomy, or with too few groups to fit anything on, the experts are all there is.
    """
    found = dict(tables)
    if taxonomy is None or len(np.unique(groups)) < FEWEST_GROUPS:
        return found, {}
    part, steps = parts_of_groups(labels, seed, folds, groups), {}
    for expert, logits in tables.items():
        judged, name = logits[validation], expert + BY_RANK
        steps[name] = fit(taxonomy, judged, labels)
        found[name] = apply(taxonomy, steps[name], logits)
        for held in range(int(part.max()) + 1):
            inside, outside = part != held, np.flatnonzero(part == held)
            fitted = fit(taxonomy, judged[inside], labels[inside])
            found[name][validation[outside]] = apply(taxonomy, fitted, judged[outside])
    return found, steps


def members_of(
    taxonomy: Taxonomy | None, steps: Mapping[str, Mapping[str, Any]], tables: Mapping[str, np.ndarray]
) -> Tables:
    """Return all members' tables of new logits (n, labels), by the steps that ``with_ranks`` gave."""
    by_rank = {name: apply(taxonomy, fitted, tables[expert_of(name)]) for name, fitted in steps.items()}
    return {**tables, **by_rank}
