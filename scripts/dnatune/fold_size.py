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
    """Records that a fold trains on, that it validates on and that it scores (validation, test and unknown ones), on
    average; a table of scores has ``rows`` rows for each (bases, where each base has a label) and ``outputs`` columns.
    """

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
) -> FoldSize:
    """Return the size of a fold of ``known`` records that have a label to train, and ``unknown`` ones.

    With one fold the parts are the user's own, and each may be nearly all.
    """
    if folds == 1:
        return FoldSize(known, known, known + unknown, outputs, rows)
    rest = known * (1 - 1 / folds)
    validation = rest * validation_share
    return FoldSize(rest, validation, known / folds + validation + known * held_out_share + unknown, outputs, rows)


def size_in_run(
    run_folder: str | Path, data: DataSize, config: Mapping[str, Any], folds: int, per_base: bool = False
) -> FoldSize:
    """Return the size of a fold of a run with that complete configuration.

    Jobs are submitted when records and labels are there, and they are counted; before that (a dry run) all sequences
    count as known.
    """
    known, kept = records_counted(run_folder) or (data.sequences, data.sequences)
    return fold_size(
        known,
        kept - known,
        outputs_counted(run_folder) or OUTPUTS,
        folds,
        config["split"]["validation_share"],
        config["unknowns"]["held_out_share"],
        data.mean if per_base else 1.0,
    )


def records_counted(run_folder: str | Path) -> tuple[int, int] | None:
    """Return how many records a run can train with and how many it has, None before it has read them."""
    path = Path(run_folder, "records", "summary.json")
    return _records(path, path.stat().st_mtime_ns) if path.is_file() else None


def outputs_counted(run_folder: str | Path) -> int | None:
    """Return how many labels a run has, None before it has numbered them."""
    path = Path(run_folder, "labels", "label_map.json")
    return _outputs(path, path.stat().st_mtime_ns) if path.is_file() else None


@lru_cache
def _records(path: Path, _: int) -> tuple[int, int]:
    found = read_json(path)
    return found["records_known"], found["records_kept"]


@lru_cache
def _outputs(path: Path, _: int) -> int:
    return len(read_json(path)["label2id"])
