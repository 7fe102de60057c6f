"""Parts of each fold's training records for the learning curve: nested, stratified, groups never torn apart.

In: records, folds and label map of a run, and a share. Out: a folds.tsv in which the training records beyond the share
are ``unused``; validation, test and held-out records are those of the run. And a table of how many there are.
"""

from __future__ import annotations

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


def write_training_share(
    records: str | Path,
    folds: str | Path,
    label_map: str | Path,
    numbers: list[int],
    share: float,
    path: str | Path,
    seed: int,
    task: Task,
) -> pd.DataFrame:
    """Write the folds.tsv of a share to ``path``; return ``COLUMNS``, for each fold a row for the share and one for 1.

    ``numbers`` of the folds. A part does not depend on what other parts there are, and lies in every larger one.
    ``real_share`` is that of the training records that it has, ``classes`` are those in it, and ``small_classes`` would
    have less than one record were it not that each keeps a group. Raises ``UserError`` where nothing is left out.
    """
    rows, roles = [], []
    for number in numbers:
        data = load_fold(records, folds, label_map, number, task)
        strata = np.asarray(task.labels.strata(data.labels[data.train]), np.int64)
        entry = entry_shares(strata, data.groups[data.train], [seed, number])
        sizes = np.bincount(strata)
        for part in (share, 1.0):
            kept = entry < part
            size, small = int(kept.sum()), int(((sizes > 0) & (sizes * part < 1)).sum())
            rows.append([number, part, size, size / len(kept), len(np.unique(strata[kept])), small])
        if (entry < share).all():
            raise UserError(
                f"Configuration key 'learning_curve.shares': a share of {share:g} leaves out none of the "
                f"{len(entry)} training records of fold {number}, because every label keeps at least one sequence with "
                "those identical to it or in its cluster; take a smaller share, or give more sequences."
            )
        roles.append(_roles(data))
        roles[-1][data.train[entry >= share]] = UNUSED
    known = np.flatnonzero(roles[0] >= 0)
    write_folds(path, pa.array(data.ids[known]), (role[known] for role in roles))
    return pd.DataFrame(rows, columns=COLUMNS)


def _roles(data: FoldData) -> np.ndarray:
    """Return the role of each record (records,) int8, -1 where it has none."""
    roles = np.full(len(data.ids), -1, np.int8)
    for number, name in enumerate(FOLD_ROLES):
        roles[getattr(data, name)] = number
    return roles
