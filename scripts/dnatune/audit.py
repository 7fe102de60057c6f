"""The leakage audit: proves from the written folds that nothing is in two roles and every class is tested.

In: folds.tsv as written and records.parquet. Out: a dictionary for audit.json; ``clean`` says if all is well.
Identity is computed anew from the sequences; no step is shared with the code that made the folds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from dnatune.errors import UserError
from dnatune.fold_data import FOLD_ROLES, ROLES
from dnatune.folds import HELD_OUT, TEST, TRAIN, VALIDATION, read_folds
from dnatune.groups import codes_in_file


def audit_folds(folds_path: str | Path, records_path: str | Path, scheme: str, classes: bool = True) -> dict[str, Any]:
    """Return the audit of a folds.tsv; ``scheme`` is 'k-fold' or 'split column'.

    Without ``classes`` (a task whose labels are none) all records count as one class.

    Per fold: records and classes of each role, sequences and clusters (groups where no clusters are given) in
    two roles, classes tested, and those of them without a training record. Over all folds: the sums, classes
    and records never tested, records tested twice. Clean means no leak, each known record once in each fold,
    some of each of train and test, and for k-fold each known class tested and each known record tested once.

    Classes held out of a fold on purpose may not have a record in another role of it; those of their records that the
    fold would have tested are tested nowhere, which is no fault.
    """
    schema = pq.read_schema(records_path).names
    clustered = "cluster" in schema
    columns = ["id", "label", "known", "group", *(["cluster"] if clustered else [])]
    records = pq.read_table(records_path, columns=columns)
    names, label = _encode(records["label"]) if classes else (["all"], np.zeros(len(records), np.int64))
    known = records["known"].to_numpy()
    sequence = codes_in_file(records_path)
    group = records["group"].to_numpy()
    cluster = _encode(records["cluster"])[1] if clustered else group
    folds, rows, roles = read_folds(folds_path, records["id"].combine_chunks())
    stray = rows < 0
    strangers = int(stray.sum()) + int((~known[rows[~stray]]).sum())

    times_tested = np.zeros(len(known), np.int64)
    put_aside = np.zeros(len(known), bool)
    class_tested = np.zeros(len(names), bool)
    per_fold, problems = [], []
    for fold in np.unique(folds):
        here = (folds == fold) & ~stray
        row, role = rows[here], roles[here]
        seen = np.bincount(row, minlength=len(known))
        tested = np.unique(label[row[role == TEST]])
        trained = np.unique(label[row[role == TRAIN]])
        times_tested += np.bincount(row[role == TEST], minlength=len(known))
        class_tested[tested] = True
        aside = np.unique(label[row[role == HELD_OUT]])
        put_aside[row[role == HELD_OUT]] = True
        untrained = np.setdiff1d(tested, trained)
        entry: dict[str, Any] = {"fold": int(fold)}
        for number, name in enumerate(ROLES):
            of_role = row[role == number]
            entry[name] = {"records": len(of_role), "classes": len(np.unique(label[of_role]))}
        entry |= {
            "sequences_in_two_roles": _in_two_roles(sequence[row], role),
            "clusters_in_two_roles": _in_two_roles(cluster[row], role),
            "groups_in_two_roles": _in_two_roles(group[row], role),
            "records_not_once": int((seen[known] != 1).sum()),
            "classes_tested": len(tested),
            "classes_tested_without_training": [names[c] for c in untrained],
            "held_out": {"records": int((role == HELD_OUT).sum()), "classes": len(aside)},
            "held_out_in_another_role": int(np.isin(aside, label[row[role != HELD_OUT]]).sum()),
            "validation_share": _share(role),
        }
        per_fold.append(entry)
        for key, what in (
            ("sequences_in_two_roles", "identical sequences in two roles"),
            ("clusters_in_two_roles", "clusters in two roles"),
            ("groups_in_two_roles", "groups in two roles"),
            ("records_not_once", "known records missing or there twice"),
            ("held_out_in_another_role", "held-out classes in another role"),
        ):
            if entry[key]:
                problems.append(f"fold {fold}: {entry[key]} {what}")
        problems += [f"fold {fold}: no {r} records" for r in ("train", "test") if not entry[r]["records"]]
    known_classes = np.unique(label[known])
    excused = np.unique(label[put_aside])
    never = np.setdiff1d(known_classes[~class_tested[known_classes]], excused)
    never_records = int((known & (times_tested == 0) & ~put_aside).sum())
    twice = int((times_tested > 1).sum())
    if strangers:
        problems.append(f"{strangers} ids that are no known records")
    if not per_fold:
        problems.append("no fold at all")
    if scheme == "k-fold":
        if len(never):
            problems.append(f"{len(never)} classes never tested")
        if never_records:
            problems.append(f"{never_records} records never tested")
        if twice:
            problems.append(f"{twice} records tested twice")
    return {
        "clean": not problems,
        "problems": problems,
        "scheme": scheme,
        "folds": len(per_fold),
        "records_known": int(known.sum()),
        "classes_known": len(known_classes),
        "clusters_given": clustered,
        "sequences_in_two_roles": sum(f["sequences_in_two_roles"] for f in per_fold),
        "clusters_in_two_roles": sum(f["clusters_in_two_roles"] for f in per_fold),
        "groups_in_two_roles": sum(f["groups_in_two_roles"] for f in per_fold),
        "classes_tested": int(class_tested.sum()),
        "classes_never_tested": [names[c] for c in never],
        "classes_tested_without_training": sum(len(f["classes_tested_without_training"]) for f in per_fold),
        "records_never_tested": never_records,
        "records_tested_twice": twice,
        "records_held_out": int(put_aside.sum()),
        "records_held_out_and_never_tested": int((put_aside & (times_tested == 0)).sum()),
        "per_fold": per_fold,
    }


def require_clean(audit: dict[str, Any], folds_path: str | Path) -> None:
    """Raise UserError with what is wrong unless the audit is clean."""
    if not audit["clean"]:
        raise UserError(
            f"The leakage audit of {folds_path} failed ({'; '.join(audit['problems'][:10])}); this is "
            "a fault of dnatune, please report it."
        )


def _encode(column: Any) -> tuple[list[str], np.ndarray]:
    encoded = column.combine_chunks().dictionary_encode()
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy()


def _in_two_roles(codes: np.ndarray, role: np.ndarray) -> int:
    """Return how many different codes occur with more than one role."""
    pairs = np.unique(codes.astype(np.int64) * len(FOLD_ROLES) + role)
    return int((np.unique(pairs // len(FOLD_ROLES), return_counts=True)[1] > 1).sum())


def _share(role: np.ndarray) -> float | None:
    rest = ((role != TEST) & (role != HELD_OUT)).sum()
    return float((role == VALIDATION).sum() / rest) if rest else None
