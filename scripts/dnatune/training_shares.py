"""Parts of each fold's training records for the learning curve: nested, stratified, groups never torn apart.

In: records, folds and label map of a run. Out: for each share a folds.tsv in which the training records beyond the
share are ``unused``; validation, test and held-out records are those of the run. And a table of how many there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from dnatune.errors import UserError
from dnatune.fold_data import FOLD_ROLES, FoldData, load_fold
from dnatune.folds import UNUSED, class_groups, write_folds
from dnatune.tasks.base import Task

COLUMNS = ["fold", "share", "train_records", "real_share", "classes", "small_classes"]


def entry_shares(strata: np.ndarray, groups: np.ndarray, seed: int | list[int]) -> np.ndarray:
    """Return for each record (n,) the share above which it is in: those below a share are its subset.

    ``strata`` (n,) class ids from 0, ``groups`` (n,): a group is in or out as a whole. The groups of a class stand in a
    random order, and a group enters with the share of the class's records that stand before it, plus a random part,
    one for each class, of its own: so a class has its share on average, and over many classes the total has it too.
    The first group of each class enters at 0. A group of several classes enters with the class of most of its records.
    """
    unique, group = np.unique(groups, return_inverse=True)
    label, member, count = class_groups(strata, group)
    rng = np.random.default_rng(seed)
    order = np.lexsort((rng.random(len(unique))[member], label))
    label, member, count = label[order], member[order], count[order]
    first = np.r_[True, label[1:] != label[:-1]]
    before = np.cumsum(count) - count
    before -= before[first][np.cumsum(first) - 1]
    part = rng.random(int(label.max()) + 1)
    enters = (before + part[label] * count) / np.bincount(strata)[label]
    entry = np.empty(len(unique))
    # The last write counts: the class with most records of the group, then its first place in a class.
    by_count = np.argsort(count, kind="stable")
    entry[member[by_count]] = enters[by_count]
    entry[member[first]] = 0.0
    return entry[group]


def write_training_shares(
    records: str | Path,
    folds: str | Path,
    label_map: str | Path,
    numbers: list[int],
    written: Mapping[float, str | Path],
    seed: int,
    task: Task,
) -> pd.DataFrame:
    """Write a folds.tsv for each share of ``written`` (share to path); return ``COLUMNS`` for these shares and 1.

    ``numbers`` of the folds. ``real_share`` is that of the training records that a subset has; ``classes`` of it, and
    ``small_classes``, those that would have less than one record were it not that each keeps one group. Raises
    ``UserError`` where a fold has too few training records for the smallest share.
    """
    rows, roles, entries = [], [], []
    for number in numbers:
        data = load_fold(records, folds, label_map, number, task)
        strata = np.asarray(task.labels.strata(data.labels[data.train]), np.int64)
        entry = entry_shares(strata, data.groups[data.train], [seed, number])
        sizes = np.bincount(strata)
        for share in (*written, 1.0):
            kept = entry < share
            size, small = int(kept.sum()), int(((sizes > 0) & (sizes * share < 1)).sum())
            rows.append([number, share, size, size / len(kept), len(np.unique(strata[kept])), small])
        roles.append(_roles(data))
        entries.append((data.train, entry))
    known = np.flatnonzero(roles[0] >= 0)
    ids = pa.array(data.ids[known])
    for share, path in written.items():
        write_folds(path, ids, (_reduced(*part, share)[known] for part in zip(roles, entries, strict=True)))
    table = pd.DataFrame(rows, columns=COLUMNS)
    _require_growth(table)
    return table


def _roles(data: FoldData) -> np.ndarray:
    """Return the role of each record (records,) int8, -1 where it has none."""
    roles = np.full(len(data.ids), -1, np.int8)
    for number, name in enumerate(FOLD_ROLES):
        roles[getattr(data, name)] = number
    return roles


def _reduced(roles: np.ndarray, part: tuple[np.ndarray, np.ndarray], share: float) -> np.ndarray:
    train, entry = part
    roles = roles.copy()
    roles[train[entry >= share]] = UNUSED
    return roles


def _require_growth(table: pd.DataFrame) -> None:
    """Raise UserError unless each share has more training records than the one before it, in every fold."""
    for fold, mine in table.groupby("fold"):
        still = np.flatnonzero(np.diff(mine["train_records"]) <= 0)
        if len(still):
            one, next_one = mine.iloc[still[0]], mine.iloc[still[0] + 1]
            raise UserError(
                f"Configuration key 'learning_curve.shares': in fold {fold} the shares {one.share:g} and "
                f"{next_one.share:g} have the same {int(one.train_records)} training records, because every class "
                "keeps at least one; leave the smaller share out, or give more sequences."
            )
