"""One fold of one model, judged: raw and calibrated metrics, curves and confusions from its scores.

Takes ``Scores``; calibrates on the validation part; gives what the rule writes. Test records are used for
nothing but the figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from dnatune.comparison import METRIC_COLUMNS
from dnatune.metrics import (
    RECALL_GRID,
    confusions,
    evaluate,
    rank_classes,
    reliability,
    top_choices,
)
from dnatune.rejection_figures import evaluate_rejection
from dnatune.scores import Scores, probabilities
from dnatune.tasks.base import EvaluationSettings, Task
from dnatune.unknown_kinds import HELD_OUT


@dataclass
class Evaluation:
    """``calibrator`` for calibration.json, the metrics, ``curves`` as arrays and other ``tables`` by name."""

    calibrator: dict[str, Any]
    metrics: pd.DataFrame
    curves: dict[str, np.ndarray] = field(default_factory=dict)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)


def evaluate_fold(
    scores: Scores,
    class_names: Sequence[str],
    model: str,
    fold: int,
    task: Task,
    settings: EvaluationSettings,
) -> Evaluation:
    """Calibrate on validation, then evaluate test raw and calibrated, and validation raw.

    Calibrated validation figures would be those of records that the calibrator was fitted on, so there are
    none. Per-class rows are given for test only. ``curves`` holds, for test, reliability_raw and
    reliability_calibrated (15, 3: count, mean confidence, accuracy), pr_recall (m,), pr_precision_raw and
    pr_precision_calibrated (interpolated precision, averaged over present classes).
    """
    validation, test = scores.part("validation"), scores.part("test")
    calibrator = task.judging.calibrate(validation, settings, scores.of_kind(HELD_OUT))
    top_k = settings.top_k
    tables = []
    if len(validation.label):
        p = probabilities(validation.logits)
        raw = evaluate(p, validation.label, class_names, top_k, per_class=False)
        del p
        tables.append(raw.assign(split="validation", stage="raw"))
    curves: dict[str, np.ndarray] = {"pr_recall": RECALL_GRID}
    # One stage at a time: only one float64 table of the test part is in memory.
    for stage in ("raw", "calibrated"):
        p = probabilities(test.logits) if stage == "raw" else task.judging.calibrated(calibrator, test.logits)
        ranking = rank_classes(p, test.label)
        table = evaluate(p, test.label, class_names, top_k, ranking=ranking)
        tables.append(table.assign(split="test", stage=stage))
        predicted, top = top_choices(p)
        curves[f"reliability_{stage}"] = reliability(top, predicted == test.label)
        curves[f"pr_precision_{stage}"] = ranking.precision
        del p
    rows, more = evaluate_rejection(scores, calibrator, task.judging.calibrated)
    tables.append(rows)
    curves |= more
    metrics = pd.concat(tables, ignore_index=True).assign(model=model, fold=fold)[METRIC_COLUMNS]
    return Evaluation(calibrator, metrics, curves, {"confusions": confusions(predicted, test.label, class_names)})
