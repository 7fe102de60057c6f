"""How much a fold trains and scores, as far as it is known before its jobs run: cheap, for it is asked for each job.

In: counts, or the files that a run has already; out: ``FoldSize``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from dnatune.data_size import DataSize
from dnatune.files import read_json

# Until the labels are there.
OUTPUTS = 10


@dataclass(frozen=True)
class FoldSize:
    """Records of labels that are trained (``known``), and of a fold those that it trains on, that it validates on and
    that it scores (validation, test and unknown ones), on average or at most; a table of scores has ``rows`` rows for
    each (bases, where each base has a label) and ``outputs`` columns.
    """

    known: float
    train: float
    validation: float
    scored: float
    outputs: int
    rows: float = 1.0

    @property
    def cells(self) -> float:
        """Numbers in the table of scores."""
        return self.scored * self.rows * self.outputs

    @property
    def validation_cells(self) -> float:
        """Those of the validation records."""
        return self.validation * self.rows * self.outputs


def fold_size(
    known: float,
    unknown: float,
    outputs: int,
    folds: int,
    validation_share: float,
    held_out_share: float = 0.0,
    rows: float = 1.0,
    parts: Mapping[str, int] | None = None,
) -> FoldSize:
    """Return the size of a fold of ``known`` records that have a label to train, and ``unknown`` ones.

    With one fold the parts are the user's own: ``parts`` counts the known records of each; until then each may be
    nearly all.
    """
    if folds > 1:
        test = known / folds
        train = known - test
        validation = train * validation_share
    elif parts:
        test, train = parts["test"], parts["train"]
        validation = parts["validation"] or train * validation_share
    else:
        return FoldSize(known, known, known, known + unknown, outputs, rows)
    scored = test + validation + known * held_out_share + unknown
    return FoldSize(known, train, validation, scored, outputs, rows)


def size_in_run(
    run_folder: str | Path, data: DataSize, config: Mapping[str, Any], folds: int, per_base: bool = False
) -> FoldSize:
    """Return the size of a fold of a run with that complete configuration.

    Jobs are submitted when records and labels are there, and they are counted; before that (a dry run) all sequences
    count as known.
    """
    known, kept, parts = records_counted(run_folder) or (data.sequences, data.sequences, None)
    return fold_size(
        known,
        kept - known,
        outputs_counted(run_folder) or OUTPUTS,
        folds,
        config["split"]["validation_share"],
        config["unknowns"]["held_out_share"],
        data.mean if per_base else 1.0,
        parts,
    )


def records_counted(run_folder: str | Path) -> tuple[int, int, Mapping[str, int] | None] | None:
    """Return how many records a run can train with, how many it has, and how many of the former are in each part of a
    given split (None without one); None before it has read them."""
    path = Path(run_folder, "records", "summary.json")
    return _records(path, path.stat().st_mtime_ns) if path.is_file() else None


def outputs_counted(run_folder: str | Path) -> int | None:
    """Return how many labels a run has, None before it has numbered them."""
    path = Path(run_folder, "labels", "label_map.json")
    return _outputs(path, path.stat().st_mtime_ns) if path.is_file() else None


@lru_cache
def _records(path: Path, _: int) -> tuple[int, int, Mapping[str, int] | None]:
    found = read_json(path)
    return found["records_known"], found["records_kept"], found.get("split")


@lru_cache
def _outputs(path: Path, _: int) -> int:
    return len(read_json(path)["label2id"])
