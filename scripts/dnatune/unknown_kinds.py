"""Why a record belongs to no trained class: the words for it, and how they are read from records.parquet."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from dnatune.scores import Scores

# The class is too rare to train, or has no training record in the given split; the species was held out of this fold
# on purpose; or the label table says that the record's species is not among the labels.
RARE, NOT_IN_TRAIN, HELD_OUT, FLAGGED = "rare", "not_in_train", "held_out", "flagged"
UNKNOWN_KINDS = (RARE, NOT_IN_TRAIN, HELD_OUT, FLAGGED)


def kinds_and_all(kinds: Iterable[str]) -> list[str]:
    """Return those of ``UNKNOWN_KINDS`` that are among ``kinds``, in their order, then ``all``; nothing for none."""
    given = set(kinds)
    there = [kind for kind in UNKNOWN_KINDS if kind in given]
    return [*there, "all"] if given else []


def kinds_in_file(records_path: str | Path) -> np.ndarray:
    """Return why each record (n,) of records.parquet is unknown, empty text for a known one."""
    there = "unknown" in pq.read_schema(records_path).names
    table = pq.read_table(records_path, columns=["known", *(["unknown"] if there else [])])
    if not there:
        return np.where(table["known"].to_numpy(), "", RARE).astype(object)
    return np.array([kind or "" for kind in table["unknown"].to_pylist()], dtype=object)


def masks_of_kinds(unknown: Scores) -> dict[str, np.ndarray]:
    """Return the masks (n,) of the unknown records of each kind that there is, then ``all`` of them."""
    if not len(unknown.id):
        return {}
    kind = np.full(len(unknown.id), RARE) if unknown.kind is None else unknown.kind
    masks = {name: kind == name for name in UNKNOWN_KINDS}
    return {**{name: mask for name, mask in masks.items() if mask.any()}, "all": np.ones(len(kind), bool)}
