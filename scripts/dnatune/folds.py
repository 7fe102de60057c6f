"""Folds: who is trained on, validated on and tested on in each fold; groups are never torn apart.

In: class ids and groups of the known records, or a split column. Out: folds.tsv (fold, id, role).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from dnatune.errors import UserError
from dnatune.files import whole
from dnatune.fold_data import FOLD_ROLES, ROLES
from dnatune.tasks.base import Task

TRAIN, VALIDATION, TEST, HELD_OUT, UNUSED = range(5)


def stratified_group_folds(class_ids: np.ndarray, groups: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Return the fold (n,) int64 in which each record is tested; members of a group share it.

    Greedy: the class with the fewest groups first; its groups, the largest first, ties by ``seed``, go to the
    fold with the fewest records of that class, then to the one with the fewest records at all. A group with
    several labels is placed once, with its rarest class. So a class with g groups of its own is tested in
    min(g, folds) folds, and with groups of one record fold sizes differ by one at most. O(groups x folds).

    scikit-learn's StratifiedGroupKFold is not used: it compares standard deviations over all classes for
    each group and fold, O(groups x folds x folds x classes), and does not promise to spread rare classes.
    Measured on 20,225 barcodes of 3,023 classes, 5 folds, one core: 0.10 s here and 8.2 s there; classes
    tested in fewer folds than they could be: 3 (they share sequences with others) and 4; fold sizes 4,031
    to 4,083 and 4,044 to 4,046.

    ``class_ids`` (n,) from 0, ``groups`` (n,). Raises UserError: folds < 2, fewer groups than folds.
    """
    if folds < 2:
        raise UserError(f"split.folds is {folds}; cross-validation needs at least 2 folds (5 is usual).")
    unique, group = np.unique(groups, return_inverse=True)
    if len(unique) < folds:
        raise UserError(
            f"There are {len(unique)} groups of identical or clustered sequences, fewer than split.folds = "
            f"{folds}; lower split.folds or give more distinct sequences."
        )
    rng = np.random.default_rng(seed)
    classes = int(class_ids.max()) + 1
    label, member, count = class_groups(class_ids, group)
    sizes = np.bincount(group)
    # Order: rarest class, then largest group, then chance; a group's first appearance decides.
    groups_of = np.bincount(label, minlength=classes)
    class_rank = np.lexsort((rng.random(classes), groups_of)).argsort()
    order = np.lexsort((rng.random(len(unique))[member], -sizes[member], class_rank[label]))
    parts: list[list[tuple[int, int]]] = [[] for _ in range(len(unique))]
    for c, g, n in zip(label.tolist(), member.tolist(), count.tolist(), strict=True):
        parts[g].append((c, n))
    of_class = [[0] * folds for _ in range(classes)]
    total = [0] * folds
    placed = np.full(len(unique), -1, np.int64)
    # Ties are broken by a shuffled order of the folds, or fold 0 would always be the fullest.
    tried = rng.permutation(folds).tolist()
    for c, g in zip(label[order].tolist(), member[order].tolist(), strict=True):
        if placed[g] >= 0:
            continue
        here = of_class[c]
        best = min(tried, key=lambda f: (here[f], total[f]))
        placed[g] = best
        for other, n in parts[g]:
            of_class[other][best] += n
            total[best] += n
    return placed[group]


def choose_validation(
    class_ids: np.ndarray, groups: np.ndarray, available: np.ndarray, share: float, seed: int | list[int]
) -> np.ndarray:
    """Return the mask (n,) of the records set aside for validation among those of ``available`` (n,) bool.

    Systematic sampling over whole groups sorted by class: each group adds ``share`` of its size to a debt,
    and is taken when that covers half of it, so the total comes close to ``share`` although most classes
    owe less than one record. Never taken: the last training group of a class, or over twice a class's part.
    Raises UserError if nothing can be taken.
    """
    chosen = np.zeros(len(class_ids), bool)
    rows = np.flatnonzero(available)
    if share <= 0 or not len(rows):
        return chosen
    rng = np.random.default_rng(seed)
    unique, group = np.unique(groups[rows], return_inverse=True)
    label, member, count = class_groups(class_ids[rows], group)
    classes = int(class_ids.max()) + 1
    sizes = np.bincount(group)
    remaining = np.bincount(label, minlength=classes)
    quota = np.ceil(2 * share * np.bincount(class_ids[rows], minlength=classes))
    parts: list[list[tuple[int, int]]] = [[] for _ in range(len(unique))]
    for c, g, n in zip(label.tolist(), member.tolist(), count.tolist(), strict=True):
        parts[g].append((c, n))
    order = np.lexsort((rng.random(len(unique))[member], rng.permutation(classes)[label]))
    walk = list(dict.fromkeys(member[order].tolist()))
    taken = np.zeros(len(unique), bool)

    def free(g: int, capped: bool = True) -> bool:
        return all(remaining[c] > 1 and (not capped or n <= quota[c]) for c, n in parts[g])

    def take(g: int) -> None:
        taken[g] = True
        for c, n in parts[g]:
            remaining[c] -= 1
            quota[c] -= n

    debt = rng.random() - 0.5
    for g in walk:
        debt += share * sizes[g]
        if debt >= sizes[g] / 2 and free(g):
            take(g)
            debt -= sizes[g]
    if not taken.any():
        # A small data set: one group is better than no validation at all.
        possible = [g for g in walk if free(g, capped=False)]
        if not possible:
            raise UserError(
                f"No record can be set aside for validation ({len(rows)} records to train with, every class "
                "in one group); give more distinct sequences per class or raise split.folds."
            )
        take(min(possible, key=lambda g: sizes[g]))
    chosen[rows] = taken[group]
    return chosen


def held_out_classes(
    class_ids: np.ndarray, groups: np.ndarray, folds: int, share: float, seed: int
) -> list[np.ndarray]:
    """Return for each fold the ids of the classes held out of it on purpose, ``share`` of all, at least one.

    Classes are dealt out in a random order, so that no class is held out twice before each was once. A class that
    shares a group with another is never held out: its sequences are known under the other name. Two classes are left
    to train at least.
    """
    classes = np.unique(class_ids)
    if share <= 0:
        return [classes[:0]] * folds
    label, member, _ = class_groups(class_ids, np.unique(groups, return_inverse=True)[1])
    shared = np.bincount(member)[member] > 1
    free = np.setdiff1d(classes, label[shared])
    each = min(max(1, round(share * len(classes))), len(free), len(classes) - 2)
    # A seed of its own: folds are the same with and without held-out classes.
    order = np.random.default_rng([seed, folds]).permutation(free)
    return [np.sort(order[(fold * each + np.arange(max(0, each))) % max(1, len(order))]) for fold in range(folds)]


def fold_roles(
    class_ids: np.ndarray, groups: np.ndarray, folds: int, validation_share: float, seed: int, held_out: float = 0.0
) -> Iterator[np.ndarray]:
    """Yield for each fold the role (n,) int8 of each record: 0 train, 1 validation, 2 test, 3 held out."""
    tested = stratified_group_folds(class_ids, groups, folds, seed)
    strange = held_out_classes(class_ids, groups, folds, held_out, seed)
    for fold in range(folds):
        roles = np.where(tested == fold, TEST, TRAIN).astype(np.int8)
        aside = np.isin(class_ids, strange[fold])
        # A fold of a very small set keeps what it is tested on.
        if (roles[~aside] == TEST).any():
            roles[aside] = HELD_OUT
        # A seed of its own for each fold, so that folds can be made in any order.
        aside = choose_validation(class_ids, groups, roles == TRAIN, validation_share, [seed, fold])
        roles[aside] = VALIDATION
        yield roles


def split_roles(
    split: np.ndarray,
    class_ids: np.ndarray,
    groups: np.ndarray,
    validation_share: float,
    seed: int,
    held_out: float = 0.0,
) -> np.ndarray:
    """Return the role (n,) int8 given by a split column; without validation rows, some of train is set aside.

    Raises UserError if there is no test record or no training record.
    """
    roles = np.select([split == name for name in ROLES], range(len(ROLES)), -1).astype(np.int8)
    roles[np.isin(class_ids, held_out_classes(class_ids, groups, 1, held_out, seed)[0])] = HELD_OUT
    for role in (TEST, TRAIN):
        if not (roles == role).any():
            raise UserError(
                f"The split column has no '{ROLES[role]}' record of a class that can be trained; name some, "
                "or set data.columns.split: null for cross-validation."
            )
    if not (roles == VALIDATION).any():
        aside = choose_validation(class_ids, groups, roles == TRAIN, validation_share, [seed, 0])
        roles[aside] = VALIDATION
    return roles


def split_folds(
    records_path: str | Path,
    names: Sequence[str],
    split: Mapping[str, Any],
    seed: int,
    folds_path: str | Path,
    task: Task,
    held_out: float = 0.0,
) -> str:
    """Write folds.tsv of the known records; return the scheme used: 'k-fold' or 'split column'.

    ``names`` of the label map in the order of their ids. ``split`` has ``folds`` and ``validation_share``; a split
    column in the records has precedence: one fold. ``held_out`` is the share of the classes held out of each fold.
    """
    columns = ["id", "label", "split", "group", "known"]
    records = pq.read_table(records_path, columns=columns)
    records = records.filter(records["known"])
    known = np.ones(len(records), bool)
    class_ids = task.labels.strata(task.labels.targets(records["label"], known, names)).astype(np.int64)
    groups = records["group"].to_numpy()
    given = records["split"].null_count < len(records)
    share = float(split["validation_share"])
    if given:
        names = records["split"].to_numpy()
        roles = iter([split_roles(names, class_ids, groups, share, seed, held_out)])
    else:
        roles = fold_roles(class_ids, groups, int(split["folds"]), share, seed, held_out)
    write_folds(folds_path, records["id"], roles)
    return "split column" if given else "k-fold"


def write_folds(path: str | Path, ids: pa.ChunkedArray, roles: Iterator[np.ndarray]) -> None:
    """Write folds.tsv, one fold after the other: with a million records it has many rows.

    Raises UserError for an id with a quotation mark: the table is plain, for awk and ``split`` to read.
    """
    options = pa_csv.WriteOptions(include_header=False, delimiter="\t", quoting_style="none")
    ids = ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids
    quoted = ids.filter(pc.match_substring(ids, '"'))
    if len(quoted):
        raise UserError(
            f'The id {quoted[0].as_py()} holds a quotation mark ("); rename it in the FASTA and all tables.'
        )
    with whole(path) as partial, open(partial, "wb") as handle:
        handle.write(b"fold\tid\trole\n")
        for fold, role in enumerate(roles):
            names = pa.array(FOLD_ROLES).take(pa.array(role))
            number = pa.array(np.full(len(role), fold, np.int32))
            pa_csv.write_csv(pa.table({"fold": number, "id": ids, "role": names}), handle, options)


def read_folds(path: str | Path, ids: pa.Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (fold (m,), row in ``ids`` (m,) or -1, role (m,) int8) of a written folds.tsv."""
    table = pa_csv.read_csv(
        path,
        parse_options=pa_csv.ParseOptions(delimiter="\t"),
        convert_options=pa_csv.ConvertOptions(
            column_types={"fold": pa.int32(), "id": pa.string(), "role": pa.string()},
            strings_can_be_null=False,
        ),
    )
    row = pc.fill_null(pc.index_in(table["id"], value_set=ids), -1).to_numpy()
    role = pc.index_in(table["role"], value_set=pa.array(FOLD_ROLES)).to_numpy().astype(np.int8)
    return table["fold"].to_numpy(), row, role


def class_groups(class_ids: np.ndarray, group: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the distinct pairs of class and group: class (m,), group (m,), records (m,)."""
    width = int(group.max()) + 1
    keys, counts = np.unique(class_ids.astype(np.int64) * width + group, return_counts=True)
    return keys // width, keys % width, counts
