"""Records: sequences matched with labels, cleaned, filtered, and put into groups that must stay together.

In: a FASTA file, a label table, optional vectors and clusters. Out: records.parquet, removed.tsv,
summary.json. Nothing disappears without a row in removed.tsv.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dnatune.errors import UserError, first_ten
from dnatune.files import sha256, whole, write_json
from dnatune.fold_data import ROLES
from dnatune.groups import (
    best_accuracy,
    components,
    conflicting,
    distinct_per_class,
    leaks,
    renumber,
)
from dnatune.matching import (
    Columns,
    Ledger,
    Settings,
    Tables,
    drop_repeated_records,
    flagged,
    match_labels,
    match_side,
    read_tables,
    roles,
)
from dnatune.scan import Scan, scan_fasta
from dnatune.tasks.base import LabelSource, Task
from dnatune.taxonomy import lineages
from dnatune.unknown_kinds import FLAGGED

__all__ = ["Columns", "Settings", "read_records"]


@dataclass
class Kept:
    """The kept records, in the order of the FASTA; every array is (kept,), ``row`` counts FASTA records, and
    ``rows`` are the rows of the tables: labels, vectors, clusters. ``unknown`` says why a record is not ``known``
    (``unknown_kinds``), empty text where it is."""

    row: np.ndarray
    label: np.ndarray
    names: list[str]
    sequence: np.ndarray
    group: np.ndarray
    role: np.ndarray | None
    known: np.ndarray
    unknown: np.ndarray
    rows: dict[str, np.ndarray]


def read_records(
    settings: Settings, records_path: str | Path, removed_path: str | Path, summary_path: str | Path, task: Task
) -> dict[str, Any]:
    """Match, clean, filter and group; write records.parquet, removed.tsv, summary.json; return the summary.

    Raises UserError for every mistake in the input: unreadable files, ids that do not match or repeat (unless
    the settings say drop), labels missing, conflicts or leaks that are refused, nothing or one class left.
    """
    Path(records_path).parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=Path(records_path).parent) as folder:
        cleaned = Path(folder) / "cleaned.parquet"
        scan = scan_fasta(settings.sequences, cleaned)
        tables = read_tables(settings, scan.ids)
        ledger = Ledger(scan.ids)
        drop_repeated_records(settings, ledger)
        label_row = match_labels(tables, ledger, task.empty_labels)
        _filter(settings, scan, ledger)
        rows = {
            "labels": label_row,
            "vectors": match_side(settings, tables.vectors, ledger, "no_vector"),
            "clusters": match_side(settings, tables.clusters, ledger, "no_cluster"),
        }
        _require_records(settings, ledger)
        texts = tables.labels[settings.columns.label_name].combine_chunks()
        strange = flagged(tables, label_row, ledger)
        labelled = ledger.kept & ~strange
        task.labels.check(
            LabelSource(settings.labels, settings.columns.label_name),
            ledger.names(labelled),
            texts.take(pa.array(label_row[labelled])),
            scan.length[labelled],
        )
        if task.classes and settings.columns.ranks:
            _check_ranks(settings, tables, ledger, label_row, strange)
        encoded = task.labels.canonical(texts).dictionary_encode()
        label = _take(encoded.indices.to_numpy(), label_row)
        classes_read = len(np.unique(label[(label_row >= 0) & ~strange]))
        conflicts = _conflicts(settings, ledger, scan.code, label, strange) if task.conflicts else {}
        _require_records(settings, ledger)
        kept = _group(tables, ledger, scan.code, label, encoded.dictionary.to_pylist(), rows, strange)
        if task.classes:
            _decide_known(settings, ledger, kept)
        _write(cleaned, records_path, kept, scan, tables)
    ledger.write(removed_path)
    if task.conflicts:
        conflicts["best_accuracy"] = best_accuracy(kept.sequence[kept.known], kept.label[kept.known])
    summary = _summary(settings, tables, scan, ledger, kept)
    if task.classes:
        summary |= {"classes_read": classes_read, **_classes(kept)}
    summary["conflicts"] = conflicts
    write_json(summary_path, summary)
    return summary


def _check_ranks(
    settings: Settings, tables: Tables, ledger: Ledger, label_row: np.ndarray, strange: np.ndarray
) -> None:
    """Raise UserError where the rank columns of the kept records make no tree."""
    rows = pa.array(label_row[ledger.kept])
    columns = {name: tables.labels[name].take(rows).to_pylist() for name in settings.columns.ranks}
    labels = tables.labels[settings.columns.label_name].take(rows).to_pylist()
    source = LabelSource(str(settings.labels), settings.columns.label_name)
    ids, flags = ledger.names(ledger.kept).to_pylist(), strange[ledger.kept]
    lineages(source, ids, labels, columns, settings.on_empty_rank, flags)


def _filter(settings: Settings, scan: Scan, ledger: Ledger) -> None:
    length, share = scan.length, scan.n_count / np.maximum(scan.length, 1)
    for mask, reason, rule in (
        (length < settings.min_length, "too_short", f"{settings.min_length} needed"),
        (length > (settings.max_length or np.inf), "too_long", f"at most {settings.max_length}"),
    ):
        detail = np.full(len(length), "", object)
        detail[mask] = [f"{n} bases, {rule}" for n in length[mask]]
        ledger.remove(mask, reason, detail)
    mask = share > settings.max_n_share
    detail = np.full(len(length), "", object)
    detail[mask] = [f"{100 * s:.1f} % N, at most {100 * settings.max_n_share:g} %" for s in share[mask]]
    ledger.remove(mask, "too_many_n", detail)


def _require_records(settings: Settings, ledger: Ledger) -> None:
    if not ledger.kept.any():
        why = ", ".join(f"{n} {reason}" for reason, n in ledger.counts.items())
        raise UserError(f"No sequence of {settings.sequences} is left (removed: {why}); loosen data or filter.")


def _conflicts(
    settings: Settings, ledger: Ledger, code: np.ndarray, label: np.ndarray, strange: np.ndarray
) -> dict[str, Any]:
    # What a flagged record is called is no name of a class, so it contradicts none.
    mask, named = np.zeros(len(code), bool), ledger.kept & ~strange
    mask[named] = conflicting(code[named], label[named])
    found = {
        "sequences": len(np.unique(code[mask])),
        "records": int(mask.sum()),
        "policy": settings.conflicts,
    }
    found["examples"] = ledger.names(mask).slice(0, 10).to_pylist()
    if mask.any() and settings.conflicts == "error":
        raise UserError(
            f"{found['sequences']} sequences of {settings.sequences} have two or more labels "
            f"({first_ten(ledger.names(mask).to_pylist())}); correct the labels, or "
            "set filter.conflicts: keep or drop."
        )
    if settings.conflicts == "drop":
        ledger.remove(mask, "conflicting_label", "the same sequence has another label too")
    return found


def _group(
    tables: Tables,
    ledger: Ledger,
    code: np.ndarray,
    label: np.ndarray,
    names: list[str],
    rows: dict[str, np.ndarray | None],
    strange: np.ndarray,
) -> Kept:
    """Find groups, take leaks over a given split out."""
    settings = tables.settings
    cluster = None
    if tables.clusters is not None:
        cluster = _take(tables.clusters.values.dictionary_encode().indices.to_numpy(), rows["clusters"])
        cluster = cluster[ledger.kept]
    group = np.full(len(label), -1, np.int64)
    group[ledger.kept] = components(code[ledger.kept], cluster)
    role = roles(tables, rows["labels"], ledger) if settings.columns.split else None
    if role is not None:
        _drop_leaks(settings, ledger, group, role, strange)
    row = np.flatnonzero(ledger.kept)
    kept = Kept(
        row=row,
        label=label[row],
        names=names,
        sequence=renumber(code[row]),
        group=renumber(group[row]),
        role=None if role is None else role[row],
        known=~strange[row],
        unknown=np.where(strange[row], FLAGGED, "").astype(object),
        rows={name: of[row] for name, of in rows.items() if of is not None},
    )
    return kept


def _drop_leaks(settings: Settings, ledger: Ledger, group: np.ndarray, role: np.ndarray, strange: np.ndarray) -> None:
    # Flagged records have no role: one that equals a training record is left out of the scores, not of training.
    mask, placed = np.zeros(len(group), bool), ledger.kept & ~strange
    mask[placed] = leaks(group[placed], role[placed])
    if mask.any() and settings.on_split_leak == "error":
        raise UserError(
            f"{int(mask.sum())} sequences of {settings.labels} are, identical or in one cluster, also in a "
            f"more protected part of column '{settings.columns.split}' "
            f"({first_ten(ledger.names(mask).to_pylist())}); correct the split, or set "
            "filter.on_split_leak: drop."
        )
    ledger.remove(mask, "split_leak", "identical, or in one cluster, with a record of a more protected part")


def _decide_known(settings: Settings, ledger: Ledger, kept: Kept) -> None:
    """Mark classes too rare to train as known unknowns, and write each of their records down."""
    classes, named = len(kept.names), kept.known.copy()
    distinct = distinct_per_class(kept.label[named], kept.sequence[named], classes)
    groups = distinct_per_class(kept.label[named], kept.group[named], classes)
    why: dict[int, tuple[str, str]] = {}
    for c in np.unique(kept.label[named]):
        name = kept.names[c]
        if distinct[c] < settings.min_distinct:
            count = f"{distinct[c]} distinct sequence{'' if distinct[c] == 1 else 's'}"
            why[c] = ("rare_class", f"class '{name}' has {count}, {settings.min_distinct} needed")
        elif groups[c] < min(2, settings.min_distinct):
            why[c] = ("rare_class", f"all sequences of class '{name}' are in one cluster, 2 needed")
    if kept.role is not None:
        trained = np.bincount(kept.label[named & (kept.role == 0)], minlength=classes)
        for c in np.unique(kept.label[named]):
            if not trained[c] and c not in why:
                why[c] = ("not_in_train", f"class '{kept.names[c]}' has no training record")
    unknown = np.zeros(classes, bool)
    unknown[list(why)] = True
    kept.known &= ~unknown[kept.label]
    for reason in ("rare_class", "not_in_train"):
        mask = named & np.array([c in why and why[c][0] == reason for c in range(classes)])[kept.label]
        kept.unknown[mask] = reason.removesuffix("_class")
        detail = np.array([why[c][1] for c in kept.label[mask]], object)
        ledger.note(ledger.ids.take(pa.array(kept.row[mask])), reason, detail)
    twin = ~named & np.isin(kept.group, kept.group[kept.known])
    same = f"marked 0 in '{settings.columns.known}', but identical, or in one cluster, with a known record: not scored"
    ledger.note(ledger.ids.take(pa.array(kept.row[twin])), "flagged_but_known", same)
    known = np.unique(kept.label[kept.known])
    if len(known) == 0:
        raise UserError(
            f"No class of {settings.labels} has {settings.min_distinct} distinct sequences to train and test "
            "with; give more sequences per class or lower filter.min_distinct."
        )
    if len(known) == 1:
        raise UserError(
            f"Only one class is left, '{kept.names[known[0]]}' of column '{settings.columns.label_name}' in "
            f"{settings.labels}; telling classes apart needs at least two."
        )


def _write(cleaned: Path, path: str | Path, kept: Kept, scan: Scan, tables: Tables) -> None:
    """Second pass: the cleaned sequences of the kept records, with their columns, in row groups."""
    rows_of = kept.rows["labels"]
    columns: dict[str, Callable[[slice], pa.Array]] = {
        "label": lambda s: _texts(tables.labels[tables.settings.columns.label_name], rows_of[s]),
        "length": lambda s: pa.array(scan.length[kept.row[s]]),
        "n_count": lambda s: pa.array(scan.n_count[kept.row[s]]),
        "split": lambda s: _role_texts(kept, s),
        "group": lambda s: pa.array(kept.group[s].astype(np.int32)),
        "known": lambda s: pa.array(kept.known[s]),
        "unknown": lambda s: pa.array([why or None for why in kept.unknown[s]], pa.string()),
    }
    for rank in tables.settings.columns.ranks:
        columns[f"rank_{rank}"] = lambda s, rank=rank: _texts(tables.labels[rank], rows_of[s], empty_is_null=True)
    if tables.vectors is not None:
        matrix, vectors = tables.vectors.values, kept.rows["vectors"]
        columns["vector"] = lambda s: pa.FixedSizeListArray.from_arrays(
            pa.array(matrix[vectors[s]].ravel()), matrix.shape[1]
        )
    if tables.clusters is not None:
        columns["cluster"] = lambda s: _texts(tables.clusters.values, kept.rows["clusters"][s])
    source, writer = pq.ParquetFile(cleaned), None
    with whole(path) as partial:
        try:
            start = 0
            for i in range(source.num_row_groups):
                sequences = source.read_row_group(i).column(0)
                first, last = np.searchsorted(kept.row, (start, start + len(sequences)))
                here, local = slice(first, last), pa.array(kept.row[first:last] - start)
                start += len(sequences)
                if first == last:
                    continue
                batch = {"id": scan.ids.take(pa.array(kept.row[here])), "sequence": sequences.take(local)}
                table = pa.table(batch | {name: make(here) for name, make in columns.items()})
                if writer is None:
                    plain = [n for n in table.column_names if n not in ("id", "sequence", "vector")]
                    writer = pq.ParquetWriter(partial, table.schema, compression="zstd", use_dictionary=plain)
                writer.write_table(table, len(table))
        finally:
            if writer is not None:
                writer.close()


def _texts(column: pa.ChunkedArray | pa.Array, rows: np.ndarray, empty_is_null: bool = False) -> pa.Array:
    taken = column.take(pa.array(rows))
    taken = taken.combine_chunks() if isinstance(taken, pa.ChunkedArray) else taken
    return pa.array([t or None for t in taken.to_pylist()], pa.string()) if empty_is_null else taken


def _role_texts(kept: Kept, rows: slice) -> pa.Array:
    if kept.role is None:
        return pa.nulls(len(kept.row[rows]), pa.string())
    return pa.array(ROLES, pa.string()).take(pa.array(kept.role[rows]))


def _take(values: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Return values[row] as int64, -1 where the row is -1."""
    return np.where(row >= 0, values[row], -1).astype(np.int64)


def _summary(settings: Settings, tables: Tables, scan: Scan, ledger: Ledger, kept: Kept) -> dict[str, Any]:
    length, tally = scan.length[kept.row], scan.tally
    copies = np.bincount(kept.sequence)
    inputs = []
    for role in ("sequences", "labels", "vectors", "clusters"):
        if path := getattr(settings, role):
            rows = tally.records if role == "sequences" else tables.rows[role]
            inputs.append(
                {
                    "role": role,
                    "path": str(path),
                    "sha256": sha256(path),
                    "bytes": Path(path).stat().st_size,
                    "rows": rows,
                }
            )
    summary = {
        "sequences_read": tally.records,
        "records_kept": len(kept.row),
        "records_known": int(kept.known.sum()),
        "records_known_unknown": int((~kept.known & (kept.unknown != FLAGGED)).sum()),
        "records_flagged": int((kept.unknown == FLAGGED).sum()),
        "removed": ledger.counts,
        "length": {
            "min": int(length.min()),
            "median": float(np.median(length)),
            "mean": float(length.mean()),
            "max": int(length.max()),
            "quantile_05": float(np.quantile(length, 0.05)),
            "quantile_95": float(np.quantile(length, 0.95)),
        },
        "bases": int(length.sum()),
        "n_letters": int(scan.n_count[kept.row].sum()),
        "iupac_letters": dict(sorted(tally.iupac_letters.items())),
        "lower_case_records": tally.lower_case_records,
        "u_letters": tally.u_letters,
        "gap_letters": tally.gap_letters,
        "duplicates": {"distinct": len(copies), "records_in_duplicates": int(copies[copies > 1].sum())},
        "groups": int(kept.group.max()) + 1,
        "clusters": _distinct(tables.clusters.values, kept.rows["clusters"]) if tables.clusters else None,
        "vector_columns": tables.vectors.names if tables.vectors else None,
        "ranks": {r: _distinct(tables.labels[r], kept.rows["labels"]) for r in settings.columns.ranks},
        "split": None
        if kept.role is None
        else {name: int(((kept.role == i) & kept.known).sum()) for i, name in enumerate(ROLES)},
        "filter": {
            key: asdict(settings)[key]
            for key in (
                "min_length",
                "max_length",
                "max_n_share",
                "conflicts",
                "min_distinct",
                "on_split_leak",
            )
        },
        "inputs": inputs,
    }
    return summary


def _classes(kept: Kept) -> dict[str, int]:
    known = len(np.unique(kept.label[kept.known]))
    named = len(np.unique(kept.label[kept.unknown != FLAGGED]))
    return {"classes_known": known, "classes_known_unknown": named - known}


def _distinct(column: pa.ChunkedArray | pa.Array, rows: np.ndarray) -> int:
    return len([value for value in pc.unique(column.take(pa.array(rows))).to_pylist() if value])
