"""What one fold trains on and is judged on: row numbers into the records, by role.

Takes ``records.parquet``, ``folds.tsv`` and ``label_map.json``; gives a ``FoldData``. Sequences and vectors
are read only when asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from dnatune.errors import UserError, first_ten
from dnatune.files import read_json
from dnatune.scores import Scores
from dnatune.tasks.base import Task
from dnatune.unknown_kinds import HELD_OUT, kinds_in_file

ROLES = ("train", "validation", "test")
# In folds.tsv a species may be held out of a fold on purpose: neither trained nor tested there, but scored. In the
# folds of a learning curve (see ``training_shares``) some of the training records are unused.
UNUSED = "unused"
FOLD_ROLES = (*ROLES, HELD_OUT, UNUSED)


@dataclass(frozen=True)
class FoldData:
    """One fold. All row numbers point into the records' order and are ascending.

    ``ids`` text (records,); ``labels`` the task's targets, first axis records; ``classes`` the label names (classes,
    outputs) in the order of their ids; ``groups`` (records,) numbers identical sequences and clusters;
    ``train``, ``validation``, ``test``, ``unknown`` row numbers. A record of a class too rare to train is
    unknown only if no known record shares its group: else a model may have seen it under another name.
    ``held_out``, rows of classes that this fold does not train on purpose; ``kinds`` (unknown,) of ``UNKNOWN_KINDS``;
    ``unused``, rows that a point of a learning curve leaves out of the training part. ``left_out``, how many records of
    each kind are unknown by their label and share a known record's group: they are not scored.
    """

    ids: np.ndarray
    labels: Any
    classes: list[str]
    groups: np.ndarray
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    unknown: np.ndarray
    held_out: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    kinds: np.ndarray | None = None
    unused: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    left_out: dict[str, int] = field(default_factory=dict)

    @property
    def known(self) -> np.ndarray:
        """Row numbers of all records of known classes, whatever their role in this fold."""
        return np.sort(np.concatenate([self.train, self.validation, self.test, self.held_out, self.unused]))

    @property
    def scored(self) -> np.ndarray:
        """Row numbers that a model of this fold scores: validation, then test, then unknown, then held out."""
        return np.concatenate([self.validation, self.test, self.unknown, self.held_out])

    @property
    def scored_roles(self) -> np.ndarray:
        """The role of each row of ``scored``; to a model of this fold, held-out records are unknown too."""
        sizes = [len(self.validation), len(self.test), len(self.unknown) + len(self.held_out)]
        return np.repeat(np.array(["validation", "test", "unknown"]), sizes)

    @property
    def scored_kinds(self) -> np.ndarray | None:
        """Why each row of ``scored`` is unknown, empty text where it is not; None where that is not known."""
        if self.kinds is None:
            return None
        known = np.full(len(self.validation) + len(self.test), "")
        return np.concatenate([known, self.kinds.astype(np.str_), np.full(len(self.held_out), HELD_OUT)])


def fold_scores(fold: FoldData, logits: np.ndarray, evidence: np.ndarray | None = None) -> Scores:
    """Return the scores file of a fold from the scores of its rows ``scored``, and the ``evidence`` beside them."""
    rows = fold.scored
    scores = Scores.of(fold.ids[rows], fold.scored_roles, fold.labels[rows], logits, fold.groups[rows])
    if fold.kinds is not None:
        scores.label[scores.role == "unknown"] = -1
    return replace(scores, kind=fold.scored_kinds, evidence=evidence)


def load_fold(records: str | Path, folds: str | Path, label_map: str | Path, fold: int, task: Task) -> FoldData:
    """Read one fold, with the task's targets.

    Raises ``UserError`` where the fold is not in the table, names an id that is not in the records, leaves
    out a known record or where a known record's label is not in the label map.
    """
    table = pq.read_table(records, columns=["id", "label", "known", "group"])
    classes = class_names(label_map)
    ids = table["id"].to_numpy(zero_copy_only=False).astype(np.str_)
    known = table["known"].to_numpy(zero_copy_only=False).astype(bool)
    labels = task.labels.targets(table["label"], known, classes)
    roles = _read_roles(folds, fold)
    position = pc.index_in(roles["id"], table["id"].combine_chunks())
    if position.null_count:
        lost = roles.filter(pc.is_null(position))["id"].to_pylist()
        raise UserError(f"{folds}: ids not in {records}: {first_ten(lost)}; run the folds step again.")
    rows = position.to_numpy(zero_copy_only=False)
    role = roles["role"].to_numpy(zero_copy_only=False)
    if len(rows) != known.sum() or not known[rows].all() or len(np.unique(rows)) != len(rows):
        raise UserError(
            f"{folds}: fold {fold} has {len(rows)} rows, expected each of the {known.sum()} known records of "
            f"{records} once; run the folds step again."
        )
    parts = {name: np.sort(rows[role == name]).astype(np.int64) for name in FOLD_ROLES}
    groups = table["group"].to_numpy(zero_copy_only=False).astype(np.int64)
    met = np.isin(groups, groups[known])
    unknown, facts = np.flatnonzero(~known & ~met), {}
    if task.classes:
        kinds = kinds_in_file(records)
        left, counts = np.unique(kinds[~known & met].astype(np.str_), return_counts=True)
        facts = {"kinds": kinds[unknown], "left_out": dict(zip(left.tolist(), counts.tolist(), strict=True))}
    return FoldData(ids=ids, labels=labels, classes=classes, groups=groups, unknown=unknown, **facts, **parts)


def facts_of_fold(data: FoldData) -> dict[str, Any]:
    """Return of a fold, for a task of classes, what its scores do not say: how many records of each class (classes,)
    are ``trained``, the class ids of those ``held_out`` by id, and how many unknown ones of each kind are
    ``left_out``."""
    trained = np.bincount(data.labels[data.train], minlength=len(data.classes))
    held_out = dict(zip(data.ids[data.held_out].tolist(), data.labels[data.held_out].tolist(), strict=True))
    return {"trained": trained, "held_out": held_out, "left_out": data.left_out}


def class_names(label_map: str | Path) -> list[str]:
    """Return the class names of a label map in the order of their ids."""
    label2id = read_json(label_map)["label2id"]
    return sorted(label2id, key=label2id.__getitem__)


def load_sequences(records: str | Path, rows: np.ndarray | None = None) -> list[str]:
    """Return the sequences of the given row numbers, in their order; all of them where None."""
    column = pq.read_table(records, columns=["sequence"])["sequence"]
    return (column if rows is None else column.take(pa.array(rows))).to_pylist()


def load_vectors(records: str | Path, rows: np.ndarray | None = None) -> np.ndarray:
    """Return the users' vectors (rows, size) as float32. Raises ``UserError`` where there are none."""
    if "vector" not in pq.read_schema(records).names:
        raise UserError(
            f"{records}: no vector column, expected because a vector baseline is configured; give a vectors "
            "table (data.vectors) or take the vector_ methods out of baselines.methods."
        )
    column = pq.read_table(records, columns=["vector"])["vector"].combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks)
    table = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32).reshape(len(column), -1)
    return table if rows is None else table[rows]


def _read_roles(folds: str | Path, fold: int) -> pa.Table:
    """Return columns id and role of one fold; the file holds every fold, so it is read as a stream."""
    kept, seen = [], set()
    text = {"id": pa.string(), "role": pa.string(), "fold": pa.int64()}
    reader = pacsv.open_csv(
        folds,
        parse_options=pacsv.ParseOptions(delimiter="\t"),
        convert_options=pacsv.ConvertOptions(column_types=text, include_columns=list(text)),
    )
    for batch in reader:
        seen.update(pc.unique(batch["fold"]).to_pylist())
        kept.append(batch.filter(pc.equal(batch["fold"], int(fold))))
    if int(fold) not in seen:
        raise UserError(f"{folds}: no fold {fold}, found {sorted(seen)}; run the folds step again.")
    return pa.Table.from_batches(kept).combine_chunks()
