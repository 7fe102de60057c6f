"""The final answer on each sequence: rejected or not, what it is called at every rank, how deep its name goes.

``predict`` writes it and the figures judge it, so both take it from here. In: calibrated probabilities (n, labels), the
evidence (n, 4) beside them, a calibrator. Out: an ``Answer``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dnatune.metrics import top_choices
from dnatune.rejection import is_rejected
from dnatune.relatives import choices_at, relatives_of_rejected
from dnatune.scores import Scores
from dnatune.taxonomy import Taxonomy


@dataclass(frozen=True)
class Answer:
    """What is said of n records; without ranks there is one rank, the labels' own.

    ``taxa`` and ``probabilities`` hold for each rank, the labels' own first, the number (n,) of the taxon that stands
    for a record, named or not, and its probability (n,). ``depth`` (n,) is the number of the deepest rank at which a
    record gets a name; where it gets none, the number of ranks. ``rejected`` (n,) bool.
    """

    taxa: list[np.ndarray]
    probabilities: list[np.ndarray]
    depth: np.ndarray
    rejected: np.ndarray

    def named(self, rank: int = 0) -> np.ndarray:
        """Return which records (n,) get a name at a rank, or a deeper one."""
        return self.depth <= rank


@dataclass(frozen=True)
class Judged:
    """Records with all that is said of them: ``scores``, calibrated probabilities ``p`` (n, labels), ``answer``."""

    scores: Scores
    p: np.ndarray
    answer: Answer

    @classmethod
    def of(cls, scores: Scores, p: np.ndarray, calibrator: Mapping[str, Any]) -> Judged:
        """Work the answer out from ``scores``, their calibrated probabilities ``p`` and the fitted ``calibrator``."""
        return cls(scores, p, final_answer(calibrator, p, scores.evidence))


def final_answer(calibrator: Mapping[str, Any], p: np.ndarray, evidence: np.ndarray | None) -> Answer:
    """Return the answer from calibrated probabilities (n, labels) and evidence (n, 4).

    Without ranks every record that is not rejected gets the most probable label. With ranks the name is the deepest
    whose probability reaches the threshold; a rejected record has none at the labels' own rank, and above it the taxa
    of its closest relative: a species that was not learned may well be of a genus that was. A taxon without a name is
    none. The threshold is at least 0.5, so the taxa above a name are the most probable of their ranks too.
    """
    fitted, ranks = calibrator.get("rejection"), calibrator.get("ranks")
    rejected = is_rejected(p, evidence, fitted)
    if not ranks:
        best, top = top_choices(p)
        return Answer([best], [top], rejected.astype(np.int64), rejected)
    taxonomy, relatives = Taxonomy.from_json(ranks), relatives_of_rejected(p, evidence, fitted)
    taxa, probabilities, depth = [], [], np.full(len(p), len(taxonomy.ranks))
    for rank, of_taxa in enumerate(taxonomy.roll_up(p)):
        best, top = choices_at(taxonomy, rank, of_taxa, relatives) if rank else top_choices(of_taxa)
        has_name = taxonomy.has_name(rank)[best] if rank else ~rejected
        depth[has_name & (top >= ranks["threshold"]) & (depth > rank)] = rank
        taxa.append(best)
        probabilities.append(top)
    return Answer(taxa, probabilities, depth, rejected)
