"""Records that look wrong: listed for a curator with the reason and the evidence, never removed.

In: the neighbours of distinct sequences. Out: a table with id, label, reason, evidence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree

from dnatune.groups import conflicting
from dnatune.neighbours import NONE, OTHERS, Neighbours

if TYPE_CHECKING:
    from dnatune.difficulty import Entries

REASONS = {
    "neighbours_of_another_name": "its nearest sequences all bear another name, its own species is farther away: "
    "perhaps a wrong name, or a mixed-up sample",
    "other_strand": "it fits the other sequences only when it is read backwards (reverse complement): turn it round",
    "same_sequence_other_name": "the same sequence also bears another name: a wrong name, a synonym, or species that "
    "this marker cannot tell apart",
}
COLUMNS = ["id", "label", "reason", "evidence"]
# A record is nearer to other names than to its own where its OTHERS nearest of other names are at most this share of
# the distance to its own, and nearer by this much.
SHARE, MARGIN = 0.5, 0.02
# The reverse complement of a record is similar to others from this identity on.
TURNED = 0.8


def table(
    ids: list[str],
    names: list[str],
    sequence: np.ndarray,
    label: np.ndarray,
    entries: Entries,
    found: Neighbours,
    component: np.ndarray,
) -> pd.DataFrame:
    """Return the suspicious records, reason by reason; identical records of one name share their evidence.

    ``sequence`` and ``label`` (records,) codes and class ids, ``component`` (entries,) what is linked on one strand.
    """
    rows: list[tuple[str, str, str, str]] = []

    def told(place: int, identity: float) -> str:
        return f"{names[entries.label[place]]} ({ids[entries.first[place]]}, {_percent(identity)})"

    evidence: dict[str, dict[int, str]] = {reason: {} for reason in REASONS}
    for row in np.flatnonzero(misnamed(entries, found)):
        near = "; ".join(map(told, found.other_place[row], found.other[row]))
        own = told(found.own_place[row], found.own[row])
        evidence["neighbours_of_another_name"][entries.asked[row]] = f"nearest: {near}; nearest of its own name: {own}"
    for row in np.flatnonzero(backwards(entries, found, component)):
        best = max(found.own[row], found.other[row, 0])
        as_given = f"at best {_percent(best)}" if best else "nothing similar"
        evidence["other_strand"][entries.asked[row]] = (
            f"backwards: {told(found.turned_place[row], found.turned[row])}; as given: {as_given}"
        )
    for reason in ("neighbours_of_another_name", "other_strand"):
        listed = np.isin(entries.entry, list(evidence[reason]))
        rows += [(ids[r], names[label[r]], reason, evidence[reason][entries.entry[r]]) for r in np.flatnonzero(listed)]
    shared = np.flatnonzero(conflicting(sequence, label))
    bearers: dict[int, list[int]] = {}
    for r in shared:
        bearers.setdefault(int(sequence[r]), []).append(int(r))
    for r in sorted(shared, key=lambda r: (bearers[int(sequence[r])][0], r)):
        others = [b for b in bearers[int(sequence[r])] if label[b] != label[r]]
        same = "; ".join(f"{names[label[b]]} ({ids[b]})" for b in others[:OTHERS])
        more = f"; and {len(others) - OTHERS} more" if len(others) > OTHERS else ""
        rows.append((ids[r], names[label[r]], "same_sequence_other_name", f"identical: {same}{more}"))
    return pd.DataFrame(rows, columns=COLUMNS)


def misnamed(entries: Entries, found: Neighbours) -> np.ndarray:
    """Return the mask (asked,) of entries whose ``OTHERS`` nearest sequences bear other names while the nearest of
    their own, though comparable, is much farther. One identical copy of the same name is enough to be trusted."""
    own = 1 - found.own
    farthest = 1 - found.other[:, -1]
    there = (found.own > 0) & (found.other[:, -1] > 0) & (entries.copies[entries.asked] == 1)
    return there & (farthest <= SHARE * own) & (own - farthest >= MARGIN)


def backwards(entries: Entries, found: Neighbours, component: np.ndarray) -> np.ndarray:
    """Return the mask (asked,) of entries on the other strand.

    Parts of the data that nothing links on the given strand, but whose members resemble each other backwards, lie on
    opposite strands: followed from the largest part along the best such matches, every second one. The smaller side
    is the turned one; of two equal sides nobody knows, so both are listed.
    """
    size = np.bincount(component, weights=entries.copies)
    hit = (found.turned_place != NONE) & (found.turned >= TURNED)
    mine, theirs = component[entries.asked], component[np.where(hit, found.turned_place, 0)]
    hit &= mine != theirs
    best: dict[tuple[int, int], float] = {}
    for a, b, identity in zip(mine[hit], theirs[hit], found.turned[hit], strict=True):
        pair = (int(min(a, b)), int(max(a, b)))
        best[pair] = min(best.get(pair, 2.0), 2.0 - float(identity))
    if not best:
        return hit
    rows, columns = np.array(list(best)).T
    tree = minimum_spanning_tree(coo_array((list(best.values()), (rows, columns)), shape=(len(size),) * 2))
    _, group = connected_components(tree, directed=False)
    turned = np.zeros(len(size), bool)
    for one in np.unique(group[rows]):
        members = np.flatnonzero(group == one)
        order, before = breadth_first_order(tree, members[size[members].argmax()], directed=False)
        side = np.zeros(len(size), bool)
        for place in order[1:]:
            side[place] = not side[before[place]]
        first, second = size[members[~side[members]]].sum(), size[members[side[members]]].sum()
        turned[members] = side[members] if second < first else ~side[members] if first < second else True
    return hit & turned[mine]


def _percent(identity: float) -> str:
    return f"{100 * float(identity):.1f} %"
