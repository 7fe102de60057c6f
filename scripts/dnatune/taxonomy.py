"""Taxonomy: which genus, family, ... each label belongs to, and probabilities rolled up from labels to them.

In: labels with their rank columns. Out: one lineage for each label, or one sentence on what contradicts itself;
and the ``Taxonomy`` of the trained labels. Ranks stand from low to high everywhere, the label's own first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dnatune.errors import UserError, first_ten
from dnatune.tasks.base import LabelSource
from dnatune.unknown_kinds import FLAGGED

if TYPE_CHECKING:
    import pyarrow as pa

# As QIIME 2, SILVA and Greengenes write them in front of a name.
LETTERS = {
    "domain": "d",
    "superkingdom": "d",
    "kingdom": "k",
    "phylum": "p",
    "division": "p",
    "class": "c",
    "order": "o",
    "family": "f",
    "genus": "g",
    "species": "s",
}

Lineages = dict[str, list[str | None]]


def label_rank(column: str, ranks: Sequence[str]) -> str:
    """Return what the rank of the labels is called: their column where that is a rank, else species below genus."""
    below_genus = bool(ranks) and ranks[0].lower() == "genus"
    return "species" if below_genus and column.lower() not in LETTERS else column


def prefixes(ranks: Sequence[str]) -> list[str]:
    """Return the prefix of each rank, such as ``g__``, all different.

    Known ranks have their letter. Another one has the shortest beginning of its name that no rank has yet.
    """
    found: dict[str, str] = {}
    for rank in ranks:
        letter = LETTERS.get(rank.lower())
        if letter and letter not in found.values():
            found[rank] = letter
    for rank in ranks:
        taken = {*found.values(), *LETTERS.values()}
        beginnings = [rank[: n + 1].lower().replace(" ", "_") for n in range(len(rank))]
        found.setdefault(rank, next((b for b in beginnings if b not in taken), rank))
    return [f"{found[rank]}__" for rank in ranks]


def described(records: pa.Table, ranks: Sequence[str], column: str, path: str) -> dict[str, Any]:
    """Return what label_map.json has under ``taxonomy``, from the records read from ``path``.

    ``ranks`` from the label's own upwards; the ``lineages`` of all labels; ``unknown``: the label of each record whose
    label is not trained, by id; ``flagged``: the lineage of each record of no labelled species, by id. ``column`` is
    the label column of the user's table.
    """
    texts = records.select(["id", "label", "known", *(f"rank_{rank}" for rank in ranks)]).to_pydict()
    columns = {rank: texts[f"rank_{rank}"] for rank in ranks}
    kinds = records["unknown"].to_pylist() if "unknown" in records.column_names else [None] * len(records)
    flagged = [kind == FLAGGED for kind in kinds]
    # Where empty cells are refused, the records step has done it.
    source = LabelSource(path, column)
    table, row = _filled(source, texts["id"], texts["label"], columns, "unassigned", flagged)
    own = table[list(range(len(ranks)))].to_numpy(object)
    each = list(zip(texts["id"], texts["label"], texts["known"], flagged, row, strict=True))
    return {
        "ranks": [label_rank(column, ranks), *ranks],
        "lineages": _of_labels(table),
        "unknown": {name: label for name, label, known, marked, _ in each if not known and not marked},
        "flagged": {name: list(own[at]) for name, _, _, marked, at in each if marked},
    }


def lineages(
    source: LabelSource,
    ids: Sequence[str],
    labels: Sequence[str],
    ranks: Mapping[str, Sequence[str | None]],
    empty: str,
    flagged: Sequence[bool] | None = None,
) -> Lineages:
    """Return the lineage of each label: a taxon of each of ``ranks``, None where nothing names one.

    ``ids``, ``labels`` and the columns of ``ranks`` (low to high) are (n,). With ``empty`` "unassigned" an empty cell
    takes the taxon that other rows of the same label, genus, ... name; where none does it stays None. With "error"
    it raises UserError, as everything does that makes no tree: a label with two genera, a genus in two families.

    The records that ``flagged`` (n,) marks are of no labelled species: what they are called may be empty, or shared by
    strangers ("unknown"), and each has a lineage of its own. They fill no cell of others, and raise only where others
    bear the label or taxon too.
    """
    return _of_labels(_filled(source, ids, labels, ranks, empty, flagged)[0])


def _filled(
    source: LabelSource,
    ids: Sequence[str],
    labels: Sequence[str],
    ranks: Mapping[str, Sequence[str | None]],
    empty: str,
    flagged: Sequence[bool] | None,
) -> tuple[pd.DataFrame, np.ndarray]:
    """Return distinct rows of label and ranks (0, 1, ...), empty cells filled, and the row (n,) of each record."""
    names = list(ranks)
    table = pd.DataFrame({"label": labels, **{i: list(ranks[name]) for i, name in enumerate(names)}, "id": ids})
    columns = ["label", *range(len(names))]
    table = table.astype(object).where(table.notna() & (table != ""), None)
    table["flagged"] = np.zeros(len(table), bool) if flagged is None else np.array(flagged, bool)
    if empty == "error":
        _refuse_empty(source, table, names)
    # What a label says of a flagged record it says only as the name of others.
    table["label"] = table["label"].where(table["label"].isin(table.loc[~table["flagged"], "label"]), None)
    groups = table.groupby([*columns, "flagged"], dropna=False, sort=False)
    row, table = groups.ngroup().to_numpy(), table.drop_duplicates([*columns, "flagged"], ignore_index=True)
    _refuse_contradictions(source, table, columns, names)
    for place, upper in enumerate(columns[1:], start=1):
        for lower in columns[:place][::-1]:
            # A flagged record's taxon may be a placeholder that strangers share: it says nothing of others.
            said = table[~table["flagged"]].dropna(subset=[lower, upper]).drop_duplicates([lower, upper])
            said = said.drop_duplicates(lower, keep=False).set_index(lower)[upper]
            table[upper] = table[upper].where(table[upper].notna(), table[lower].map(said))
        table[upper] = table[upper].where(table[upper].notna(), None)
    # What was filled in may contradict what others say.
    _refuse_contradictions(source, table, columns, names)
    return table, row


def _of_labels(table: pd.DataFrame) -> Lineages:
    first = table[~table["flagged"]].drop_duplicates("label").drop(columns=["id", "flagged"])
    return {row[0]: list(row[1:]) for row in first.itertuples(index=False, name=None)}


def _refuse_empty(source: LabelSource, table: pd.DataFrame, names: Sequence[str]) -> None:
    for place, name in enumerate(names):
        ids = table.loc[table[place].isna(), "id"].tolist()
        if ids:
            raise UserError(
                f"{source.file} has an empty '{name}' for {len(ids)} {'id' if len(ids) == 1 else 'ids'} "
                f"({first_ten(ids)}); fill it in, take '{name}' out of data.columns.ranks, or set "
                "data.on_empty_rank: unassigned."
            )


def _refuse_contradictions(
    source: LabelSource, table: pd.DataFrame, columns: Sequence[Any], names: Sequence[str]
) -> None:
    """Raise UserError for the first taxon that is in two taxa of a higher rank; name both rows.

    A taxon of flagged records alone may be a placeholder, which contradicts nothing.
    """
    called = [source.column, *names]
    # From the rank right below: a genus in two families is said of the genus, not of its species.
    for low, high in [(b, a) for a in range(1, len(columns)) for b in range(a - 1, -1, -1)]:
        lower, upper = columns[low], columns[high]
        pairs = table.dropna(subset=[lower, upper]).drop_duplicates([lower, upper])
        wrong = pairs[pairs.duplicated(lower, keep=False) & pairs[lower].isin(table.loc[~table["flagged"], lower])]
        if wrong.empty:
            continue
        one, two = wrong[wrong[lower] == wrong[lower].iloc[0]].head(2).to_dict("records")
        others = [name for name in dict.fromkeys(wrong[lower]) if name != one[lower]]
        more = f" ({'so is' if len(others) == 1 else 'so are'} {first_ten(others)})" if others else ""
        remedy = "correct the table"
        if low:
            remedy += f" or, where two bear the name, tell them apart in it ('{one[lower]} {two[upper]}')"
        raise UserError(
            f"{source.file}: {called[low]} '{one[lower]}' is in {called[high]} '{one[upper]}' (id {one['id']}) and "
            f"in {called[high]} '{two[upper]}' (id {two['id']}){more}; {remedy}."
        )


@dataclass(frozen=True)
class Taxonomy:
    """The tree above the trained labels.

    ``ranks`` names all ranks, the label's own first; ``taxa`` the names of each higher rank, None for a taxon without a
    name: above each label (or genus, ...) without one there is a taxon of its own. ``parents[r]`` (taxa of rank r,)
    numbers the taxon of rank r + 1 that each belongs to. ``unknown`` gives the lineages of the records whose label was
    not trained, and of those flagged as of no label, by id.
    """

    ranks: tuple[str, ...]
    taxa: tuple[tuple[str | None, ...], ...]
    parents: tuple[np.ndarray, ...]
    unknown: Mapping[str, Sequence[str | None]] = field(default_factory=dict)

    @classmethod
    def of(cls, label_map: Mapping[str, Any]) -> Taxonomy | None:
        """Build from the contents of label_map.json; None where the label table has no ranks."""
        given = label_map.get("taxonomy")
        if not given:
            return None
        label2id = label_map["label2id"]
        lineage_of, ranks = given["lineages"], given["ranks"]
        nothing = [None] * (len(ranks) - 1)
        # A label that a given label map names and no record bears has no lineage.
        lineage = [lineage_of.get(label, nothing) for label in sorted(label2id, key=label2id.__getitem__)]
        lower, taxa, parents = np.arange(len(lineage)), [], []
        for rank in range(len(ranks) - 1):
            keys = [line[rank] or int(own) for line, own in zip(lineage, lower, strict=True)]
            number = {key: i for i, key in enumerate(dict.fromkeys(keys))}
            upper = np.array([number[key] for key in keys])
            taxa.append(tuple(key if isinstance(key, str) else None for key in number))
            parents.append(np.zeros(lower.max() + 1, np.int64))
            parents[-1][lower] = upper
            lower = upper
        unknown = {name: lineage_of[label] for name, label in given["unknown"].items()}
        unknown |= given.get("flagged", {})
        return cls(tuple(ranks), tuple(taxa), tuple(parents), unknown)

    def to_json(self) -> dict[str, Any]:
        """Return ranks, taxa and parents as a plain dictionary; records of unknown labels stay behind."""
        return {
            "ranks": list(self.ranks),
            "taxa": [list(names) for names in self.taxa],
            "parents": [parent.tolist() for parent in self.parents],
        }

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Taxonomy:
        """Build from what ``to_json`` gave."""
        taxa = tuple(tuple(names) for names in given["taxa"])
        return cls(tuple(given["ranks"]), taxa, tuple(np.array(parent, np.int64) for parent in given["parents"]))

    @cached_property
    def of_label(self) -> list[np.ndarray]:
        """The taxon of each label (labels,) at every rank; at its own rank the label itself."""
        found = [np.arange(len(self.parents[0]))]
        for parent in self.parents:
            found.append(parent[found[-1]])
        return found

    def has_name(self, rank: int) -> np.ndarray:
        """Return which taxa of a rank (taxa,) bool have a name; labels all have."""
        return np.array([rank == 0 or name is not None for name in self.taxa[max(rank - 1, 0)]])

    def members(self, rank: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the taxa of ``rank`` in the order of their parents, and where each parent's begin in it."""
        parent = self.parents[rank]
        order = np.argsort(parent, kind="stable")
        return order, np.searchsorted(parent[order], np.arange(parent.max() + 1))

    @cached_property
    def _turns(self) -> list[tuple[list[np.ndarray], np.ndarray]]:
        """For each rank below the highest: the first members of all parents, the second ones, ..., parents with many
        members in front; and where each parent stands in that order."""
        found = []
        for rank in range(len(self.parents)):
            order, starts = self.members(rank)
            sizes = np.diff([*starts, len(order)])
            by_size = np.argsort(-sizes, kind="stable")
            columns = [order[starts[by_size[sizes[by_size] > turn]] + turn] for turn in range(sizes.max())]
            found.append((columns, np.argsort(by_size, kind="stable")))
        return found

    def over_members(self, operation: np.ufunc, values: np.ndarray, rank: int) -> np.ndarray:
        """Return ``values`` (n, taxa of ``rank``) reduced over the members of each taxon of the next rank."""
        # One member of each taxon at a time: with many small taxa five times as fast as ufunc.reduceat.
        (first, *others), place = self._turns[rank]
        result = values[:, first]
        for columns in others:
            part = result[:, : len(columns)]
            operation(part, values[:, columns], out=part)
        return result[:, place]

    def roll_up(self, probabilities: np.ndarray) -> list[np.ndarray]:
        """Return the probabilities (n, taxa) of every rank: sums over members, from label probabilities (n, labels).

        Each rank is summed from the one below, so that a taxon never has more than the one it belongs to.
        """
        found = [probabilities]
        for rank in range(len(self.parents)):
            found.append(np.minimum(self.over_members(np.add, found[-1], rank), 1.0))
        return found
