"""Matching: the label table, vectors and clusters of a user, matched by id with the records of the FASTA.

In: the settings and the ids of the FASTA. Out: for each record its row in each table, and a ledger of who
left and why. Nothing is left out in silence: it is an error, or a line in the ledger.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from dnatune.errors import UserError, first_ten, nearest
from dnatune.files import whole
from dnatune.tables import positions, read_numbers, read_table, repeated, select_rows

_ROLE_NAMES = {
    **dict.fromkeys(("train", "training"), 0),
    **dict.fromkeys(("dev", "val", "valid", "validation"), 1),
    "test": 2,
}
_TRUTH = {**dict.fromkeys(("1", "true", "yes", "1.0"), 1), **dict.fromkeys(("0", "false", "no", "0.0"), 0)}


@dataclass(frozen=True)
class Columns:
    """Names of the columns of the tables; ``split`` None: no split column; ``ranks``: e.g. genus, family.

    ``known`` names the column that is 0 where a record's species is none of the labels, None: there is none.
    ``label`` may be several columns; they are read as one text, joined by tabs, under ``label_name``.
    """

    id: str = "id"
    label: str | tuple[str, ...] = "label"
    split: str | None = None
    cluster: str = "cluster"
    ranks: tuple[str, ...] = ()
    known: str | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """The label columns."""
        return (self.label,) if isinstance(self.label, str) else tuple(self.label)

    @property
    def label_name(self) -> str:
        """Name of the label column, or of several together."""
        return ", ".join(self.labels)


@dataclass(frozen=True)
class Settings:
    """The configuration's ``data`` and ``filter`` sections; lengths in base pairs, ``max_n_share`` 0 to 1."""

    sequences: str
    labels: str | None
    vectors: str | None = None
    clusters: str | None = None
    columns: Columns = Columns()
    select: Mapping[str, list[str]] = field(default_factory=dict)
    on_mismatch: str = "error"
    on_duplicate_id: str = "error"
    on_empty_rank: str = "error"
    min_length: int = 50
    max_length: int | None = None
    max_n_share: float = 0.1
    conflicts: str = "keep"
    min_distinct: int = 2
    on_split_leak: str = "drop"

    @classmethod
    def from_config(cls, data: Mapping[str, Any], filter: Mapping[str, Any]) -> Settings:
        """Build from the two sections, with defaults for missing keys. Raises UserError for unknown ones."""
        given = {**data, **filter}
        columns = dict(given.pop("columns", None) or {})
        columns["ranks"] = tuple(columns.get("ranks") or ())
        given.pop("label_map", None)  # the task knows it
        if not isinstance(columns.get("label", ""), str):
            columns["label"] = tuple(columns["label"])
        given["select"] = given.get("select") or {}
        for kind, section in ((cls, given), (Columns, columns)):
            names = [f.name for f in fields(kind)]
            for key in section:
                if key not in names:
                    raise UserError(f"The key '{key}' of data or filter is unknown{nearest(key, names)}.")
        return cls(columns=Columns(**columns), **given)


class Ledger:
    """Who left, and why: one reason per record (the first that applied) and any number of table rows."""

    def __init__(self, ids: pa.Array) -> None:
        self.ids = ids
        self.kept = np.ones(len(ids), bool)
        self.counts: dict[str, int] = {}
        self._rows: list[pd.DataFrame] = []

    def remove(self, mask: np.ndarray, reason: str, detail: str | np.ndarray) -> None:
        """Take the records of ``mask`` (n,) out; ``detail`` is one text, or an array (n,) of texts."""
        mask = mask & self.kept
        self.kept &= ~mask
        self.note(self.names(mask), reason, detail if isinstance(detail, str) else detail[mask])

    def note(self, ids: pa.Array, reason: str, detail: str | np.ndarray) -> None:
        """Write down ``ids`` with a reason: rows of a table, or records that stay but are not trained on."""
        if len(ids):
            self.counts[reason] = self.counts.get(reason, 0) + len(ids)
            self._rows.append(pd.DataFrame({"id": ids.to_pandas(), "reason": reason, "detail": detail}))

    def names(self, mask: np.ndarray) -> pa.Array:
        """Return the ids of the records of ``mask`` (n,)."""
        return self.ids.filter(pa.array(mask))

    def write(self, path: str | Path) -> None:
        """Write removed.tsv: id, reason, detail."""
        with whole(path) as partial:
            pd.DataFrame({"id": [], "reason": [], "detail": []}).to_csv(partial, sep="\t", index=False)
            for rows in self._rows:
                rows.to_csv(partial, sep="\t", index=False, header=False, mode="a")


@dataclass
class Side:
    """A vectors or clusters table without repeats: its ids, and its values (a matrix (n, d) or texts)."""

    path: str
    ids: pa.Array
    values: Any
    names: list[str]


@dataclass
class Tables:
    """The user's tables as read: selected label rows without repeats, and the ids of rows not selected."""

    settings: Settings
    labels: pa.Table
    not_selected: pa.Array
    vectors: Side | None
    clusters: Side | None
    rows: dict[str, int]
    _repeats: list[tuple[pa.Array, str]]


def read_tables(settings: Settings, ids: pa.Array) -> Tables:
    """Read the label table and, where given, vectors and clusters.

    Without a label table every one of the FASTA's ``ids`` has an empty label.

    Raises UserError: what reading raises, repeated ids (unless ``on_duplicate_id`` is drop), a selection that
    leaves nothing.
    """
    columns = settings.columns
    repeats: list[tuple[pa.Array, str]] = []
    rows: dict[str, int] = {}
    if settings.labels is None:
        unlabelled = pc.unique(ids)
        selected = pa.table({columns.id: unlabelled, columns.label_name: pa.array([""] * len(unlabelled))})
        others = ids.slice(0, 0)
    else:
        selected, others = _read_labels(settings, repeats, rows)
    vectors = clusters = None
    if settings.vectors:
        vector_ids, matrix, names = read_numbers(settings.vectors, columns.id, "vectors table")
        rows["vectors"] = len(vector_ids)
        index = pa.table({columns.id: vector_ids, "row": np.arange(len(vector_ids))})
        index = _without_repeats(settings, settings.vectors, index, repeats)
        matrix = matrix[index["row"].to_numpy()]
        vectors = Side(settings.vectors, index[columns.id].combine_chunks(), matrix, names)
    if settings.clusters:
        cluster_table = read_table(settings.clusters, [columns.id, columns.cluster], "clusters table")
        rows["clusters"] = cluster_table.num_rows
        cluster_table = _without_repeats(settings, settings.clusters, cluster_table, repeats)
        values = cluster_table[columns.cluster].combine_chunks()
        clusters = Side(settings.clusters, cluster_table[columns.id].combine_chunks(), values, [columns.cluster])
    return Tables(settings, selected, others, vectors, clusters, rows, repeats)


def _read_labels(
    settings: Settings, repeats: list[tuple[pa.Array, str]], rows: dict[str, int]
) -> tuple[pa.Table, pa.Array]:
    """Return the selected rows of the label table without repeats, and the ids of the rows not selected."""
    columns = settings.columns
    wanted = [columns.id, *columns.labels, *columns.ranks, *settings.select]
    wanted += [name for name in (columns.split, columns.known) if name]
    table = _labels_joined(read_table(settings.labels, wanted, "label table"), columns)
    rows["labels"] = table.num_rows
    chosen = select_rows(table, settings.select, settings.labels)
    ids = table[columns.id].combine_chunks()
    selected = _without_repeats(settings, settings.labels, table.filter(pa.array(chosen)), repeats)
    others = pc.unique(ids.filter(pa.array(~chosen)))
    return selected, others.filter(pc.invert(pc.is_in(others, value_set=selected[columns.id].combine_chunks())))


def _labels_joined(table: pa.Table, columns: Columns) -> pa.Table:
    """Add the text of several label columns as one column; nothing at all in a row stays an empty text."""
    if len(columns.labels) == 1:
        return table
    joined = pc.binary_join_element_wise(*(table[name] for name in columns.labels), "\t")
    nothing = pc.equal(joined, "\t" * (len(columns.labels) - 1))
    return table.append_column(columns.label_name, pc.if_else(nothing, "", joined))


def drop_repeated_records(settings: Settings, ledger: Ledger) -> None:
    """Keep the first record of each id. Raises UserError for repeats unless ``on_duplicate_id`` is drop."""
    again = repeated(ledger.ids)
    if again.any() and settings.on_duplicate_id != "drop":
        raise _repeat_error(settings.sequences, ledger.names(again))
    ledger.remove(again, "duplicate_id", f"record repeated in {Path(settings.sequences).name}, the first is kept")


def match_labels(tables: Tables, ledger: Ledger, empty_labels: bool = False) -> np.ndarray:
    """Return the label row (n,) of each record, -1 for none; records without a usable label leave.

    With ``empty_labels`` an empty label is one like others; a record marked as of no labelled species needs none.
    Raises UserError: ids in one file only, empty labels (unless ``on_mismatch`` is drop).
    """
    settings, columns = tables.settings, tables.settings.columns
    for ids, name in tables._repeats:
        ledger.note(ids, "duplicate_id", f"row repeated in {name}, the first is kept")
    if len(tables.not_selected):
        reason, detail = "not_selected", "data.select"
        here = pc.is_in(tables.not_selected, value_set=ledger.ids)
        ledger.note(tables.not_selected.filter(pc.invert(here)), reason, f"{detail}, and without a sequence")
        ledger.remove(_is_in(ledger.ids, tables.not_selected), reason, detail)
    ids = tables.labels[columns.id].combine_chunks()
    row = positions(ledger.ids, ids)
    if settings.labels is None:
        return row
    _unmatched(settings, ledger, row < 0, "no_label", settings.sequences, settings.labels)
    _rows_without_sequence(settings, ledger, ids, settings.labels)
    empty = np.zeros(len(row), bool)
    empty[row >= 0] = pc.equal(tables.labels[columns.label_name], "").to_numpy()[row[row >= 0]]
    empty &= ledger.kept & (not empty_labels)
    if columns.known is not None:
        empty[row >= 0] &= _answers(tables)[row[row >= 0]] != 0
    if empty.any() and settings.on_mismatch != "drop":
        raise UserError(
            f"{settings.labels} has an empty '{columns.label_name}' for {_counted(ledger.names(empty))}; "
            "fill it in, or set data.on_mismatch: drop to leave those out."
        )
    ledger.remove(
        empty, "empty_label", f"no '{columns.label_name}' in {Path(settings.labels or settings.sequences).name}"
    )
    return row


def match_side(settings: Settings, side: Side | None, ledger: Ledger, reason: str) -> np.ndarray | None:
    """Return the row (n,) of each record in a vectors or clusters table; None if there is no such table.

    Raises UserError: a row for an unknown id, a kept record without a row (unless ``on_mismatch`` is drop).
    """
    if side is None:
        return None
    _rows_without_sequence(settings, ledger, side.ids, side.path)
    row = positions(ledger.ids, side.ids)
    if isinstance(side.values, pa.Array):
        empty = pc.equal(side.values, "").to_numpy(zero_copy_only=False)
        row[(row >= 0) & empty[row]] = -1
    _unmatched(settings, ledger, row < 0, reason, settings.sequences, side.path)
    return row


def roles(tables: Tables, row: np.ndarray, ledger: Ledger) -> np.ndarray:
    """Return the role (n,) int8 by the split column: 0 train, 1 validation, 2 test, -1 for removed records.

    Raises UserError for any other word, with the id of its row.
    """
    column = tables.settings.columns.split
    codes = np.full(len(row), -1, np.int8)
    kept = np.flatnonzero(ledger.kept)
    values = tables.labels[column].combine_chunks().dictionary_encode()
    words = [_ROLE_NAMES.get(word.lower(), -1) for word in values.dictionary.to_pylist()]
    codes[kept] = np.array(words, np.int8)[values.indices.to_numpy()[row[kept]]]
    wrong = kept[codes[kept] < 0]
    if len(wrong):
        raise UserError(
            f"{tables.settings.labels} has '{values[row[wrong[0]]].as_py()}' in column '{column}' for id "
            f"'{ledger.ids[wrong[0]]}'; expected train, validation (or dev, val, valid) or test."
        )
    return codes


def flagged(tables: Tables, row: np.ndarray, ledger: Ledger) -> np.ndarray:
    """Return the mask (n,) of the kept records that the column ``known`` marks as of no labelled species.

    Raises UserError for a word that is neither yes nor no, with the id of its row.
    """
    column = tables.settings.columns.known
    mask = np.zeros(len(row), bool)
    if column is None:
        return mask
    kept = np.flatnonzero(ledger.kept)
    answers = _answers(tables)[row[kept]]
    wrong = kept[answers < 0]
    if len(wrong):
        word = tables.labels[column][int(row[wrong[0]])].as_py()
        raise UserError(
            f"{tables.settings.labels} has '{word}' in column '{column}' for id "
            f"'{ledger.ids[wrong[0]]}'; expected 1 or 0 (true or false, yes or no)."
        )
    mask[kept] = answers == 0
    return mask


def _answers(tables: Tables) -> np.ndarray:
    """Return what the column ``known`` says in each row of the labels (rows,) int8: 1, 0, -1 for any other word."""
    values = tables.labels[tables.settings.columns.known].combine_chunks().dictionary_encode()
    words = [_TRUTH.get(word.lower(), -1) for word in values.dictionary.to_pylist()]
    return np.array(words, np.int8)[values.indices.to_numpy()]


def _without_repeats(settings: Settings, path: str, table: pa.Table, repeats: list[tuple[pa.Array, str]]) -> pa.Table:
    ids = table[settings.columns.id].combine_chunks()
    nameless = np.flatnonzero(pc.equal(ids, "").to_numpy(zero_copy_only=False))
    if len(nameless):
        raise UserError(f"{path} has {len(nameless)} rows with an empty '{settings.columns.id}'; fill it in.")
    again = repeated(ids)
    if again.any():
        names = ids.filter(pa.array(again))
        if settings.on_duplicate_id != "drop":
            raise _repeat_error(path, names)
        repeats.append((names, Path(path).name))
        table = table.filter(pa.array(~again))
    return table


def _repeat_error(path: str, names: pa.Array) -> UserError:
    return UserError(
        f"{path} repeats {_counted(pc.unique(names))}; make ids unique, or set data.on_duplicate_id: drop to "
        "keep the first of each."
    )


def _unmatched(settings: Settings, ledger: Ledger, mask: np.ndarray, reason: str, there: str, missing_in: str) -> None:
    mask = mask & ledger.kept
    if mask.any() and settings.on_mismatch != "drop":
        raise UserError(
            f"{missing_in} has no row for {_counted(ledger.names(mask))} of {there}; add the rows, or set "
            "data.on_mismatch: drop to leave those out."
        )
    ledger.remove(mask, reason, f"no row in {Path(missing_in).name}")


def _rows_without_sequence(settings: Settings, ledger: Ledger, ids: pa.Array, path: str) -> None:
    lonely = ids.filter(pc.invert(pc.is_in(ids, value_set=ledger.ids)))
    if len(lonely) and settings.on_mismatch != "drop":
        raise UserError(
            f"{settings.sequences} has no sequence for {_counted(lonely)} of {path}; add the sequences, or "
            "set data.on_mismatch: drop to leave those out."
        )
    ledger.note(lonely, "no_sequence", f"row of {Path(path).name} without a sequence")


def _counted(ids: pa.Array) -> str:
    names = ids.slice(0, 10).to_pylist() + [None] * (len(ids) - 10)
    return f"{len(ids)} {'id' if len(ids) == 1 else 'ids'} ({first_ten(names)})"


def _is_in(ids: pa.Array, among: pa.Array) -> np.ndarray:
    return pc.is_in(ids, value_set=among).to_numpy(zero_copy_only=False)
